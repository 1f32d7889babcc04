"""Runs a command until its own standard input ends, then ends all that the command started.

``python -m kafka_pg_pipeline.cli.guard COMMAND…``. Whoever starts it holds the other end of that
pipe, so that the processes end with their starter however that dies. It must lead a session.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import psutil

_STOP_SECONDS = 20.0
_FORCE_SECONDS = 5.0
_GLANCE_SECONDS = 0.2


def main() -> None:
    """Run the command; exit as it did, or 0 where it was ended on purpose."""
    left = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: left.set())
    threading.Thread(target=_wait_for_end, args=(left,), daemon=True).start()
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    while process.poll() is None and not left.is_set():
        left.wait(_GLANCE_SECONDS)
    code = process.poll()
    _end_family(process)
    sys.exit(code or 0)


def _wait_for_end(left: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    left.set()


def _end_family(process: "subprocess.Popen[bytes]") -> None:
    """End the command in order, and what is left of its family by force."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    family = _list_session()
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.terminate()
    for member in psutil.wait_procs(family, timeout=_FORCE_SECONDS)[1]:
        with contextlib.suppress(psutil.Error):
            member.kill()


def _list_session() -> list[psutil.Process]:
    """The other processes of this session, those whose parent is gone included."""
    own = os.getsid(0)
    found = []
    for member in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if member.pid != os.getpid() and os.getsid(member.pid) == own:
                found.append(member)
    return found


if __name__ == "__main__":
    main()
