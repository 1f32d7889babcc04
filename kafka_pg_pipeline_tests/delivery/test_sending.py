"""A batch that is sent, and lands, while the one before it is being written."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from kafka_pg_pipeline.adapters.postgres import writer
from kafka_pg_pipeline.adapters.postgres.commit import CommitOutcomeLost, commit
from kafka_pg_pipeline.adapters.postgres.connection import (
    IDLE_IN_TRANSACTION_SECONDS,
    was_ended,
)
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


def send_two(writing: Writing) -> tuple[EncodedBatch, EncodedBatch]:
    """The batches of 0 to 9 and 10 to 19, both on their way."""
    first, second = batch_of(writing, 0), batch_of(writing, 10)
    writing.writer.send(first)
    writing.writer.send(second)
    return first, second


def write_with_one_ahead(writing: Writing, batches: Sequence[EncodedBatch]) -> None:
    """As a load does: each is sent while the one before is written."""
    writing.writer.send(batches[0])
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        if following is not None:
            writing.writer.send(following)
        assert writing.writer.write(batch).status is WriteStatus.COMMITTED


def end_sent_transaction(bench: Bench) -> None:
    """End the backend that keeps what was sent, which a pooler may have lent."""
    assert bench.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE state = 'idle in transaction' AND query LIKE %s",
        f"%{bench.stream.table.partition('.')[0]}%",
    ) == [(True,)]


def test_batches_sent_ahead_land_in_their_order(bench: Bench, writing: Writing) -> None:
    batches = [batch_of(writing, first) for first in (0, 10, 20, 30)]
    write_with_one_ahead(writing, batches)
    assert bench.count() == 40
    writing.assert_accounted_for()


def test_what_was_sent_and_never_written_is_not_there(bench: Bench, writing: Writing) -> None:
    first, _ = send_two(writing)
    writing.writer.write(first)
    writing.writer.close()
    assert bench.count() == 10
    assert bench.positions() == {0: 10}
    writing.assert_accounted_for()


def test_a_batch_whose_turn_never_came_first_is_fenced(bench: Bench, writing: Writing) -> None:
    _, second = send_two(writing)
    assert writing.writer.write(second).status is WriteStatus.FENCED
    assert bench.count() == 0


def test_what_was_sent_over_a_connection_that_ended_is_sent_again(
    bench: Bench, writing: Writing
) -> None:
    batch = batch_of(writing, 0)
    writing.writer.send(batch)
    sent = writing.writer._ahead[batch.batch_id].sending.result().transaction
    assert sent is not None
    end_sent_transaction(bench)
    wait_until(lambda: was_ended(sent.connection))
    assert writing.writer.write(batch).status is WriteStatus.COMMITTED
    assert bench.count() == 10
    writing.assert_accounted_for()


@pytest.mark.parametrize("rejected", [3, 13])
def test_rows_that_cannot_be_sent_are_told_when_their_batch_is_written(
    bench: Bench, writing: Writing, rejected: int
) -> None:
    bench.query("ALTER TABLE {table} ADD CHECK (id <> %s)", rejected)
    first, second = send_two(writing)
    results = [writing.writer.write(first), writing.writer.write(second)]
    assert {result.status for result in results} == {WriteStatus.COMMITTED}
    dead = [sum(e.counts.dead for e in result.entries) for result in results]
    assert dead == [int(rejected < 10), int(rejected >= 10)]
    assert bench.count() == 19
    writing.assert_accounted_for()


@contextmanager
def at_the_first_commit(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]
) -> Iterator[None]:
    """Do something when the next batch was asked to land, right before this one's COMMIT."""
    acts = iter([act])

    def commit_after(*arguments: Any) -> None:
        for do in acts:
            do()
        commit(*arguments)

    with monkeypatch.context() as patches:
        patches.setattr(writer, "commit", commit_after)
        yield
    assert next(acts, None) is None


def count_waiting(bench: Bench) -> int:
    """Sessions that wait for the positions."""
    [(count,)] = bench.query(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s",
        f"%{bench.stream.table.partition('.')[0]}%FOR UPDATE%",
    )
    return int(count)


def test_a_batch_waits_on_the_server_for_the_commit_of_the_one_before(
    bench: Bench, writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = send_two(writing)

    def expect_it_to_wait() -> None:
        wait_until(lambda: count_waiting(bench) == 1)
        assert bench.count() == 0

    with at_the_first_commit(monkeypatch, expect_it_to_wait):
        writing.writer.write(first)
    # It lands without being asked to: nobody reads what it has done, but its lock is held.
    wait_until(lambda: is_locked(bench))
    assert bench.count() == 10
    assert writing.writer.write(second).status is WriteStatus.COMMITTED
    assert bench.count() == 20
    writing.assert_accounted_for()


def is_locked(bench: Bench) -> bool:
    [(free,)] = bench.query(
        "SELECT count(*) FROM (SELECT FROM {schema}.state FOR UPDATE SKIP LOCKED) AS free"
    )
    return bool(free == 0)


def test_a_lock_that_came_too_late_is_asked_for_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_writing(bench.with_postgres(lock_timeout_seconds=0.1)) as writing:
        first, second = send_two(writing)

        def outlast_it() -> None:
            landing = writing.writer._ahead[second.batch_id].landing
            assert landing is not None
            assert landing.result() is None

        with at_the_first_commit(monkeypatch, outlast_it):
            writing.writer.write(first)
        assert writing.writer.write(second).status is WriteStatus.COMMITTED
        assert bench.count() == 20
        writing.assert_accounted_for()


def test_a_batch_behind_one_that_is_not_committed_changes_nothing(
    bench: Bench, writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = send_two(writing)

    def fail() -> None:
        wait_until(lambda: count_waiting(bench) == 1)
        raise KeyboardInterrupt

    with at_the_first_commit(monkeypatch, fail), pytest.raises(KeyboardInterrupt):
        writing.writer.write(first)
    writing.writer.close()
    assert (bench.count(), bench.positions()) == (0, {0: 0})
    assert not is_locked(bench)
    writing.assert_accounted_for()


def test_a_batch_that_landed_does_not_hold_up_the_search_for_an_outcome(
    bench: Bench, writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the lock that tells, and nobody would commit it before that is known."""
    first, second = send_two(writing)

    def lose_the_answer(*arguments: Any) -> None:
        commit(*arguments)
        landing = writing.writer._ahead[second.batch_id].landing
        assert landing is not None
        assert landing.result() is not None
        raise CommitOutcomeLost

    started = time.monotonic()
    with monkeypatch.context() as patches:
        patches.setattr(writer, "commit", lose_the_answer)
        assert writing.writer.write(first).status is WriteStatus.COMMITTED
    assert time.monotonic() - started < IDLE_IN_TRANSACTION_SECONDS / 2
    assert writing.writer.write(second).status is WriteStatus.COMMITTED
    assert bench.count() == 20
    writing.assert_accounted_for()


def test_closing_ends_a_batch_that_lands(bench: Bench) -> None:
    bench.trigger_before_inserts("IF NEW.id = 15 THEN PERFORM pg_sleep(60); END IF; RETURN NEW;")
    schema = bench.stream.table.partition(".")[0]
    with open_writing(bench) as writing:
        first, _ = send_two(writing)
        assert writing.writer.write(first).status is WriteStatus.COMMITTED
        wait_until(lambda: bench.query(SLEEPING, f"%{schema}%") == [(1,)])
        started = time.monotonic()
        writing.writer.close()
        assert time.monotonic() - started < 30
    assert bench.query(SLEEPING, f"%{schema}%") == [(0,)]
    assert (bench.count(), bench.positions()) == (10, {0: 10})


SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE %s"


def test_rows_of_another_partition_may_refer_to_the_batch_before(bench: Bench) -> None:
    """Batches of other partitions have no position in common, and still land in their order."""
    bench.query("ALTER TABLE {table} ADD UNIQUE (id), ADD parent integer REFERENCES {table} (id)")
    with open_writing(bench, partitions=2) as writing:
        batches = []
        for start in range(0, 200, 10):
            values = [b'{"id": %d, "parent": %d}' % (n, n - 10) for n in range(start, start + 10)]
            if not start:
                values = [b'{"id": %d}' % number for number in range(10)]
            batches.append(writing.make(values, partition=start // 10 % 2))
        write_with_one_ahead(writing, batches)
        assert bench.count() == 200
        writing.assert_accounted_for()


def test_a_rival_fences_a_batch_that_was_sent(bench: Bench, writing: Writing) -> None:
    """It moved the position when the rows were there already; they are gone with the claim."""
    first, second = send_two(writing)
    assert writing.writer.write(first).status is WriteStatus.COMMITTED
    writing.writer.close()
    with open_writing(bench) as rival:
        rival.next_offsets[0] = 10
        assert rival.writer.write(batch_of(rival, 10)).status is WriteStatus.COMMITTED
    with open_writing(bench) as late:
        late.writer.send(second)
        assert late.writer.write(second).status is WriteStatus.FENCED
        assert (bench.count(), bench.positions()) == (20, {0: 20})
        late.assert_accounted_for()
