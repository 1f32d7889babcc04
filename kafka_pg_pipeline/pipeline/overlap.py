"""Works ahead: while one batch is written, the next is made in a thread of its own."""

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class _Ahead(Iterator[T]):
    """Hands out one item while the next is made; keeps no hold of what it handed out."""

    def __init__(self, executor: ThreadPoolExecutor, source: Generator[T, None, None]) -> None:
        self._executor = executor
        self._source = source
        self._upcoming = self._make_next()

    def __next__(self) -> T:
        item = self._upcoming.result()
        if item is None:
            raise StopIteration
        self._upcoming = self._make_next()
        return item

    def _make_next(self) -> Future[T | None]:
        return self._executor.submit(next, self._source, None)


@contextmanager
def run_ahead(source: Generator[T, None, None]) -> Iterator[Iterator[T]]:
    """Iterate over ``source``, running the generator one item ahead in a thread of its own.

    At most two items exist at a time, as far as this goes: the one handed out and the one being
    made. The generator starts at once, runs and is closed in that one thread. An error of it is
    raised where its item was expected. Leaving the block waits for the item being made.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="kafka-pg-ahead") as executor:
        try:
            yield _Ahead(executor, source)
        finally:
            executor.submit(source.close).result()
