"""The product as a program of its own, at a failpoint: killed, frozen or made to wait."""

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from kafka_pg_pipeline_tests.configuration import environment_of, write_file
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.forking import PATIENCE, Forked
from kafka_pg_pipeline_tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60


@dataclass
class Loader:
    """One ``kafka-pg load`` process; what it says goes to files, so that it can be read early."""

    process: Forked
    output: Path
    messages: Path

    def said(self) -> str:
        return self.messages.read_text()

    def wait(self) -> int:
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {PATIENCE_SECONDS} s: {self.said()}")

    def finish(self) -> dict[str, Any]:
        """Wait for success; the stream's part of the JSON report."""
        return dict(self.finish_command()["streams"][0])

    def finish_command(self) -> dict[str, Any]:
        """Wait for success; the JSON report."""
        assert self.wait() == 0, self.said()
        return dict(json.loads(self.output.read_text()))

    def fail(self) -> str:
        """Wait for a failed run; what it said."""
        assert self.wait() == 1, self.said()
        return self.said()

    def wait_killed(self) -> None:
        assert self.wait() == -signal.SIGKILL, self.said()

    def wait_frozen(self) -> None:
        wait_until(lambda: psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Gate:
    """A failpoint's file: loaders that reach it wait for it to open."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return f"wait:{self._path}"

    def wait_reached(self) -> None:
        wait_until(Path(f"{self._path}.reached").exists)

    def open(self) -> None:
        self._path.touch()


class Loaders:
    """Starts loaders of one bench, and ends those that are left."""

    def __init__(self, bench: Bench, directory: Path) -> None:
        self._bench = bench
        self._directory = directory
        self.file = directory / f"{bench.name}.yaml"
        self._environment = environment_of(bench, self.file)
        self.started: list[Loader] = []
        write_file(self.file, bench)

    def impatient(self) -> "Loaders":
        """Let them give up on passing faults after a second, where the product holds out for 15."""
        self._environment[PATIENCE] = "1"
        return self

    def gate(self) -> Gate:
        return Gate(self._directory / f"gate{len(self.started)}")

    def start(self, failpoint: str | None = None, *options: str) -> Loader:
        return self._start(failpoint, "load", "--json", *options, self._bench.name)

    def hold(self, place: str, *options: str) -> tuple[Loader, Gate]:
        """A loader that waits at the failpoint until the gate is opened."""
        gate = self.gate()
        loader = self.start(f"{place}:{gate}", *options)
        gate.wait_reached()
        return loader, gate

    def replay(self, failpoint: str | None = None, *options: str) -> Loader:
        """Replay all dead letters, in a process of its own."""
        command = ("dead-letters", "replay", self._bench.name, "--all", "--json", *options)
        return self._start(failpoint, *command)

    def backfill(self, failpoint: str | None = None, *options: str) -> Loader:
        """Backfill windows of the bench's stream, in a process of its own."""
        return self._start(failpoint, "backfill", self._bench.name, "--json", *options)

    def purge(self, failpoint: str | None = None) -> Loader:
        """Purge the bench's stream, in a process of its own."""
        return self._start(failpoint, "purge", self._bench.name, "--json")

    def _start(self, failpoint: str | None, *command: str) -> Loader:
        environment = {**os.environ, **self._environment}
        if failpoint:
            environment["KPP_FAILPOINT"] = failpoint
        place = self._directory / f"{self._bench.name}-{len(self.started)}"
        output, messages = place.with_suffix(".out"), place.with_suffix(".err")
        process = Forked(
            command, directory=ROOT, environment=environment, output=output, messages=messages
        )
        self.started.append(Loader(process, output, messages))
        return self.started[-1]

    def load(self) -> dict[str, Any]:
        """One undisturbed run to the end."""
        return self.start().finish()

    def close(self) -> None:
        for loader in self.started:
            loader.kill()


def count_about_to_commit(bench: Bench) -> int:
    """Backends of the bench's loaders that have moved positions and not yet sent COMMIT."""
    return count_sessions(bench, "state = 'idle in transaction' AND query LIKE 'SELECT FROM%%'")


def count_idle_in_transaction(bench: Bench) -> int:
    """Backends of the bench's loaders that hold a transaction open."""
    return count_sessions(bench, "state = 'idle in transaction'")


def count_sessions(bench: Bench, condition: str) -> int:
    """Backends of the bench's loaders of which pg_stat_activity says so."""
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s"
    return int(bench.query(f"{sessions} AND {condition}", f"%{bench.name}%")[0][0])
