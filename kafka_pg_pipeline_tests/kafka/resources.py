"""Counts what a process holds, to see leaks."""

import threading
import time
from pathlib import Path


def count_resources() -> tuple[int, int]:
    """Threads and open file descriptors of this process."""
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def wait_for_resources(before: tuple[int, int], seconds: float = 10) -> tuple[int, int]:
    """The counts once they are back at ``before``, or what they are when the time is up."""
    give_up_at = time.monotonic() + seconds
    now = count_resources()
    while time.monotonic() < give_up_at and any(n > b for n, b in zip(now, before, strict=True)):
        time.sleep(0.05)
        now = count_resources()
    return now
