"""Servers that the tests of this folder share, and what they need to look at them."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_pg_pipeline.local.artefacts import default_cache
from kafka_pg_pipeline.local.distribution import fetch_distribution
from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.local.postgres_server import PostgresServer

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # kafka-python's own, on Python 3.11
    import kafka  # noqa: F401


@pytest.fixture(autouse=True)
def _no_servers_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    monkeypatch.delenv("KAFKA_PG_HOME", raising=False)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker of this module's own: its tests stop, kill and freeze it."""
    server = KafkaServer(
        tmp_path_factory.mktemp("broker"),
        properties={"message.max.bytes": 654321, "delete.topic.enable": True},
        die_with_parent=True,
    )
    with server:
        yield server


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL of this module's own: its tests stop and kill it."""
    server = PostgresServer(
        tmp_path_factory.mktemp("postgres"),
        settings={"max_connections": 33, "application_name": "it's ours"},
        die_with_parent=True,
    )
    with server:
        yield server


@pytest.fixture(scope="session")
def downloaded_jars() -> Path:
    """The shared cache's jars, laid out as a Maven repository."""
    fetch_distribution()
    return default_cache() / "jars"


@pytest.fixture
def linked_cache(tmp_path: Path, downloaded_jars: Path) -> Path:
    """A cache of the test's own whose jars are links to the shared ones."""
    cache = tmp_path / "cache"
    for jar in downloaded_jars.rglob("*.jar"):
        target = cache / "jars" / jar.relative_to(downloaded_jars)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(jar)
    return cache
