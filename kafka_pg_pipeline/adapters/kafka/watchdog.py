"""Ends driver calls that hang, from a thread beside them."""

import threading
import time
from collections.abc import Callable

from kafka_pg_pipeline.adapters.kafka.deadline import DeadlineError

_LOOK_EVERY_SECONDS = 0.25


class Watchdog:
    """Watches the calls of one thread; when one overruns, pulls the client away from under it.

    For calls made many times a second: a thread for each of them, as ``call_with_deadline``
    starts one, would cost a twentieth of the reading speed. A hung call of kafka-python ends
    once its client is closed. ``abandon`` must not block.
    """

    def __init__(self, abandon: Callable[[], None]) -> None:
        self._abandon = abandon
        self._seconds = 0.0
        self._expires_at: float | None = None
        self._has_fired = False
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="kafka-watchdog", daemon=True).start()

    def start(self, seconds: float) -> None:
        """Give the call that follows so many seconds."""
        self._seconds = seconds
        self._expires_at = time.monotonic() + seconds

    def stop(self) -> DeadlineError | None:
        """The call is over; an error if it had to be ended."""
        self._expires_at = None
        return DeadlineError(self._seconds) if self._has_fired else None

    def close(self) -> None:
        """End the thread; safe to call twice."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_EVERY_SECONDS):
            expires_at = self._expires_at
            if expires_at is not None and time.monotonic() > expires_at:
                self._has_fired = True
                self._abandon()
                return
