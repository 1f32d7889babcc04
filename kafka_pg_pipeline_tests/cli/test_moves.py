"""``reset``, ``accept-gap``, ``accept-topic``: rehearsed, done, refused."""

import time
from datetime import datetime, timezone

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.fix_streams import Bench


@pytest.fixture
def loaded(bench: Bench, command_line: CommandLine) -> Bench:
    """300 events on 3 partitions, all loaded."""
    bench.create_topic()
    bench.produce([{"id": number} for number in range(300)])
    bench.load()
    command_line.use(bench)
    return bench


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("earliest", {0: 0, 1: 0, 2: 0}),
        ("latest", {0: 100, 1: 100, 2: 100}),
        ("40", {0: 40, 1: 40, 2: 40}),
        ("0=10,2=20", {0: 10, 1: 100, 2: 20}),
        ("2001-01-01T00:00:00Z", {0: 0, 1: 0, 2: 0}),
        ("2999-01-01T00:00:00+02:00", {0: 100, 1: 100, 2: 100}),
    ],
)
def test_reset_goes_where_it_is_told(
    command_line: CommandLine, loaded: Bench, destination: str, expected: dict[int, int]
) -> None:
    reset = ("reset", loaded.name, "--to", destination)
    rehearsed = command_line.run(*reset, "--dry-run", "--json").json
    assert rehearsed["dry_run"]
    assert loaded.positions() == {0: 100, 1: 100, 2: 100}
    assert loaded.count() == 300
    done = command_line.run(*reset, "--json").json
    assert done["moves"] == rehearsed["moves"]
    assert loaded.positions() == expected
    assert sum(move["deleted_rows"] for move in done["moves"]) == 300 - loaded.count()
    assert loaded.query("SELECT count(*) FROM {schema}.audit WHERE action = 'reset'") == [(1,)]
    command_line.run("load")
    loaded.assert_exactly_once()


def test_reset_to_a_time_between_records(command_line: CommandLine, bench: Bench) -> None:
    bench.create_topic(partitions=1)
    bench.produce([{"id": 1}, {"id": 2}], partition=lambda _: 0)
    time.sleep(1.1)
    moment = datetime.now(timezone.utc).isoformat()
    bench.produce([{"id": 3}], partition=lambda _: 0)
    bench.load()
    command_line.use(bench)
    assert command_line.run("reset", bench.name, "--to", moment).code == 0
    assert bench.positions() == {0: 2}


def test_reset_shows_before_and_after(command_line: CommandLine, loaded: Bench) -> None:
    out = command_line.run("reset", loaded.name, "--to", "40", "--dry-run").out
    assert "-60" in out
    assert "nothing was changed" in out


@pytest.mark.parametrize(
    ("destination", "said"),
    [
        ("yesterday", "is none of earliest, latest"),
        ("2026-01-01T00:00:00", "has no zone"),
        ("0=x", "is not partition=offset"),
        ("0=1,0=2", "named twice"),
        ("9=1", "no partition 9"),
        ("101", "outside the log, which reaches from 0 to 100"),
    ],
)
def test_reset_refuses_what_it_cannot_do(
    command_line: CommandLine, loaded: Bench, destination: str, said: str
) -> None:
    finished = command_line.run("reset", loaded.name, "--to", destination)
    assert (finished.code, finished.out) == (2, "")
    assert said in finished.err
    assert loaded.positions() == {0: 100, 1: 100, 2: 100}


def test_reset_backwards_without_offset_columns_needs_a_word(
    command_line: CommandLine, bench: Bench
) -> None:
    bench = bench.with_stream(metadata={})
    bench.create_topic()
    bench.produce([{"id": 1}])
    bench.load()
    command_line.use(bench)
    reset = ("reset", bench.name, "--to", "earliest")
    refused = command_line.run(*reset)
    assert refused.code == 2
    assert "--allow-duplicates" in refused.err
    assert command_line.run(*reset, "--allow-duplicates").code == 0
    command_line.run("load")
    assert bench.count() == 2


def test_reset_of_a_stream_never_loaded(command_line: CommandLine, bench: Bench) -> None:
    bench.create_topic()
    command_line.use(bench)
    finished = command_line.run("reset", bench.name, "--to", "earliest")
    assert finished.code == 2
    assert "has no position yet" in finished.err


def test_gap_is_refused_then_accepted(command_line: CommandLine, bench: Bench) -> None:
    bench.create_topic()
    bench.produce([{"id": number} for number in range(300)])
    bench.load(max_records=60)
    admin = AdminClient({"bootstrap.servers": bench.bootstrap_servers})
    cut = [TopicPartition(bench.stream.topic, number, 80) for number in range(3)]
    for future in admin.delete_records(cut).values():
        future.result(30)
    command_line.use(bench)
    refused = command_line.run("load")
    assert refused.code == 1
    assert "RETENTION_GAP" in refused.err
    assert "kafka-pg accept-gap" in refused.err
    status = command_line.run("status")
    assert status.code == 1
    assert "cannot go on: RETENTION_GAP" in status.out
    for look in ("lag", "doctor"):
        told = command_line.run(look)
        assert (told.code, f"kafka-pg accept-gap {bench.name}" in told.out) == (1, True)
    rehearsed = command_line.run("accept-gap", bench.name, "--dry-run", "--json").json
    assert bench.query("SELECT count(*) FROM {schema}.gap") == [(0,)]
    accepted = command_line.run("accept-gap", bench.name, "--json").json
    assert accepted["moves"] == rehearsed["moves"]
    assert command_line.run("load").code == 0
    assert command_line.run("verify").code == 0
    assert bench.query("SELECT sum(end_offset - start_offset)::int FROM {schema}.gap") == [(180,)]
    assert bench.count() == 60 + 60


def test_no_gap_is_no_move(command_line: CommandLine, loaded: Bench) -> None:
    finished = command_line.run("accept-gap", loaded.name)
    assert finished.code == 0
    assert "has no gap" in finished.out


def test_topic_made_anew_is_refused_then_accepted(command_line: CommandLine, loaded: Bench) -> None:
    loaded.delete_topic()
    loaded.create_topic()
    loaded.produce([{"id": number} for number in range(30)])
    refused = command_line.run("load")
    assert refused.code == 1
    assert "kafka-pg accept-topic" in refused.err
    status = command_line.run("status")
    assert status.code == 1
    assert f"kafka-pg accept-topic {loaded.name}" in status.out
    for look in ("lag", "doctor"):
        told = command_line.run(look)
        said = told.out + told.err
        assert (told.code, f"kafka-pg accept-topic {loaded.name}" in said) == (1, True)
    rehearsed = command_line.run("accept-topic", loaded.name, "--dry-run")
    assert rehearsed.code == 0
    assert loaded.positions() == {0: 100, 1: 100, 2: 100}
    assert command_line.run("accept-topic", loaded.name).code == 0
    assert command_line.run("load").code == 0
    assert loaded.count() == 330


def test_accepting_the_same_topic_needs_a_word(command_line: CommandLine, loaded: Bench) -> None:
    refused = command_line.run("accept-topic", loaded.name)
    assert refused.code == 2
    assert "--same-topic" in refused.err
    assert loaded.positions() == {0: 100, 1: 100, 2: 100}
