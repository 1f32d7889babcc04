"""Writes a lock file: ``python -m kafka_pg_pipeline.local.resolve 4.2.0``; for maintainers.

Resolves Kafka's run-time dependencies by jgo, downloads them and records their checksums.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kafka_pg_pipeline.local.lockfile import LockedJar, compute_sha256, format_lock

# Kafka's own dependencies stop at slf4j's interface; without a binding the broker logs nothing.
_BINDINGS = {True: "org.slf4j:slf4j-reload4j:1.7.36", False: "org.slf4j:slf4j-simple:1.7.36"}


def resolve_lock(kafka_version: str) -> list[LockedJar]:
    """Resolve and download the jars of a Kafka version; returns them with their checksums."""
    wants_log4j = int(kafka_version.partition(".")[0]) < 4
    return resolve_jars([f"org.apache.kafka:kafka_2.13:{kafka_version}", _BINDINGS[wants_log4j]])


def resolve_jars(roots: Sequence[str]) -> list[LockedJar]:
    """Resolve and download artefacts and all that they need at run time.

    Args:
        roots: The coordinates ``group:artifact:version`` wanted; they win over the versions
            that other artefacts ask for.
    """
    from jgo.maven import Dependency, MavenContext, PythonResolver

    resolver = PythonResolver()
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(resolver=resolver, repo_cache=Path(folder))
        wanted = []
        for coordinates in roots:
            group, artifact, version = coordinates.split(":")
            component = context.project(group, artifact).at_version(version)
            wanted.append(Dependency(component.artifact()))
        inputs, transitive = resolver.resolve(wanted)
        found = []
        for dependency in [*inputs, *transitive]:
            path = dependency.artifact.resolve()
            found.append(
                LockedJar(
                    dependency.groupId,
                    dependency.artifactId,
                    dependency.version,
                    compute_sha256(path),
                )
            )
    return sorted(found, key=lambda jar: (jar.group, jar.artifact))


def main() -> None:
    """Write the lock files of the versions given as arguments."""
    for version in sys.argv[1:]:
        target = Path(__file__).with_name(f"kafka-{version}.lock")
        text = format_lock(
            f"Apache Kafka {version}",
            f"python -m kafka_pg_pipeline.local.resolve {version}",
            resolve_lock(version),
        )
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
