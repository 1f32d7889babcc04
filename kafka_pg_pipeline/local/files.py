"""Files and directories that only their owner can read, and their locks."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kafka_pg_pipeline.local.errors import LocalStackError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_LOG_ROTATE_BYTES = 8 * 1024 * 1024
_LOG_TAIL_BYTES = 16 * 1024
_SUMMARY_LINES = 10


@contextlib.contextmanager
def explaining(path: Path, *, cure: str) -> Iterator[None]:
    """Turn an OSError of the block into one LocalStackError that names the path and the cure."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise LocalStackError(
                f"the disk of {str(path)!r} is full; free some, or {cure}"
            ) from exc
        if exc.errno in _FORBIDDEN:
            raise LocalStackError(f"cannot write to {str(path)!r}: {exc.strerror}; {cure}") from exc
        raise LocalStackError(f"cannot use {str(path)!r}: {exc}; {cure}") from exc


def make_private_directory(path: Path) -> Path:
    """Create a directory, with its parents, that its owner alone can enter.

    One that exists is left as it is: it may be anybody's, and shared on purpose.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def require_space(path: Path, *, megabytes: int, cure: str) -> None:
    """Raise unless the disk of a directory has this much room.

    Raises:
        LocalStackError: It has not; the message names both numbers.
    """
    free = shutil.disk_usage(path).free // 1_000_000
    if free < megabytes:
        raise LocalStackError(
            f"the disk of {str(path)!r} has {free} MB free, {megabytes} MB are needed; "
            f"free some, or {cure}"
        )


def write_private(path: Path, content: str | bytes) -> None:
    """Replace a file in one step; a reader sees the old content or the new, never a part."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_state(path: Path) -> dict[str, Any]:
    """Read a state file; a missing or damaged one counts as empty."""
    try:
        state = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state file in one step."""
    write_private(path, json.dumps(state, indent=1) + "\n")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that excludes other processes and threads; it falls when the holder dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def prepare_log(path: Path) -> int:
    """Put a grown log aside; returns where the next start's output will begin."""
    if not path.exists():
        return 0
    if path.stat().st_size > _LOG_ROTATE_BYTES:
        path.replace(path.with_suffix(path.suffix + ".1"))
        return 0
    return path.stat().st_size


def read_tail(path: Path, *, start: int = 0) -> str:
    """Read the end of a log, no further back than a position."""
    try:
        with path.open("rb") as file:
            file.seek(max(start, path.stat().st_size - _LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def summarise(output: str) -> str:
    """Return the last lines of an output, without the frames of Java's stack traces."""
    lines = [line for line in output.strip().splitlines() if not line.startswith("\tat ")]
    return "\n".join(lines[-_SUMMARY_LINES:])
