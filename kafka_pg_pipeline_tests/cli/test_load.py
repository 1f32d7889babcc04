"""``kafka-pg load`` on real servers: results, signals, terminals."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.waiting import wait_until

SMALL_BATCHES = BatchSettings(max_rows=1_000)


def events(count: int) -> list[dict[str, object]]:
    return [{"id": number, "name": f"event {number}"} for number in range(count)]


def test_load_lands_rows_and_says_so(command_line: CommandLine, bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(250))
    command_line.use(bench)
    finished = command_line.run("load")
    assert finished.code == 0
    assert f"{bench.name}: 250 rows into {bench.stream.table}" in finished.out
    assert "up to date" in finished.out
    bench.assert_exactly_once()
    again = command_line.run("load")
    assert again.code == 0
    assert "0 rows" in again.out


def test_json_is_alone_on_standard_output(command_line: CommandLine, bench: Bench) -> None:
    bench.create_topic()
    bench.produce([*events(30), b"no json"])
    command_line.use(bench)
    (stream,) = command_line.run("load", "--json", "-v").json["streams"]
    assert (stream["rows"], stream["dead_letters"], stream["lag_after"]) == (30, 1, 0)
    assert stream["outcome"] == "end_of_stream"
    assert sum(stream["positions"].values()) == 31


def test_limit_stops_the_run(command_line: CommandLine, bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(300))
    command_line.use(bench)
    (stream,) = command_line.run("load", "--max-records", "100", "--json").json["streams"]
    assert (stream["rows"], stream["lag_after"]) == (100, 200)
    assert stream["outcome"] == "limit_reached"


def test_failing_stream_does_not_hold_up_the_others(
    command_line: CommandLine, bench: Bench, bench_maker: BenchMaker
) -> None:
    missing = bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres)
    bench.create_topic()
    bench.produce(events(20))
    command_line.use(missing, bench)
    finished = command_line.run("load", "--json")
    assert finished.code == 1
    failed, loaded = sorted(finished.json["streams"], key=lambda found: "rows" in found)
    assert missing.stream.topic in failed["error"]
    assert loaded["rows"] == 20
    assert f"error: {missing.name}: topic" in finished.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_after_the_batch_in_flight(
    command_line: CommandLine, bench: Bench, number: signal.Signals
) -> None:
    bench = bench.with_stream(batch=SMALL_BATCHES)
    bench.create_topic()
    bench.produce(events(60_000))
    command_line.use(bench)
    process = command_line.start("load")
    wait_until(lambda: _is_loading(bench))
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopping after the batch in flight" in err
    places = [f"{bench.stream.topic}[{p}]@{at}" for p, at in bench.positions().items()]
    assert f"{bench.name}: stopped at {', '.join(places)};" in err
    assert "stopped, " in out
    assert 0 < bench.count() < 60_000
    assert command_line.run("load").code == 0
    bench.assert_exactly_once()


def test_second_signal_ends_at_once_and_loses_nothing(
    command_line: CommandLine, bench: Bench
) -> None:
    bench = bench.with_stream(batch=SMALL_BATCHES)
    bench.create_topic()
    bench.produce(events(5_000))
    command_line.use(bench)
    # Hold the loader inside a transaction: its rows are copied, its commit is not sent.
    gate = command_line.directory / "gate"
    process = command_line.start("load", KPP_FAILPOINT=f"after_read:wait:{gate}")
    wait_until(Path(f"{gate}.reached").exists)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "stopping after the batch in flight" in process.stderr.readline()
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)  # the gate never opens
    assert process.returncode == 130
    assert "ended at once" in err
    assert command_line.run("load").code == 0
    bench.assert_exactly_once()


def test_forever_takes_what_arrives_and_ends_clean_at_sigterm(
    command_line: CommandLine, bench: Bench
) -> None:
    bench.create_topic()
    bench.produce(events(10))
    command_line.use(bench)
    process = command_line.start("load", "--until", "forever", "--json")
    wait_until(lambda: _count(bench) == 10)
    bench.produce(events(15))
    wait_until(lambda: _count(bench) == 25)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "stopped at" in err
    lines = [json.loads(line) for line in out.splitlines()]
    assert sum(line["rows"] for line in lines) == 25
    bench.assert_exactly_once()


def test_forever_goes_on_without_the_stream_that_failed(
    command_line: CommandLine, bench: Bench, bench_maker: BenchMaker
) -> None:
    missing = bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres)
    bench.create_topic()
    command_line.use(missing, bench)
    process = command_line.start("load", "--until", "forever", "--max-seconds", "8")
    time.sleep(2)
    bench.produce(events(5))
    _, err = process.communicate(timeout=40)
    assert process.returncode == 1
    assert err.count(f"error: {missing.name}") == 1
    assert bench.count() == 5


def test_terminal_shows_a_bar_and_is_left_as_it_was(
    command_line: CommandLine, bench: Bench
) -> None:
    bench = bench.with_stream(batch=SMALL_BATCHES)
    bench.create_topic()
    bench.produce(events(30_000))
    command_line.use(bench)
    finished = command_line.run_in_terminal("load")
    assert finished.code == 0
    assert "of 30,000" in finished.out
    assert "rows/s, batch" in finished.out
    assert finished.out.rindex("\x1b[?25h") > finished.out.rindex("\x1b[?25l")
    assert "30,000 rows into" in finished.out


def test_ctrl_c_on_a_terminal(command_line: CommandLine, bench: Bench) -> None:
    bench = bench.with_stream(batch=SMALL_BATCHES)
    bench.create_topic()
    bench.produce(events(60_000))
    command_line.use(bench)
    typed: list[bytes] = []

    def press(output: str) -> bytes | None:
        if "batch 2" in output and not typed:
            typed.append(b"\x03")
            return typed[0]
        return None

    finished = command_line.run_in_terminal("load", keys=press)
    assert finished.code == 130
    assert "stopping after the batch in flight" in finished.out
    assert f"{bench.stream.topic}[0]@" in finished.out
    assert bench.findings() == []


def test_pipe_gets_a_line_for_each_batch(command_line: CommandLine, bench: Bench) -> None:
    bench = bench.with_stream(batch=BatchSettings(max_rows=100))
    bench.create_topic(partitions=1)
    bench.produce(events(300), partition=lambda _: 0)
    command_line.use(bench)
    finished = command_line.run("load")
    lines = [line for line in finished.err.splitlines() if ": batch " in line]
    assert len(lines) == 3
    assert "300 of 300 offsets" in lines[-1]
    assert "\x1b" not in finished.err + finished.out


def test_killed_load_is_continued(command_line: CommandLine, bench: Bench) -> None:
    bench = bench.with_stream(batch=SMALL_BATCHES)
    bench.create_topic()
    bench.produce(events(30_000))
    command_line.use(bench)
    process = command_line.start("load")
    wait_until(lambda: _is_loading(bench))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert command_line.run("load").code == 0
    bench.assert_exactly_once()


def _count(bench: Bench) -> int:
    name = bench.stream.table
    if not bench.query("SELECT to_regclass(%s) IS NOT NULL", name)[0][0]:
        return 0
    return bench.count()


def _is_loading(bench: Bench) -> bool:
    return _count(bench) > 0
