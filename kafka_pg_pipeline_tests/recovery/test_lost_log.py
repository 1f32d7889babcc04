"""Retention passed the stream, or the topic is another one: seen, decided, and gone on."""

import pytest

from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.recovery.oracle import ids_of, landed
from kafka_pg_pipeline_tests.topics import delete_before, recreate


def events(first: int, count: int) -> list[dict[str, int]]:
    return [{"id": number} for number in range(first, first + count)]


@pytest.fixture
def loaded(bench: Bench, command_line: CommandLine) -> Bench:
    bench.create_topic()
    bench.produce(events(0, 30))
    command_line.use(bench)
    assert command_line.run("load").code == 0
    return bench


def test_what_retention_removed_is_a_gap_and_all_else_a_row(
    command_line: CommandLine, loaded: Bench
) -> None:
    before = landed(loaded)
    loaded.produce(events(30, 60))
    delete_before(loaded, 0, 18)
    delete_before(loaded, 2, 5)  # loaded already
    stopped = command_line.run("load")
    assert stopped.code == 1
    assert f"RETENTION_GAP {loaded.stream.topic}[0] [10,18) (8 lost)" in stopped.err
    assert f"`kafka-pg accept-gap {loaded.name}`" in stopped.err
    assert landed(loaded) == before
    assert command_line.run("accept-gap", loaded.name, "--dry-run").code == 0
    assert command_line.run("load").code == 1
    assert command_line.run("accept-gap", loaded.name).code == 0
    assert command_line.run("load").code == 0
    there = {o: value for o, value in loaded.read_all().items() if o[1] >= 10}
    assert landed(loaded) == sorted([*before, *ids_of(there)])
    assert command_line.run("verify").code == 0
    assert loaded.query("SELECT partition, start_offset, end_offset FROM {schema}.gap") == [
        (0, 10, 18)
    ]


def test_a_topic_created_again_is_loaded_beside_the_old_rows(
    command_line: CommandLine, loaded: Bench
) -> None:
    before = landed(loaded)
    recreate(loaded)
    loaded.produce(events(1000, 60))
    stopped = command_line.run("load")
    assert stopped.code == 1
    assert "is not the topic that was loaded before (topic id was " in stopped.err
    assert f"`kafka-pg accept-topic {loaded.name}`" in stopped.err
    assert landed(loaded) == before
    assert command_line.run("accept-topic", loaded.name, "--dry-run").code == 0
    assert command_line.run("load").code == 1
    assert command_line.run("accept-topic", loaded.name).code == 0
    for _ in range(2):
        assert command_line.run("load").code == 0
    assert landed(loaded) == sorted([*before, *ids_of(loaded.read_all())])
    assert command_line.run("verify").code == 0
