"""Ctrl-C and SIGTERM: the first asks for an end after the batch in flight, the second ends at once.

Ending at once is safe: an open transaction is rolled back by PostgreSQL, and a COMMIT on its way
is either durable or was never made; positions and rows always agree.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from kafka_pg_pipeline.cli.failures import INTERRUPTED

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GLANCE_SECONDS = 0.2
_SHOW_CURSOR = b"\x1b[?25h"


class StopRequest:
    """Whether, and by which signal, the user asked for the end; asked between batches."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._event = threading.Event()
        self.by: signal.Signals | None = None

    def is_set(self) -> bool:
        """True once a signal arrived."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for a signal at most so long; True where one arrived."""
        return self._event.wait(seconds)

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Take the signals over for the body."""
        before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def run(self, call: Callable[[], T]) -> T:
        """What ``call`` returns or raises; runs in a thread, so that signals are heard at once.

        A signal handler of Python waits for the main thread's present call into C, which may be a
        long COPY.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="kafka-pg-work") as executor:
            future = executor.submit(call)
            while not wait([future], timeout=_GLANCE_SECONDS).done:
                pass
            return future.result()

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._event.is_set():
            if os.isatty(2):
                os.write(2, _SHOW_CURSOR)
            os.write(2, b"ended at once; what was committed stays, nothing is lost\n")
            os._exit(INTERRUPTED)
        self.by = signal.Signals(number)
        self._event.set()
        self._tell("stopping after the batch in flight; once more Ctrl-C ends at once")
