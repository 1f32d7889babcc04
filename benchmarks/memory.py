"""The highest resident memory of a process and what it starts, seen from outside.

The kernel's own figure for an ended child cannot be used: it begins with what its parent had.
"""

import contextlib
import threading
from pathlib import Path
from types import TracebackType

POLL_SECONDS = 0.1


class MemoryWatch:
    """Watches while the block runs; ``peak_bytes`` is what it saw."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            with contextlib.suppress(OSError):
                self.peak_bytes = max(self.peak_bytes, sum_peaks(self._pid))


def sum_peaks(pid: int) -> int:
    """The peaks of a process and of its present children, added up, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0")
    total = int(peak) * 1024
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            with contextlib.suppress(OSError):
                total += sum_peaks(int(child))
    return total
