"""``kafka-pg produce``: into streams that allow it, and from files."""

import signal

import pytest

from kafka_pg_pipeline.settings.models import SourceSettings
from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.waiting import wait_until


@pytest.fixture
def source(bench: Bench, command_line: CommandLine) -> Bench:
    bench = bench.with_stream(source=SourceSettings(count=40))
    command_line.use(bench)
    return bench


def test_generated_events_are_acknowledged(command_line: CommandLine, source: Bench) -> None:
    report = command_line.run("produce", source.name, "--json").json
    assert report["acknowledged"] == 40
    assert "acknowledged on" in command_line.run("produce", source.name, "--count", "7").out
    assert len(source.read_all()) == 47


def test_stream_without_source_is_never_filled(command_line: CommandLine, bench: Bench) -> None:
    bench.create_topic()
    command_line.use(bench)
    finished = command_line.run("produce", bench.name, "--count", "5")
    assert finished.code == 2
    assert "has no `source:`" in finished.err
    assert bench.read_all() == {}


def test_lines_of_a_file_land_as_they_stand(command_line: CommandLine, bench: Bench) -> None:
    bench.create_topic()
    command_line.use(bench)
    lines = ['{"id": 1, "x": 1.10}', "not json", '{"id": 2}']
    (command_line.directory / "events.jsonl").write_text("\n".join(lines))
    finished = command_line.run("produce", bench.name, "--file", "events.jsonl")
    assert finished.code == 0
    assert sorted(value or b"" for value in bench.read_all().values()) == sorted(
        line.encode() for line in lines
    )


def test_keys_stand_before_a_separator_and_a_key_alone_is_a_tombstone(
    command_line: CommandLine, bench: Bench
) -> None:
    bench = bench.with_stream(mode="upsert", key=["k"])
    bench.create_topic(1)
    command_line.use(bench)
    lines = ['a|{"k": "a", "v": "1|2"}', 'b|{"k": "b", "v": "3"}', "b|"]
    (command_line.directory / "rows.txt").write_text("\n".join(lines))
    command_line.run("produce", bench.name, "--file", "rows.txt", "--key-separator", "|")
    assert ", 1 superseded, 1 without effect;" in command_line.run("load", bench.name).out
    assert bench.query("SELECT k, v FROM {table}") == [("a", "1|2")]


def test_missing_file(command_line: CommandLine, bench: Bench) -> None:
    bench.create_topic()
    command_line.use(bench)
    finished = command_line.run("produce", bench.name, "--file", "none.jsonl")
    assert finished.code == 2
    assert "none.jsonl" in finished.err


def test_ctrl_c_ends_a_slow_producer(command_line: CommandLine, source: Bench) -> None:
    process = command_line.start("produce", source.name, "--count", "100000", "--rate", "20")
    wait_until(source.read_all)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted" in err
