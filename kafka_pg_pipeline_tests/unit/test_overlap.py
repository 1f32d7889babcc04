"""Reading ahead: one item at most, in one other thread, with errors where they belong."""

import threading
import weakref
from collections.abc import Generator

import pytest

from kafka_pg_pipeline.pipeline.overlap import run_ahead


class Source:
    """Makes numbered items and remembers which thread did what."""

    def __init__(self, count: int, fails_at: int | None = None) -> None:
        self.count = count
        self.fails_at = fails_at
        self.made: list[int] = []
        self.threads: set[str] = set()
        self.closed = False
        self.changed = threading.Condition()

    def items(self) -> Generator[int, None, None]:
        try:
            for number in range(self.count):
                if number == self.fails_at:
                    raise ValueError(number)
                with self.changed:
                    self.threads.add(threading.current_thread().name)
                    self.made.append(number)
                    self.changed.notify_all()
                yield number
        finally:
            self.threads.add(threading.current_thread().name)
            self.closed = True

    def wait_made(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.made) >= count, timeout=5)


def test_all_items_come_in_order_from_one_other_thread() -> None:
    source = Source(50)
    with run_ahead(source.items()) as items:
        assert list(items) == list(range(50))
    assert source.closed
    (thread,) = source.threads
    assert thread.startswith("kafka-pg-ahead")


def test_the_next_item_is_made_while_one_is_used_and_no_more() -> None:
    source = Source(5)
    with run_ahead(source.items()) as items:
        assert next(items) == 0
        source.wait_made(2)
        assert next(items) == 1
        source.wait_made(3)
        assert source.made == [0, 1, 2]


class Thing:
    """An item of which can be told whether it still is in memory."""


def test_an_item_lives_no_longer_than_it_is_used_while_the_next_is_made() -> None:
    goes_on, may_end = threading.Event(), threading.Event()
    known: list[weakref.ref[Thing]] = []

    def make() -> Thing:
        thing = Thing()
        known.append(weakref.ref(thing))
        return thing

    def make_things() -> Generator[Thing, None, None]:
        yield make()
        goes_on.set()
        assert may_end.wait(5)

    with run_ahead(make_things()) as things:
        thing = next(things)
        assert goes_on.wait(5)
        assert known[0]() is thing
        del thing
        is_gone = known[0]() is None
        may_end.set()
    assert is_gone


def test_the_first_item_is_made_at_once() -> None:
    source = Source(5)
    with run_ahead(source.items()):
        source.wait_made(1)
    assert source.made == [0]


def test_an_error_of_the_source_comes_where_its_item_was_due() -> None:
    source = Source(5, fails_at=2)
    with run_ahead(source.items()) as items:
        assert [next(items), next(items)] == [0, 1]
        with pytest.raises(ValueError, match="2"):
            next(items)
    assert source.closed


def fail_after_first(source: Source) -> None:
    with run_ahead(source.items()) as items:
        next(items)
        raise RuntimeError("consumer")


def test_an_error_of_the_consumer_closes_the_source() -> None:
    source = Source(5)
    with pytest.raises(RuntimeError, match="consumer"):
        fail_after_first(source)
    assert source.closed
    assert len(source.made) <= 2


def test_leaving_early_with_an_error_in_the_making_keeps_the_consumers_own() -> None:
    source = Source(5, fails_at=1)
    with pytest.raises(RuntimeError, match="consumer"):
        fail_after_first(source)
    assert source.closed
