"""``kafka-pg metrics``: real scrapes over HTTP, whoever runs the loads."""

import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kafka_pg_pipeline.assembly.measure import Meter
from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.delivery.test_purge import AGE_LINES, purge
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.topics import open_transaction

Values = dict[tuple[str, str], float]


def parse(text: str) -> Values:
    """Values by metric and stream; each has all three labels."""
    values: Values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert set(sample.labels) == {"stream", "topic", "table"}
            assert family.documentation
            values[sample.name, sample.labels["stream"]] = sample.value
    return values


@contextmanager
def exporter(command_line: CommandLine) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A running exporter and its address."""
    process = command_line.start("metrics", "--listen", "127.0.0.1:0")
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"http://\S+/metrics", line)
    assert found, line + process.stderr.read()
    try:
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


def scrape(url: str) -> Values:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return parse(answer.read().decode())


def test_a_scrape_tells_lag_and_totals_and_follows_loads(
    command_line: CommandLine, bench: Bench, bench_maker: BenchMaker
) -> None:
    other = bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres)
    bench.create_topic()
    bench.produce([{"id": 1}, b"broken", {"id": 2}, {"id": 3}])
    command_line.use(bench, other)
    name = bench.name
    with exporter(command_line) as (process, url):
        first = scrape(url)
        assert first["kafka_pg_up", name] == 1
        assert first["kafka_pg_lag_offsets", name] == 4
        assert first["kafka_pg_rows_total", name] == 0
        assert ("kafka_pg_last_commit_timestamp_seconds", name) not in first
        assert first["kafka_pg_up", other.name] == 0
        assert ("kafka_pg_lag_offsets", other.name) not in first
        bench.load()
        second = scrape(url)
        assert second["kafka_pg_lag_offsets", name] == 0
        assert second["kafka_pg_position", name] == 4
        assert second["kafka_pg_rows_total", name] == 3
        assert second["kafka_pg_dead_letters_total", name] == 1
        assert second["kafka_pg_unresolved_dead_letters", name] == 1
        assert second["kafka_pg_record_bytes_total", name] == 3 * 9 + 6
        [(moment,)] = bench.query(
            "SELECT extract(epoch FROM max(committed_at)) FROM {schema}.ledger"
        )
        last = second["kafka_pg_last_commit_timestamp_seconds", name]
        assert last == pytest.approx(float(moment), abs=0.01)
        bench.query("INSERT INTO {schema}.pause (stream, reason) VALUES (%s, 'x')", name)
        bench.query(
            "INSERT INTO {schema}.failure (stream, failures, error, message, run_id)"
            " VALUES (%s, 3, 'E', 'm', 'r')",
            name,
        )
        with open_transaction(bench, 5) as producer:
            third = scrape(url)
            producer.abort_transaction(30)
        assert third["kafka_pg_blocked_offsets", name] == 5
        assert third["kafka_pg_paused", name] == 1
        assert third["kafka_pg_failures_in_a_row", name] == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_totals_never_fall_and_need_no_scan(bench: Bench) -> None:
    """Of many small batches, resets and a purge; a meter that starts anew finds the same."""
    bench = bench.with_stream(batch=BatchSettings(max_rows=10))
    bench.create_topic()
    meter = Meter(bench.endpoints, {bench.name: bench.stream})
    rows = []

    def look() -> None:
        [measure] = meter.measure()
        assert measure.account is not None
        totals = measure.account.totals
        rows.append(totals.rows)
        [again] = Meter(bench.endpoints, {bench.name: bench.stream}).measure()
        assert again.account is not None
        assert replace(again.account.totals, last_commit=totals.last_commit) == totals

    bench.produce([{"id": number} for number in range(90)])
    bench.load(max_records=30)
    look()
    bench.load()
    look()
    with bench.session() as session:
        target = session.catalog.fetch_target()
        session.moves.reset({0: 0}, target, allow_duplicates=False)
    bench.load()
    look()
    bench.query(AGE_LINES)
    assert purge(bench).merged_lines > 3
    look()
    look()
    assert rows == [30, 90, 120, 120, 120]
    read_so_far = ((key[2], key[4], at) for key, at in meter._accounts._seen.items())
    [(read,)] = bench.query(
        "SELECT count(*) FROM {schema}.ledger WHERE (partition, epoch, start_offset) IN"
        " (SELECT * FROM unnest(%s::int[], %s::int[], %s::bigint[]))",
        *map(list, zip(*read_so_far, strict=True)),
    )
    assert read == 0


def test_once_prints_the_same_and_ends(command_line: CommandLine, bench: Bench) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    bench.load()
    command_line.use(bench)
    finished = command_line.run("metrics", "--once")
    assert finished.code == 0
    assert parse(finished.out)["kafka_pg_rows_total", bench.name] == 1


def test_servers_that_are_down_are_a_zero_and_no_error(
    command_line: CommandLine, bench: Bench
) -> None:
    closed = bench.with_postgres(port=1)
    command_line.use(closed)
    finished = command_line.run("metrics", "--once")
    assert finished.code == 0
    assert parse(finished.out) == {("kafka_pg_up", bench.name): 0}
    assert "nothing listens there" in finished.err


@pytest.mark.parametrize("address", ["9187", "127.0.0.1:99999", "127.0.0.1:x", ":9187"])
def test_an_address_that_is_none_is_refused(command_line: CommandLine, address: str) -> None:
    finished = command_line.run("metrics", "--listen", address)
    assert finished.code == 2
    assert f"{address!r} is not HOST:PORT" in finished.err


def test_a_port_that_is_taken_is_told(command_line: CommandLine, bench: Bench) -> None:
    bench.create_topic()
    command_line.use(bench)
    port = bench.endpoints.postgres.port
    finished = command_line.run("metrics", "--listen", f"127.0.0.1:{port}")
    assert finished.code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in finished.err


def test_without_the_extra_one_line_says_what_to_install(
    command_line: CommandLine, bench: Bench
) -> None:
    command_line.use(bench)
    hide = "import sys; sys.modules['prometheus_client'] = None;"
    run = "from kafka_pg_pipeline.cli.main import main; main(['metrics', '--once'])"
    done = subprocess.run(
        [sys.executable, "-c", hide + run],
        cwd=command_line.directory,
        env=command_line.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: this command needs prometheus_client, which is not installed: "
        "pip install 'kafka-pg-pipeline[metrics]'\n"
    )
