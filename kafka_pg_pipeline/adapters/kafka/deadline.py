"""Runs driver calls that may block for ever under a deadline."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class DeadlineError(TimeoutError):
    """A call did not end in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")


def call_with_deadline(call: Callable[[], T], *, seconds: float, abandon: Callable[[], None]) -> T:
    """What ``call`` returns or raises, if it ends within ``seconds``.

    It runs in a daemon thread, since some calls of kafka-python wait without any limit and
    cannot be interrupted. When the deadline passes, or the waiting thread is interrupted,
    ``abandon`` is called to pull the client away from under it, so that the thread ends too.
    ``abandon`` must not block.

    Raises:
        DeadlineError: The deadline passed.
    """
    outcome: _Outcome[T] = _Outcome(call)
    threading.Thread(target=outcome.run, name="kafka-deadline", daemon=True).start()
    try:
        ended = outcome.done.wait(seconds)
    except BaseException:
        abandon()
        raise
    if not ended:
        abandon()
        raise DeadlineError(seconds)
    if outcome.error is not None:
        raise outcome.error
    return outcome.values[0]


class _Outcome(Generic[T]):
    """A call and what became of it."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self.done = threading.Event()
        self.values: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.values.append(self._call())
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread as it is
            self.error = error
        finally:
            self.done.set()
