"""The command line as a user meets it: a process of its own, a file, an environment."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

import kafka_pg_pipeline
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.forking import FORKED, Forked

CHECKOUT = Path(kafka_pg_pipeline.__file__).parent.parent
PASSWORD_VARIABLE = "TEST_CLI_PASSWORD"


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)


@dataclass
class CommandLine:
    """Runs ``kafka-pg`` in a directory of its own, with an environment that names no server."""

    directory: Path
    environment: dict[str, str]
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def run(self, *arguments: str, timeout: float = 90, **environment: str) -> Finished:
        run = self._fork if arguments and arguments[0] in FORKED else self._start_and_wait
        finished = run(*arguments, timeout=timeout, **environment)
        assert "Traceback" not in finished.err, finished.err
        return finished

    def _fork(self, *arguments: str, timeout: float, **environment: str) -> Finished:
        with TemporaryDirectory() as directory:
            output, messages = Path(directory) / "out", Path(directory) / "err"
            process = Forked(
                arguments,
                directory=self.directory,
                environment={**self.environment, **environment},
                output=output,
                messages=messages,
            )
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
            return Finished(code, output.read_text(), messages.read_text())

    def _start_and_wait(self, *arguments: str, timeout: float, **environment: str) -> Finished:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=timeout)
        return Finished(process.returncode, out, err)

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            self.command(*arguments),
            cwd=self.directory,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self.started.append(process)
        return process

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "kafka_pg_pipeline", *arguments]

    def run_in_terminal(
        self, *arguments: str, keys: Callable[[str], bytes | None] = lambda _: None
    ) -> Finished:
        """Run on a terminal of 100 columns; ``keys`` sees the output and may type."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.directory)
            os.execve(
                sys.executable, self.command(*arguments), {**self.environment, "TERM": "xterm"}
            )
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        output = ""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    output += os.read(terminal, 65536).decode(errors="replace")
                except OSError:
                    break
            if (typed := keys(output)) is not None:
                os.write(terminal, typed)
        else:
            os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        return Finished(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output, "")

    def write_file(self, document: Mapping[str, Any], name: str = "pipeline.yaml") -> Path:
        path = self.directory / name
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    def use(self, *benches: Bench, **changes: Any) -> Path:
        """Write a file that leads to the benches' servers and streams."""
        return self.write_file(
            {**describe_servers(benches[0]), **describe_streams(*benches), **changes}
        )


def describe_servers(bench: Bench) -> dict[str, Any]:
    kafka, postgres = bench.endpoints.kafka, bench.endpoints.postgres
    return {
        "kafka": {"bootstrap_servers": kafka.bootstrap_servers, "reader": kafka.reader},
        "postgres": {
            "host": postgres.host,
            "port": postgres.port,
            "user": postgres.user,
            "password": f"${{{PASSWORD_VARIABLE}}}",
            "dbname": postgres.dbname,
            "schema": postgres.schema_name,
        },
    }


def describe_streams(*benches: Bench) -> dict[str, Any]:
    return {
        "streams": {
            bench.name: bench.stream.model_dump(mode="json", exclude_unset=True, by_alias=True)
            for bench in benches
        }
    }


@pytest.fixture
def command_line(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[CommandLine]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "KAFKA_", "DAGSTER_", "KPP_", "COLUMNS"))
    }
    environment |= {
        "PYTHONPATH": str(CHECKOUT),
        "KAFKA_PG_HOME": str(tmp_path / "home"),
        "LANG": "C.UTF-8",
    }
    if "postgres" in request.fixturenames:
        password = request.getfixturevalue("postgres").password
        environment[PASSWORD_VARIABLE] = password.get_secret_value()
    line = CommandLine(tmp_path, environment)
    yield line
    for process in line.started:
        if process.poll() is None:
            process.kill()
            process.communicate()
