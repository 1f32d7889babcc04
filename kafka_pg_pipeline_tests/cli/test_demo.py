"""``kafka-pg demo`` and ``python3 demo``: from nothing to rows, and only the new ones again."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from kafka_pg_pipeline.local.ports import pick_free
from kafka_pg_pipeline.local.stack import LocalStack
from kafka_pg_pipeline.settings.models import SourceSettings
from kafka_pg_pipeline_tests.cli.conftest import CHECKOUT, CommandLine
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.waiting import wait_until


@pytest.fixture
def stack(command_line: CommandLine) -> Iterator[LocalStack]:
    """The stack that the commands start; taken down afterwards."""
    stack = LocalStack(Path(command_line.environment["KAFKA_PG_HOME"]))
    yield stack
    stack.down()


def count_rows(stack: LocalStack) -> int:
    endpoints = stack.endpoints()
    connection = psycopg2.connect(
        host=endpoints.host,
        port=endpoints.port,
        user=endpoints.user,
        password=endpoints.password,
        dbname=endpoints.dbname,
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*), count(DISTINCT id) FROM public.demo_events")
            rows, different = cursor.fetchone() or (0, 0)
            assert rows == different
            return int(rows)
    finally:
        connection.close()


def test_demo_from_nothing_and_again(command_line: CommandLine, stack: LocalStack) -> None:
    first = command_line.run("demo", timeout=180)
    assert first.code == 0, first.err
    assert count_rows(stack) == 1_000
    assert "the newest rows of public.demo_events" in first.out
    assert "1,000 offsets loaded in all" in first.out
    assert re.search(r"dev\s*$", first.out)

    started = time.monotonic()
    again = command_line.run("demo", "--count", "70")
    assert again.code == 0
    assert time.monotonic() - started < 45
    assert "the job loaded 70 rows" in again.err
    assert count_rows(stack) == 1_070

    script = subprocess.run(
        [sys.executable, str(CHECKOUT / "demo"), "--count", "30", "--json"],
        cwd=command_line.directory,
        env=command_line.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(script.stdout)["rows"] == 30
    assert count_rows(stack) == 1_100
    assert command_line.run("verify", "demo").code == 0
    secret = stack.endpoints().password
    assert secret not in first.out + first.err


def test_demo_on_named_servers_starts_none(command_line: CommandLine, bench: Bench) -> None:
    bench = bench.with_stream(source=SourceSettings(count=25))
    command_line.use(bench)
    finished = command_line.run("demo", "--json")
    assert finished.code == 0, finished.err
    assert finished.json["rows"] == 25
    assert bench.count() == 25
    assert not (Path(command_line.environment["KAFKA_PG_HOME"]) / "kafka").exists()


def test_demo_without_a_source_says_so(command_line: CommandLine, bench: Bench) -> None:
    command_line.use(bench)
    finished = command_line.run("demo", "-c", "pipeline.yaml")
    assert finished.code == 2
    assert "`source:`" in finished.err


def test_failed_demo_is_one_message(command_line: CommandLine, bench: Bench) -> None:
    bench = bench.with_stream(source=SourceSettings(count=25))
    command_line.use(bench, kafka={"bootstrap_servers": "127.0.0.1:1"})
    finished = command_line.run("demo")
    assert (finished.code, finished.out) == (1, "")
    assert "error: no usable answer from Kafka at 127.0.0.1:1" in finished.err
    assert "start the broker" in finished.err


def test_demo_from_a_python_without_the_dependencies(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-S", "-I", str(CHECKOUT / "demo")],
        env={"PATH": os.environ["PATH"], "KAFKA_PG_DEMO_STARTED": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert "make install" in finished.stderr


SENSORS = """{
  sensorsOrError(repositorySelector: {
    repositoryName: "__repository__", repositoryLocationName: "kafka_pg_pipeline"
  }) {... on Sensors {results {name sensorState {status}}}}
}"""


def ask(url: str, query: str) -> Any:
    request = urllib.request.Request(
        f"{url}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["data"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_dev_serves_the_ui_and_leaves_no_process(
    command_line: CommandLine, bench: Bench, number: signal.Signals
) -> None:
    bench.create_topic()
    command_line.use(bench)
    port = pick_free()
    process = command_line.start("dev", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    assert process.stdout is not None
    line = ""
    while "the Dagster UI" not in line:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
    assert url in line
    sensors = ask(url, SENSORS)["sensorsOrError"]["results"]
    assert {"name": "new_offsets_sensor", "sensorState": {"status": "RUNNING"}} in sensors
    second = command_line.run("dev")
    assert (second.code, f"runs already, at {url}" in second.err) == (1, True)
    bench.produce([{"id": 1}])
    wait_until(lambda: bench.query("SELECT to_regclass(%s)", bench.stream.table)[0][0], 60)
    wait_until(lambda: bench.count() == 1, 60)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (-9 if number is signal.SIGKILL else 130)
    wait_until(lambda: not any(member.is_running() for member in family), 40)


def test_dev_on_a_taken_port(command_line: CommandLine, bench: Bench) -> None:
    command_line.use(bench)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        finished = command_line.run("dev", "--port", str(port))
    assert (finished.code, finished.out) == (1, "")
    assert f"port {port} is taken" in finished.err
