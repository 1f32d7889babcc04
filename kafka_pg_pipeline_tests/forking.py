"""``kafka-pg`` in processes that are forked from one which has imported it.

Each is a process of its own, to kill, freeze and signal; what it is spared is the second that a
start of Python and the imports take. Tests of ``cli/`` and ``docs/`` also start the program as
users do.
"""

import ctypes
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import kafka_pg_pipeline
from kafka_pg_pipeline.cli.commands import ENTRIES
from kafka_pg_pipeline.cli.main import run
from kafka_pg_pipeline.pipeline import load

# For the environment of a program that is to give up on a passing fault after so many seconds.
PATIENCE = "TEST_PATIENCE_SECONDS"
_SET_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG
# The others start servers, or Dagster.
FORKED = {entry.name for entry in ENTRIES} - {"demo", "dev", "local"}

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [__name__, *(f"kafka_pg_pipeline.cli.{name.replace('-', '_')}" for name in sorted(FORKED))]
)


class Forked:
    """One command that runs; as a ``subprocess.Popen``, as far as tests use one."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        output: Path,
        messages: Path,
    ) -> None:
        self._args = ("kafka-pg", *arguments)
        places = (str(directory), str(output), str(messages), kafka_pg_pipeline.__file__)
        output.touch()
        messages.touch()
        self._process = _context.Process(
            target=_run, args=(self._args, dict(environment), *places), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self._args, timeout or 0.0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
    output: str,
    errors: str,
    package: str,
) -> None:
    """What the fork does: become the program with these arguments."""
    assert kafka_pg_pipeline.__file__ == package, "another copy of the code would be tested"
    # A frozen program must not outlive a test session that was ended by force.
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    # It may have lanes, which are processes of its own.
    vars(multiprocessing.current_process())["_config"]["daemon"] = False
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(directory)
    for number, path in ((1, output), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
    sys.stderr = open(  # noqa: SIM115 - ditto
        2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )
    sys.argv = list(command)
    load.PATIENCE_SECONDS = float(environment.get(PATIENCE, load.PATIENCE_SECONDS))
    sys.exit(run(command[1:]))
