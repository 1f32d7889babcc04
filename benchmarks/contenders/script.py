"""Runs a contender that is a script, in a process of its own.

The script reads its order as JSON from its standard input, prints ``{"started": …}`` once it is
ready to read (seconds since the epoch) and, unless it goes on for ever, ``{"seconds": …}``.
"""

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from memory import MemoryWatch
from stage import Order, Stage

from contenders.contender import Took

HERE = Path(__file__).parent
LIMIT_SECONDS = 3600
END_SECONDS = 60
TAIL = 2000


def run_script(
    stage: Stage,
    order: Order,
    name: str,
    *,
    python: str = sys.executable,
    endless: bool = False,
    **options: Any,
) -> Took:
    """One turn of a script: until it ends, or an endless one has filled the table."""
    log = stage.home / f"{Path(name).stem}_{order.serial}.log"
    told: dict[str, float] = {}
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [python, str(HERE / name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=stage.home,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        ) as process,
    ):
        watchdog = threading.Timer(LIMIT_SECONDS, process.kill)
        watchdog.start()
        try:
            assert process.stdin is not None
            with MemoryWatch(process.pid) as memory:
                process.stdin.write(json.dumps({**asdict(order), **options}).encode())
                process.stdin.close()
                _listen(process, told, until="started" if endless else "seconds")
                if endless:
                    stage.wait_until_full(order, lambda: _check_alive(process, log))
            if endless:
                process.terminate()
            process.wait(END_SECONDS)
        finally:
            watchdog.cancel()
            process.kill()
    if not endless and (process.returncode != 0 or "seconds" not in told):
        raise click.ClickException(f"{name} failed:\n{log.read_text()[-TAIL:]}")
    return Took(told["started"], told.get("seconds"), memory.peak_bytes)


def _listen(process: "subprocess.Popen[bytes]", told: dict[str, float], until: str) -> None:
    """What the script prints; other lines of its output are its library's."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b'{"'):
            told.update(json.loads(line))
            if until in told:
                return


def _check_alive(process: "subprocess.Popen[bytes]", log: Path) -> None:
    if process.poll() is not None:
        raise click.ClickException(f"{process.args!r} ended early:\n{log.read_text()[-TAIL:]}")
