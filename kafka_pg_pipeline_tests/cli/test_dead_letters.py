"""``dead-letters``: listed without content, shown by name, replayed and discarded."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.older_schemas import older_schema

CANARY = "canary-3f9c1d"
OPEN = "SELECT count(*) FROM {schema}.dead_letter WHERE resolved_at IS NULL"


def one_partition(_: int) -> int:
    return 0


@pytest.fixture
def rejected(bench: Bench, command_line: CommandLine) -> Bench:
    """Ten rows, and four dead letters of three reasons."""
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer, n integer, kafka_partition integer, kafka_offset bigint)"
    )
    values: list[Any] = [
        *({"id": number} for number in range(10)),
        {"id": 2**40, "n": 1},
        {"id": 10, "n": CANARY},
        FakeRecord(b'{"id": ', key=b"key\xff", headers=(("trace", b"abc"), ("none", None))),
        {"id": 2**41, "n": 2},
    ]
    bench.produce(values, partition=one_partition)
    bench.load()
    command_line.use(bench)
    return bench


def test_list_shows_coordinates_and_reasons_and_no_content(
    command_line: CommandLine, rejected: Bench
) -> None:
    finished = command_line.run("dead-letters", "list", rejected.name)
    assert finished.code == 0
    assert finished.out.startswith(f"{rejected.name}: 4 dead letters\n")
    lines = [line.split() for line in finished.out.splitlines()]
    assert lines[1:4] == [["2", "out_of_range"], ["1", "invalid_json"], ["1", "wrong_type"]]
    assert lines[4] == [
        *("id", "partition", "offset", "time", "stage", "reason", "column", "sqlstate", "bytes")
    ]
    offsets = [line[2] for line in lines[6:] if line]
    assert offsets == ["13", "12", "11", "10"]
    assert CANARY not in finished.out + finished.err


def test_list_as_json_and_its_filters(command_line: CommandLine, rejected: Bench) -> None:
    name = rejected.name
    found = command_line.run("dead-letters", "list", name, "--json").json
    assert (found["stream"], found["topic"], found["total"]) == (name, rejected.stream.topic, 4)
    assert found["by_reason"] == {"out_of_range": 2, "invalid_json": 1, "wrong_type": 1}
    first = found["letters"][-1]
    assert (first["partition"], first["offset"], first["reason"]) == (0, 10, "out_of_range")
    assert (first["column"], first["stage"], first["resolution"]) == ("id", "encode", None)
    assert first["record_bytes"] == len('{"id": 1099511627776, "n": 1}')
    assert "value" not in first
    soon = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
    for options, total in (
        (["--reason", "wrong_type"], 1),
        (["--column", "id"], 2),
        (["--offset", "12"], 1),
        (["--partition", "1"], 0),
        (["--id", "1", "--id", "2"], 2),
        (["--since", soon], 0),
        (["--until", soon], 4),
        (["--resolved"], 0),
    ):
        listed = command_line.run("dead-letters", "list", name, *options, "--json").json
        assert listed["total"] == total, options
    few = command_line.run("dead-letters", "list", name, "--limit", "1", "--json").json
    assert (len(few["letters"]), few["total"]) == (1, 4)
    assert "the newest 1 of 4" in command_line.run("dead-letters", "list", name, "--limit", "1").out


def test_list_before_the_first_load(command_line: CommandLine, bench: Bench) -> None:
    command_line.use(bench)
    finished = command_line.run("dead-letters", "list", bench.name)
    assert (finished.code, finished.out) == (0, f"{bench.name}: 0 dead letters\n")
    assert command_line.run("dead-letters", "show", bench.name, "1").code == 2


def test_show_prints_the_record_of_the_letter_that_is_named(
    command_line: CommandLine, rejected: Bench
) -> None:
    finished = command_line.run("dead-letters", "show", rejected.name, "2")
    assert finished.code == 0
    assert f"dead letter 2: {rejected.stream.topic}[0]@11" in finished.out
    assert CANARY in finished.out
    broken = command_line.run("dead-letters", "show", rejected.name, "3").out
    assert 'header trace: abc\nheader none: none\nkey: \\x6b6579ff\nvalue:\n{"id": \n' in broken
    plain = command_line.run("dead-letters", "show", rejected.name, "3", "--json").json
    assert plain["key"] == {"hex": "6b6579ff"}
    assert plain["value"] == {"text": '{"id": '}
    assert plain["headers"] == [
        {"name": "trace", "value": {"text": "abc"}},
        {"name": "none", "value": None},
    ]


def test_show_keeps_control_characters_from_the_terminal(
    command_line: CommandLine, bench: Bench
) -> None:
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    bench.produce([b"\x1b[2J{"], partition=one_partition)
    bench.load()
    command_line.use(bench)
    shown = command_line.run("dead-letters", "show", bench.name, "1").out
    assert "\x1b" not in shown
    assert "\\x1b5b324a7b" in shown


def test_show_of_no_such_letter_is_bad_usage(command_line: CommandLine, rejected: Bench) -> None:
    finished = command_line.run("dead-letters", "show", rejected.name, "99")
    assert finished.code == 2
    assert "has no dead letter 99" in finished.err


def test_replay_after_a_fix_lands_each_once(command_line: CommandLine, rejected: Bench) -> None:
    rejected.query("ALTER TABLE {table} ALTER id TYPE bigint, ALTER n TYPE text")
    replay = ("dead-letters", "replay", rejected.name)
    rehearsed = command_line.run(*replay, "--all", "--dry-run", "--json")
    assert rehearsed.code == 1
    assert rehearsed.json["dry_run"]
    assert (rejected.count(), rejected.query(OPEN)) == (10, [(4,)])
    done = command_line.run(*replay, "--all", "--json")
    assert done.code == 1
    assert (done.json["replayed"], done.json["still_rejected"]) == (3, 1)
    assert done.json["by_reason"] == {"invalid_json": 1}
    assert {**done.json, "dry_run": True, "run_id": ""} == {**rehearsed.json, "run_id": ""}
    assert rejected.count() == 13
    again = command_line.run(*replay, "--reason", "out_of_range")
    assert again.code == 0
    assert "0 dead letters replayed into" in again.out
    resolved = command_line.run("dead-letters", "list", rejected.name, "--resolved").out
    assert resolved.startswith(f"{rejected.name}: 3 resolved dead letters")
    assert done.json["run_id"] in resolved
    assert command_line.run("verify", rejected.name).code == 0
    rejected.assert_exactly_once()


def test_discard_resolves_and_leaves_an_audit_row(
    command_line: CommandLine, rejected: Bench
) -> None:
    discard = ("dead-letters", "discard", rejected.name, "--reason", "out_of_range")
    rehearsed = command_line.run(*discard, "--dry-run")
    assert "2 dead letters would be discarded" in rehearsed.out
    assert rejected.query(OPEN) == [(4,)]
    done = command_line.run(*discard, "--json").json
    assert (done["discarded"], done["by_reason"]) == (2, {"out_of_range": 2})
    assert rejected.query(OPEN) == [(2,)]
    [(detail,)] = rejected.query(
        "SELECT detail FROM {schema}.audit WHERE action = 'discard-dead-letters'"
    )
    assert detail["filter"] == {"reason": "out_of_range"}
    assert detail["run_id"] == done["run_id"]
    status = command_line.run("status", rejected.name, "--json").json["streams"][0]
    assert sum(partition["dead_letters"] for partition in status["stored"]) == 2
    assert command_line.run("verify", rejected.name).code == 0
    lag = command_line.run("lag", rejected.name, "--json").json["streams"][0]
    assert lag["dead_letters"] == 2
    hint = f"2 dead letters: `kafka-pg dead-letters list {rejected.name}` says why"
    for command in ("lag", "status"):
        assert hint in command_line.run(command, rejected.name).out


@pytest.mark.parametrize("verb", ["replay", "discard"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "name the dead letters by a filter, or say --all"),
        (["--all", "--id", "1"], "contradict each other"),
        (["--since", "yesterday"], "--since: 'yesterday' is not a time with its zone"),
        (["--until", "2026-01-31T12:00:00"], "has no zone"),
        (["--reason", "bad_luck"], "bad_luck"),
    ],
)
def test_what_is_meant_must_be_said(
    command_line: CommandLine, bench: Bench, verb: str, options: list[str], said: str
) -> None:
    command_line.use(bench)
    finished = command_line.run("dead-letters", verb, bench.name, *options)
    assert finished.code == 2
    assert said in finished.err


def test_tables_of_an_older_version_are_looked_at_as_far_as_they_go(
    command_line: CommandLine, rejected: Bench
) -> None:
    with older_schema(rejected, version=1) as older:
        command_line.use(older)
        status = command_line.run("status", older.name, "--json")
        assert status.code == 0
        assert sum(part["dead_letters"] for part in status.json["streams"][0]["stored"]) == 4
        for command in (("dead-letters", "list"), ("verify",)):
            finished = command_line.run(*command, older.name)
            assert finished.code == 1
            assert "made by an older version" in finished.err
        assert command_line.run("load", older.name).code == 0
        assert command_line.run("dead-letters", "list", older.name).code == 0
