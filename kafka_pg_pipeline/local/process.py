"""Server processes that outlive their caller, told apart from whatever reuses their id."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kafka_pg_pipeline.local import launcher
from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.local.files import summarise

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.02

DISK_FULL = "No space left on device"


@dataclass(frozen=True)
class Identity:
    """One life of one process id."""

    pid: int
    fingerprint: str

    def is_alive(self) -> bool:
        """Tell whether this very process still runs; a paused one does, a zombie does not."""
        return launcher.fetch_fingerprint(self.pid) == self.fingerprint

    def send(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until the process is gone; False when it still runs after the time."""
        deadline = time.monotonic() + timeout_seconds
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def terminate(self, number: int, *, timeout_seconds: float) -> bool:
        """Wake the process if it is paused, signal it and wait; False when it did not end."""
        self.resume()
        self.send(number)
        return self.wait(timeout_seconds)

    def kill(self) -> None:
        """End the process and its children at once (SIGKILL) and wait until all are gone."""
        family = list(self._iter_family())
        for member in family:
            member.send(signal.SIGKILL)
        for member in family:
            if not member.wait(30):
                raise LocalStackError(f"process {member.pid} does not end, even after SIGKILL")

    def pause(self) -> None:
        """Freeze the process and its children (SIGSTOP)."""
        for member in self._iter_family():
            member.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process and its children go on (SIGCONT)."""
        for member in self._iter_family():
            member.send(signal.SIGCONT)

    def _iter_family(self) -> Iterator["Identity"]:
        if not self.is_alive():
            return
        yield self
        try:
            children = psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:
            return
        for child in children:
            found = fetch_identity(child.pid)
            if found is not None:
                yield found


@dataclass(frozen=True)
class Account:
    """The operating-system user that a server runs as instead of root."""

    name: str
    user_id: int
    group_id: int


@dataclass(frozen=True)
class Command:
    """A server's or a tool's command line with its surroundings."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: Path | None = None
    account: Account | None = None

    def _build_order(self) -> dict[str, object]:
        return {
            "arguments": list(self.arguments),
            "directory": None if self.directory is None else str(self.directory),
            "user_id": None if self.account is None else self.account.user_id,
            "group_id": None if self.account is None else self.account.group_id,
        }

    def run(self, *, text: str | None = None, timeout_seconds: float = 120) -> str:
        """Run the command to its end.

        Args:
            text: What the command reads on its standard input.
            timeout_seconds: The command is killed after this time.

        Returns:
            Its output.

        Raises:
            LocalStackError: It failed or took too long; the message holds the end of its output.
        """
        name = Path(self.arguments[0]).name
        try:
            answer = subprocess.run(
                _build_launch({**self._build_order(), "attached": True}),
                env=dict(self.environment),
                input=text or "",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise LocalStackError(f"{name} did not end within {timeout_seconds:.0f} s") from exc
        if answer.returncode != 0:
            raise LocalStackError(self._explain(name, answer.returncode, answer.stdout))
        return answer.stdout

    def _explain(self, name: str, code: int, output: str) -> str:
        if DISK_FULL in output:
            return f"the disk of {str(self.directory)!r} is full; free some"
        cure = ""
        if self.account is not None and "ermission denied" in output:
            cure = (
                f"\nit runs as the user {self.account.name!r}, who may not go there; "
                "run this as an ordinary user, or below directories that everybody may enter"
            )
        return f"{name} failed with exit code {code}: {summarise(output)}{cure}"

    def spawn(self, *, log: Path, die_with_parent: bool, death_signal: int) -> Identity:
        """Start the command in a session of its own; it goes on when the caller ends.

        Args:
            log: Receives its output; created for the owner alone, appended to.
            die_with_parent: Take it down when the calling process dies, however that dies.
            death_signal: How to take it down then; SIGKILL follows after three seconds.

        Raises:
            LocalStackError: The program could not be started.
        """
        order = {**self._build_order(), "log": str(log), "death_signal": int(death_signal)}
        if die_with_parent:
            order["die_with"] = {
                "pid": os.getpid(),
                "fingerprint": launcher.fetch_fingerprint(os.getpid()),
            }
        answer = subprocess.run(
            _build_launch(order),
            env=dict(self.environment),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        result: dict[str, Any] = (
            json.loads(answer.stdout) if answer.stdout else {"error": answer.stderr[-500:]}
        )
        if "error" in result:
            raise LocalStackError(f"cannot start {self.arguments[0]!r}: {result['error']}")
        _log.debug("started %s as pid %s", self.arguments[0], result["pid"])
        return Identity(pid=result["pid"], fingerprint=result["fingerprint"] or "ended")


def _build_launch(order: Mapping[str, object]) -> list[str]:
    return [sys.executable, "-I", "-S", launcher.__file__, json.dumps(order)]


def fetch_identity(pid: int) -> Identity | None:
    """Return the process that has this id now, or None."""
    fingerprint = launcher.fetch_fingerprint(pid)
    return None if fingerprint is None else Identity(pid=pid, fingerprint=fingerprint)


def find_by_command(program: str, *arguments: str) -> Identity | None:
    """Find a process of this machine by its program's name and some of its exact arguments."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"]
        if command and Path(command[0]).name == program and set(arguments) <= set(command):
            return fetch_identity(process.pid)
    return None
