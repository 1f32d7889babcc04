"""Keeps psycopg2 from printing rows.

When the server ends a connection in the middle of COPY, psycopg2 prints the server's error with
the row's text straight to standard error (PyErr_Print, measured with 2.9.13), where Dagster
keeps it. It then raises an error that we translate, so nothing is lost by dropping the print.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import psycopg2


@contextmanager
def unprinted_driver_errors() -> Iterator[None]:
    """Drop what psycopg2 prints while the block runs; other exceptions are shown as ever."""
    before = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, (psycopg2.Error, SystemError)):
            before(kind, error, trace)

    sys.excepthook = show
    try:
        yield
    finally:
        sys.excepthook = before
