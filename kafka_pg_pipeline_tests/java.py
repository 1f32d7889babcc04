"""Java programs of other people: their locked jars, and how they are run."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kafka_pg_pipeline.local.artefacts import fetch_jars
from kafka_pg_pipeline.local.distribution import find_java
from kafka_pg_pipeline.local.lockfile import parse_lock
from kafka_pg_pipeline.local.process import Command

_LOCK = Path(__file__).with_name("connect.lock")
# Both programs and tests are short: no time for the second compiler, no memory to spare.
_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:-UsePerfData")


@dataclass(frozen=True)
class Java:
    """A Java runtime with Kafka Connect, Kafka's own tools and Debezium on its class path."""

    program: Path
    class_path: str

    def build(
        self, main_class: str, arguments: Sequence[str], *, directory: Path, heap: str = "128m"
    ) -> Command:
        """The command of one of the classes; its temporary files stay in the directory."""
        return Command(
            arguments=[
                str(self.program),
                f"-Xmx{heap}",
                *_OPTIONS,
                f"-Djava.io.tmpdir={directory}",
                "-Djava.net.preferIPv4Stack=true",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
                "-cp",
                self.class_path,
                main_class,
                *arguments,
            ],
            environment={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            directory=directory,
        )


def fetch_java() -> Java:
    """Download what the lock names and is not yet there."""
    jars = fetch_jars(parse_lock(_LOCK.read_text("utf-8")))
    return Java(find_java(), os.pathsep.join(str(jar) for jar in jars))
