"""Works ahead: while one batch is written, the next is made in a thread of its own."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def run_ahead(batches: Generator[T, None, None]) -> Iterator[Iterator[T]]:
    """Iterate over ``batches``, running the generator one item ahead in a thread of its own.

    At most two items exist at a time: the one handed out and the one being made. The generator
    starts, runs and is closed in that one thread. An error of the generator is raised where its
    item was expected. Leaving the block waits for the item being made.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="kafka-pg-ahead") as executor:

        def handed_out() -> Iterator[T]:
            upcoming = executor.submit(next, batches, None)
            while (item := upcoming.result()) is not None:
                upcoming = executor.submit(next, batches, None)
                yield item

        try:
            yield handed_out()
        finally:
            executor.submit(batches.close).result()
