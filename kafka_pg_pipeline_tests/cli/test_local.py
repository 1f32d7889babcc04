"""``kafka-pg local``: up, status, env, down; a taken port, a full disk."""

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_pg_pipeline.local.stack import LocalStack
from kafka_pg_pipeline_tests.cli.conftest import CommandLine


@pytest.fixture(autouse=True)
def _taken_down(command_line: CommandLine) -> Iterator[None]:
    yield
    LocalStack(Path(command_line.environment["KAFKA_PG_HOME"])).down()


def test_a_stack_comes_and_goes(command_line: CommandLine) -> None:
    before = command_line.run("local", "status")
    assert (before.code, "stopped" in before.out) == (1, True)
    missing = command_line.run("local", "env")
    assert (missing.code, missing.out) == (1, "")
    assert "kafka-pg local up" in missing.err

    up = command_line.run("local", "up")
    assert up.code == 0
    assert "running" in up.out
    assert command_line.run("local", "up").code == 0
    status = command_line.run("local", "status", "--json").json
    assert status["is_up"]

    env = command_line.run("local", "env")
    lines = dict(line.removeprefix("export ").split("=", 1) for line in env.out.splitlines())
    variables = {name: shlex.split(value)[0] for name, value in lines.items()}
    assert list(variables) == [
        "KAFKA_BOOTSTRAP_SERVERS",
        "PGHOST",
        "PGPORT",
        "PGUSER",
        "PGPASSWORD",
        "PGDATABASE",
    ]
    assert command_line.run("local", "env", "--json").json == variables
    script = "import psycopg2; psycopg2.connect('').close()"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, **variables}, check=True)
    secret = variables["PGPASSWORD"]
    assert secret not in up.out + up.err + str(status)

    command_line.write_file({"streams": {"a": {"topic": "a.topic", "table": "public.a"}}})
    doctor = command_line.run("doctor", "-v", "--debug")
    assert "named by the local stack" in doctor.out
    assert secret not in doctor.out + doctor.err

    lines = command_line.directory / "a.jsonl"
    lines.write_text('{"id": 1}\n{"id": 2}\n')
    produced = command_line.run("produce", "a", "--file", str(lines))
    assert "2 records acknowledged on a.topic" in produced.out
    assert "2 rows into public.a" in command_line.run("load", "a").out

    moved = command_line.run("local", "up", "--kafka-port", "20001")
    assert (moved.code, "runs on 127.0.0.1:" in moved.err) == (1, True)

    LocalStack(Path(command_line.environment["KAFKA_PG_HOME"])).kafka.kill()
    assert command_line.run("verify", "a").code == 0
    half = command_line.run("doctor")
    assert half.code == 1
    assert "refuses connections" in half.out
    assert "PostgreSQL: 127.0.0.1" in half.out

    down = command_line.run("local", "down")
    assert (down.code, "stopped" in down.out) == (0, True)
    again = command_line.run("local", "down")
    assert (again.code, "nothing was running" in again.out) == (0, True)


@pytest.mark.parametrize(
    ("option", "name"), [("--kafka-port", "Kafka"), ("--postgres-port", "PostgreSQL")]
)
def test_taken_port(command_line: CommandLine, option: str, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        finished = command_line.run("local", "up", option, str(port))
    assert (finished.code, finished.out) == (1, "")
    (error,) = [line for line in finished.err.splitlines() if line.startswith("error: ")]
    assert str(port) in error
    assert name in error
    assert command_line.run("local", "status").code == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_disk(command_line: CommandLine, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this container may not mount a small disk")
    try:
        finished = command_line.run("local", "up", KAFKA_PG_HOME=str(disk / "home"))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    assert (finished.code, finished.out) == (1, "")
    (error,) = [line for line in finished.err.splitlines() if line.startswith("error: ")]
    assert "MB free" in error
    assert "KAFKA_PG_HOME" in error
