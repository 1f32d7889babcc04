"""Starts one server process detached from its caller; run as a script, standard library only.

A separate small program instead of a ``preexec_fn``: that one can deadlock in a process with
threads, and a child that is our own would become a zombie or die with the thread that made it.

The script gets one JSON object as its argument, and the server's environment as its own: an
argument can be read by everybody, and environments hold secrets. It answers with one JSON
object on its output, ``{"pid": …, "fingerprint": …}`` of the started server or ``{"error": …}``.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

_WATCH_SECONDS = 0.2
_DEATH_GRACE_SECONDS = 3.0

_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def fetch_fingerprint(pid: int) -> str | None:
    """Tell one life of a process id from the next.

    Returns:
        A token that stays the same while this process lives, or None when no such process
        runs (a zombie does not run).
    """
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _fetch_fingerprint_by_ps(pid)
    try:
        fields = stat.read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    state, threads, start_ticks = fields[0], int(fields[17]), fields[19]
    # While other threads of a zombie still end, its files and ports are not yet free.
    is_over = state == "X" or (state == "Z" and threads <= 1)
    return None if is_over else f"{boot}:{start_ticks}"


def _fetch_fingerprint_by_ps(pid: int) -> str | None:
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def _drop_root(user_id: int, group_id: int) -> None:
    """Become another user, still able to walk through directories only root may enter.

    PostgreSQL refuses to run as root, while its files may lie below a private home directory.
    One capability, kept over the change of user, spares opening that directory to everybody.
    """
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(group_id)
    os.setuid(user_id)
    if libc is None:
        return
    bit = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    effective_permitted_inheritable = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    libc.capset(header, effective_permitted_inheritable)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


def _execute(order: dict[str, Any]) -> NoReturn:
    os.umask(0o077)
    if order.get("user_id") is not None:
        os.chdir("/")
        _drop_root(order["user_id"], order["group_id"])
    if order.get("directory") is not None:
        os.chdir(order["directory"])
    os.execv(order["arguments"][0], order["arguments"])  # noqa: S606 - there is no shell to want


def _spawn(order: dict[str, Any]) -> int:
    """Start the server in a session of its own; returns once it runs its own program."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            os.setsid()
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            _execute(order)
        except BaseException as exc:  # noqa: BLE001 - told to the parent through the pipe
            os.write(writer, str(exc).encode())
            os._exit(127)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        problem = pipe.read()
    if problem:
        os.waitpid(pid, 0)
        raise OSError(problem.decode())
    return pid


def _watch(order: dict[str, Any], server: int, fingerprint: str | None) -> None:
    """Take the server down when the process that asked for it is gone."""
    caller = order["die_with"]
    while fetch_fingerprint(caller["pid"]) == caller["fingerprint"]:
        if fetch_fingerprint(server) != fingerprint:
            return
        time.sleep(_WATCH_SECONDS)
    deadline = time.monotonic() + _DEATH_GRACE_SECONDS
    number = order.get("death_signal", signal.SIGKILL)
    while fetch_fingerprint(server) == fingerprint:
        os.kill(server, signal.SIGCONT)
        os.kill(server, number)
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        time.sleep(_WATCH_SECONDS)


def _become_watchdog(order: dict[str, Any], server: int, fingerprint: str | None) -> None:
    if os.fork() != 0:
        return
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.chdir("/")
        _watch(order, server, fingerprint)
    finally:
        os._exit(0)


def main() -> None:
    """Carry out the order given as JSON in the first argument."""
    order = json.loads(sys.argv[1])
    if order.get("attached"):
        try:
            _execute(order)
        except OSError as exc:
            sys.exit(str(exc))
    os.setsid()
    try:
        server = _spawn(order)
    except OSError as exc:
        sys.stdout.write(json.dumps({"error": str(exc)}))
        return
    fingerprint = fetch_fingerprint(server)
    if order.get("die_with") is not None:
        _become_watchdog(order, server, fingerprint)
    sys.stdout.write(json.dumps({"pid": server, "fingerprint": fingerprint}))


if __name__ == "__main__":
    main()
