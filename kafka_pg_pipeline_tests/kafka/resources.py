"""Counts what a process holds, to see leaks."""

import threading
import time
from pathlib import Path


def count_resources() -> dict[str, int]:
    """Threads and open file descriptors of this process."""
    return {
        "threads": threading.active_count(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
    }


def assert_released(before: dict[str, int], seconds: float = 10) -> None:
    """Wait until no more is held than before; clients end their threads a moment later."""
    give_up_at = time.monotonic() + seconds
    while True:
        now = count_resources()
        if all(now[kind] <= before[kind] for kind in before):
            return
        if time.monotonic() > give_up_at:
            names = [thread.name for thread in threading.enumerate()]
            raise AssertionError(f"{before} became {now}; threads: {names}")
        time.sleep(0.05)
