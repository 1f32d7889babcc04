"""A batch that is sent while the one before it is being written."""

from collections.abc import Iterator
from typing import Any

import pytest

from kafka_pg_pipeline.adapters.postgres.connection import was_ended
from kafka_pg_pipeline.domain.batches import EncodedBatch, WriteStatus
from kafka_pg_pipeline_tests.content.writing import Writing, open_writing
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.waiting import wait_until

MODES: list[dict[str, Any]] = [{}, {"mode": "upsert", "key": ["id"]}]


@pytest.fixture(params=MODES, ids=["append", "upsert"])
def bench(bench: Bench, request: pytest.FixtureRequest) -> Bench:
    bench = bench.with_stream(**request.param)
    key = "PRIMARY KEY" if request.param else ""
    bench.query(
        f"CREATE TABLE {{table}} (id integer {key}, kafka_partition integer, kafka_offset bigint)"
    )
    return bench


@pytest.fixture
def writing(bench: Bench) -> Iterator[Writing]:
    with open_writing(bench) as writing:
        yield writing


def batch_of(writing: Writing, first: int) -> EncodedBatch:
    return writing.make([b'{"id": %d}' % number for number in range(first, first + 10)])


def end_sent_transaction(bench: Bench) -> None:
    """End the backend that keeps what was sent, which a pooler may have lent."""
    assert bench.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE state = 'idle in transaction' AND query LIKE %s",
        f"%{bench.stream.table.partition('.')[0]}%",
    ) == [(True,)]


def test_batches_sent_ahead_land_in_their_order(bench: Bench, writing: Writing) -> None:
    batches = [batch_of(writing, first) for first in (0, 10, 20, 30)]
    writing.writer.send(batches[0])
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        if following is not None:
            writing.writer.send(following)
        assert writing.writer.write(batch).status is WriteStatus.COMMITTED
    assert bench.count() == 40
    writing.assert_accounted_for()


def test_what_was_sent_and_never_written_is_not_there(bench: Bench, writing: Writing) -> None:
    first, second = batch_of(writing, 0), batch_of(writing, 10)
    writing.writer.send(first)
    writing.writer.send(second)
    writing.writer.write(first)
    writing.writer.close()
    assert bench.count() == 10
    assert bench.positions() == {0: 10}
    writing.assert_accounted_for()


def test_a_batch_whose_turn_never_came_first_is_fenced(bench: Bench, writing: Writing) -> None:
    first, second = batch_of(writing, 0), batch_of(writing, 10)
    writing.writer.send(first)
    writing.writer.send(second)
    assert writing.writer.write(second).status is WriteStatus.FENCED
    assert bench.count() == 0


def test_what_was_sent_over_a_connection_that_ended_is_sent_again(
    bench: Bench, writing: Writing
) -> None:
    batch = batch_of(writing, 0)
    writing.writer.send(batch)
    end_sent_transaction(bench)
    sent = writing.writer._sent[batch.batch_id].transaction
    assert sent is not None
    wait_until(lambda: was_ended(sent.connection))
    assert writing.writer.write(batch).status is WriteStatus.COMMITTED
    assert bench.count() == 10
    writing.assert_accounted_for()


def test_rows_that_cannot_be_sent_are_told_when_their_batch_is_written(
    bench: Bench, writing: Writing
) -> None:
    bench.query("ALTER TABLE {table} ADD CHECK (id <> 13)")
    first, second = batch_of(writing, 0), batch_of(writing, 10)
    writing.writer.send(first)
    writing.writer.send(second)
    writing.writer.write(first)
    result = writing.writer.write(second)
    assert (result.status, sum(e.counts.dead for e in result.entries)) == (WriteStatus.COMMITTED, 1)
    assert bench.count() == 19
    writing.assert_accounted_for()
