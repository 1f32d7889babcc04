"""Lock files: which jars make up one Kafka version, with their checksums.

One line a jar, ``group:artifact:version sha256``; lines that begin with ``#`` are comments.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from kafka_pg_pipeline.local.errors import LocalStackError


@dataclass(frozen=True)
class LockedJar:
    """One jar and the SHA-256 that it must have."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Its file name, as in a Maven repository."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def relative_path(self) -> Path:
        """Its place in a Maven repository."""
        return Path(*self.group.split("."), self.artifact, self.version, self.file_name)

    def matches(self, path: Path) -> bool:
        """Tell whether a file is this jar, whole and unchanged."""
        try:
            return compute_sha256(path) == self.sha256
        except OSError:
            return False


def compute_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def list_locked_versions() -> list[str]:
    """Return the Kafka versions that have a lock file, newest first."""
    names = (entry.name for entry in resources.files("kafka_pg_pipeline.local").iterdir())
    versions = [
        name.removeprefix("kafka-").removesuffix(".lock")
        for name in names
        if name.startswith("kafka-") and name.endswith(".lock")
    ]
    return sorted(versions, key=lambda text: [int(part) for part in text.split(".")], reverse=True)


def read_lock(kafka_version: str) -> list[LockedJar]:
    """Read the lock file of a Kafka version.

    Raises:
        LocalStackError: This version has none.
    """
    source = resources.files("kafka_pg_pipeline.local") / f"kafka-{kafka_version}.lock"
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise LocalStackError(
            f"Kafka {kafka_version!r} cannot be installed; versions that can: "
            f"{', '.join(list_locked_versions())} (any other: unpack it and set KAFKA_HOME)"
        ) from exc
    return parse_lock(text)


def parse_lock(text: str) -> list[LockedJar]:
    """Parse the text of a lock file."""
    jars = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            coordinates, sha256 = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(LockedJar(group, artifact, version, sha256))
    return jars


def format_lock(title: str, command: str, jars: Iterable[LockedJar]) -> str:
    """Format the text of a lock file; it begins with what is locked and what wrote it."""
    lines = [f"# {title}: group:artifact:version sha256.", f"# Written by: {command}"]
    lines += [f"{jar.group}:{jar.artifact}:{jar.version} {jar.sha256}" for jar in jars]
    return "\n".join(lines) + "\n"
