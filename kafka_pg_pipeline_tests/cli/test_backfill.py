"""``kafka-pg backfill`` as somebody types it, and what other commands say of windows."""

import pytest

from kafka_pg_pipeline.errors import PausedError
from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.backfilling import (
    DAYS,
    backfill,
    beside,
    ids_between,
    ids_in,
    produce_days,
    timed,
    windows,
)
from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.operators import OPERATOR, acting_beside

DAY = [f"{day:%Y-%m-%d}" for day in DAYS]
NARROW = "CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)"
AGE = "UPDATE {schema}.ledger SET committed_at = committed_at - interval '100 days'"
LINES = "SELECT count(*)::int FROM {schema}.ledger WHERE stream LIKE '%@%'"


@pytest.fixture
def past(bench: Bench, command_line: CommandLine) -> Bench:
    """Four days in the topic, all of them before the live position."""
    bench = bench.with_stream(start="latest", batch=BatchSettings(max_rows=50))
    bench.create_topic()
    produce_days(bench, 300)
    bench.load()
    command_line.use(bench)
    return bench


def test_days_are_rehearsed_loaded_and_listed(command_line: CommandLine, past: Bench) -> None:
    command = ("backfill", past.name, "--from", DAY[0], "--to", f"{DAY[1]}T12:00:00Z")
    rehearsed = command_line.run(*command, "--every", "day", "--dry-run", "--json").json
    assert [(window["status"], window["offsets"] > 0) for window in rehearsed["windows"]] == [
        (None, True),
        (None, True),
    ]
    assert windows(past) == []

    loaded = command_line.run(*command, "--every", "day")
    assert loaded.code == 0
    names = [window["name"] for window in rehearsed["windows"]]
    assert [line.partition(": ")[0] for line in loaded.out.splitlines()] == names
    assert "offsets" in loaded.err  # a line for each batch
    noon = DAYS[1] + (DAYS[1] - DAYS[0]) / 2
    assert ids_in(past) == ids_between(past, DAYS[0], noon)
    listed = command_line.run("backfill", past.name, "--list").out
    assert all(name in listed for name in names)
    assert listed.count("complete ") == 2
    again = command_line.run(*command, "--every", "day", "--json").json["windows"]
    assert [window["rows"] for window in again] == [0, 0]

    status = command_line.run("status").out
    assert f"2 windows backfilled: `kafka-pg backfill {past.name} --list`" in status
    assert names[0] not in status
    assert command_line.run("verify").code == 0
    past.query("DELETE FROM {table} WHERE id = (SELECT min(id) FROM {table})")
    broken = command_line.run("verify")
    assert (broken.code, "window_rows" in broken.out) == (1, True)


def test_dead_letters_of_a_window_are_known_by_its_name(
    command_line: CommandLine, past: Bench
) -> None:
    past.query("DROP TABLE IF EXISTS {table}")
    past.query(NARROW)
    past.produce([timed(2**40, DAYS[0])])
    past.load()
    side = beside(past, "narrow")
    side.query(NARROW)
    command = ("backfill", past.name, "--from", DAY[0], "--to", DAY[2])
    report = command_line.run(*command, "--into", side.stream.table, "--json").json["windows"][0]
    assert report["dead_letters"] == 1
    [(name, _)] = windows(past)
    assert report["stream"] == name
    listed = command_line.run("dead-letters", "list", name, "--json").json
    assert listed["by_reason"] == {"out_of_range": 1}
    assert "1 dead letter:" in command_line.run("status").out
    side.query("ALTER TABLE {table} ALTER id TYPE bigint")
    assert command_line.run("dead-letters", "replay", name, "--all").code == 0
    assert ids_in(side) == ids_between(past, DAYS[0], DAYS[2])
    assert command_line.run("verify").code == 0

    past.query(AGE)
    before = past.query(LINES)[0][0]
    assert command_line.run("purge").code == 0
    assert past.query(LINES)[0][0] < before
    assert command_line.run("verify").code == 0


def test_a_paused_stream_is_not_backfilled_either(command_line: CommandLine, past: Bench) -> None:
    command_line.run("pause", past.name, "--reason", "ask Ada")
    refused = command_line.run("backfill", past.name, "--from", DAY[0], "--to", DAY[1])
    assert refused.code == 1
    assert "ask Ada" in refused.err
    assert f"kafka-pg resume {past.name}" in refused.err
    assert windows(past) == []


def test_a_pause_ends_a_backfill_that_runs(past: Bench) -> None:
    def pause() -> None:
        with past.session(OPERATOR) as session:
            session.moves.pause("ask Ada")

    with acting_beside(past, pause) as listener, pytest.raises(PausedError, match="ask Ada"):
        backfill(past, DAYS[0], DAYS[2], listener=listener)
    landed = past.count()
    assert 0 < landed < len(ids_between(past, DAYS[0], DAYS[2]))
    with past.session("operator") as session:
        session.moves.resume()
    assert backfill(past, DAYS[0], DAYS[2]).counts.rows + landed == past.count()
    assert ids_in(past) == ids_between(past, DAYS[0], DAYS[2])
    assert past.findings() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--from", DAY[0]), "say --from and --to, or --list"),
        (("--from", "yesterday", "--to", DAY[1]), "neither a day (2026-01-31) nor a time"),
        (("--from", DAY[0], "--to", DAY[1], "--into", "a.b.c"), "into: 'a.b.c'"),
    ],
)
def test_what_cannot_be_meant_is_told(
    command_line: CommandLine, bench: Bench, options: tuple[str, ...], said: str
) -> None:
    command_line.use(bench)
    refused = command_line.run("backfill", bench.name, *options)
    assert (refused.code, said in refused.err) == (2, True), refused.err


def test_another_streams_table_is_no_side_table(command_line: CommandLine, bench: Bench) -> None:
    command_line.use(bench)
    document = command_line.directory / "pipeline.yaml"
    other = "\n  other: {topic: other, table: public.other}\n"
    document.write_text(document.read_text().rstrip() + other)
    command = ("backfill", bench.name, "--from", DAY[0], "--to", DAY[1], "--into", "other")
    refused = command_line.run(*command)
    assert (refused.code, "stream other fills public.other" in refused.err) == (2, True)


def test_a_window_whose_table_was_dropped_begins_anew_when_it_was_forgotten(
    command_line: CommandLine, past: Bench
) -> None:
    side = beside(past, "past")
    time = ("--from", DAY[0], "--to", DAY[2])
    command = ("backfill", past.name, *time, "--into", side.stream.table)
    assert command_line.run(*command).code == 0
    expected = ids_in(side)
    refused = command_line.run(*command, "--forget")
    assert (refused.code, "has rows and no key" in refused.err) == (2, True)
    side.query("DROP TABLE {table}")
    stopped = command_line.run(*command)
    assert (stopped.code, "--forget" in stopped.err) == (1, True)
    [(name, _)] = windows(past)
    assert f"{name}: would begin" in command_line.run(*command, "--forget", "--dry-run").out
    assert windows(past) == [(name, True)]
    assert command_line.run(*command, "--forget", "--json").json["forgotten"] == [name]
    assert windows(past) == []
    assert command_line.run(*command).code == 0
    assert ids_in(side) == expected == ids_between(past, DAYS[0], DAYS[2])
    assert past.findings() == []
