"""Keeps psycopg2 from printing rows.

When the server ends a connection in the middle of COPY, psycopg2 prints the server's error with
the row's text straight to standard error (PyErr_Print, measured with 2.9.13), where Dagster
keeps it. It then raises an error that we translate, so nothing is lost by dropping the print.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import psycopg2

_Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]


class _Silence:
    """Replaces the process's hook for uncaught exceptions while any thread asks for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: _Hook = sys.excepthook

    def begin(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._before, sys.excepthook = sys.excepthook, self._show

    def end(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                sys.excepthook = self._before

    def _show(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, (psycopg2.Error, SystemError)):
            self._before(kind, error, trace)


_SILENCE = _Silence()


@contextmanager
def unprinted_driver_errors() -> Iterator[None]:
    """Drop what psycopg2 prints while the block runs; other exceptions are shown as ever."""
    _SILENCE.begin()
    try:
        yield
    finally:
        _SILENCE.end()
