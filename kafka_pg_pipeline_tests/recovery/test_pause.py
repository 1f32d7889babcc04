"""A paused stream: nothing moves it, everything says so, and it goes on where it stood."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kafka_pg_pipeline.domain.reports import Outcome
from kafka_pg_pipeline.domain.standing import Standing
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.delivery.test_check_in import grow
from kafka_pg_pipeline_tests.fix_streams import Bench, load_in
from kafka_pg_pipeline_tests.operators import OPERATOR, acting_beside

REASON = "the table is being rebuilt, ask Ada"
AUDIT = "SELECT action, detail ->> 'reason' FROM {schema}.audit"
AUDIT += " WHERE action IN ('pause', 'resume') ORDER BY id"


@pytest.fixture
def loaded(bench: Bench, command_line: CommandLine) -> Bench:
    """Thirty rows, and thirty records to load."""
    bench.create_topic()
    bench.produce([{"id": number} for number in range(30)])
    bench.load()
    bench.produce([{"id": number} for number in range(30, 60)])
    command_line.use(bench)
    return bench


def pause(bench: Bench) -> None:
    with bench.session(OPERATOR) as session:
        session.moves.pause(REASON)


def test_a_paused_stream_is_left_alone_until_it_is_resumed(
    command_line: CommandLine, loaded: Bench
) -> None:
    paused = command_line.run("pause", loaded.name, "--reason", REASON)
    assert (paused.code, REASON in paused.out, "audit row" in paused.out) == (0, True, True)

    load = command_line.run("load")
    assert load.code == 0
    assert load.out.startswith(f"{loaded.name}: paused since ")
    assert f"by {loaded.endpoints.postgres.user}: {REASON}" in load.out
    assert f"`kafka-pg resume {loaded.name}`" in load.out
    report = command_line.run("load", "--json").json["streams"][0]
    assert (report["outcome"], report["rows"], report["pause"]["reason"]) == ("paused", 0, REASON)
    assert (report["lag_before"], report["lag_after"]) == (30, 30)
    assert loaded.count() == 30
    for look in ("status", "lag", "plan", "doctor"):
        told = command_line.run(look)
        assert told.code == 0, look
        assert REASON in told.out, look
        assert f"kafka-pg resume {loaded.name}" in told.out, look

    again = command_line.run("pause", loaded.name, "--reason", "another")
    assert (again.code, "already; its reason stays" in again.out) == (0, True)
    assert loaded.query(AUDIT) == [("pause", REASON)]

    assert command_line.run("resume", loaded.name).code == 0
    again = command_line.run("resume", loaded.name)
    assert (again.code, "is not paused" in again.out) == (0, True)
    assert loaded.query(AUDIT) == [("pause", REASON), ("resume", REASON)]
    assert command_line.run("load").code == 0
    loaded.assert_exactly_once()
    assert REASON not in command_line.run("status").out


def test_a_rehearsed_pause_changes_nothing(command_line: CommandLine, loaded: Bench) -> None:
    told = command_line.run("pause", loaded.name, "--reason", REASON, "--dry-run")
    assert (told.code, "nothing was changed" in told.out) == (0, True)
    assert command_line.run("load", "--json").json["streams"][0]["rows"] == 30
    pause(loaded)
    told = command_line.run("resume", loaded.name, "--dry-run", "--json")
    assert told.json["before"]["reason"] == REASON
    assert (told.json["after"], told.json["changed"]) == (None, False)
    assert command_line.run("load", "--json").json["streams"][0]["outcome"] == "paused"
    assert loaded.query(AUDIT) == [("pause", REASON)]


def test_a_pause_needs_a_reason(command_line: CommandLine, loaded: Bench) -> None:
    assert "--reason" in command_line.run("pause", loaded.name).err
    refused = command_line.run("pause", loaded.name, "--reason", " ")
    assert (refused.code, "the reason is empty" in refused.err) == (2, True)


def test_an_endless_load_says_once_that_a_stream_is_paused(
    command_line: CommandLine, loaded: Bench
) -> None:
    pause(loaded)
    told = command_line.run("load", "--until", "forever", "--max-seconds", "4")
    assert (told.code, told.err.count(REASON)) == (0, 1)
    assert loaded.count() == 30


def test_a_load_that_runs_is_fenced_by_a_pause(bench: Bench) -> None:
    """What was committed before stays, a batch that lands already may come first."""
    bench = bench.with_stream(batch=BatchSettings(max_rows=10))
    bench.create_topic(partitions=1)
    bench.produce([{"id": number} for number in range(100)], partition=lambda _: 0)

    with bench.session() as session, acting_beside(bench, lambda: pause(bench)) as listener:
        plan = freeze_plan(bench.name, bench.stream, session.inspector)
        report = session.loader.load(plan, stop=threading.Event(), listener=listener)
    assert report.outcome is Outcome.PAUSED
    assert report.pause is not None
    rows = report.counts.rows
    assert rows in range(10, 60, 10)
    assert bench.positions() == {0: rows}
    with bench.session() as session:
        session.moves.resume()
    assert bench.load().counts.rows == 100 - rows
    bench.assert_exactly_once()


@contextmanager
def paused_after_look(bench: Bench, session: Any, look: int) -> Iterator[None]:
    """Pause the stream right after a loader has looked where it stands, and found no pause.

    It looks when a round begins, and when it has given new partitions their positions.
    """
    looks = iter(range(1, 100))

    def pause_after(found: Callable[..., Standing]) -> Callable[..., Standing]:
        def fetch(*arguments: Any) -> Standing:
            before = found(*arguments)
            if next(looks) == look:
                pause(bench)
            return before

        return fetch

    session.positions.fetch_standing = pause_after(session.positions.fetch_standing)
    session.positions.check_in = pause_after(session.positions.check_in)
    yield
    assert next(looks) > look


def test_a_pause_right_after_a_look_fences(loaded: Bench) -> None:
    with loaded.session() as session, paused_after_look(loaded, session, 1):
        report = load_in(session)
    assert (report.outcome, report.counts.rows) == (Outcome.PAUSED, 0)
    assert loaded.count() == 30


def test_no_position_is_added_to_a_paused_stream(bench: Bench) -> None:
    bench.create_topic()
    bench.produce([{"id": number} for number in range(30)])
    with bench.session() as session, paused_after_look(bench, session, 1):
        assert load_in(session).outcome is Outcome.PAUSED
    assert bench.positions() == {}


def test_a_pause_before_a_new_partition_checks_in_is_seen(loaded: Bench) -> None:
    """The check-in reads the positions anew, with the epochs of the pause."""
    grow(loaded, 4)
    loaded.produce([{"id": 60}], partition=lambda _: 3)
    with loaded.session() as session, paused_after_look(loaded, session, 1):
        assert load_in(session).outcome is Outcome.PAUSED
    assert (loaded.count(), loaded.positions()) == (30, {0: 10, 1: 10, 2: 10})


def test_a_pause_right_after_a_new_partition_has_checked_in_fences(loaded: Bench) -> None:
    grow(loaded, 4)
    loaded.produce([{"id": 60}], partition=lambda _: 3)
    with loaded.session() as session, paused_after_look(loaded, session, 2):
        assert load_in(session).outcome is Outcome.PAUSED
    assert (loaded.count(), loaded.positions()) == (30, {0: 10, 1: 10, 2: 10, 3: 0})


def test_dead_letters_are_replayed_while_the_stream_is_paused(
    command_line: CommandLine, bench: Bench
) -> None:
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    bench.produce([{"id": 1}, {"id": 2**40}])
    bench.load()
    bench.query("ALTER TABLE {table} ALTER id TYPE bigint")
    command_line.use(bench)
    command_line.run("pause", bench.name, "--reason", REASON)
    assert command_line.run("dead-letters", "replay", bench.name, "--all").code == 0
    assert bench.count() == 2
    bench.assert_exactly_once()


def test_a_pause_keeps_what_tells_that_a_table_was_dropped(
    command_line: CommandLine, loaded: Bench
) -> None:
    pause(loaded)
    loaded.query("DROP TABLE {table}")
    command_line.run("resume", loaded.name)
    stopped = command_line.run("load")
    assert (stopped.code, "it was dropped" in stopped.err) == (1, True)


def test_looks_do_without_pauses_where_the_tables_are_older(
    command_line: CommandLine, loaded: Bench
) -> None:
    loaded.query("DROP TABLE {schema}.pause; DELETE FROM {schema}.migration WHERE version = 3")
    for look in ("status", "lag", "plan", "doctor"):
        assert command_line.run(look).code == 0, look
