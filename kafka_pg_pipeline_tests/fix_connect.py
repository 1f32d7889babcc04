"""Other people's clients: Kafka's own tools, and Debezium on Kafka Connect with its source.

All are started by the first test that asks for them, and end with the session.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_pg_pipeline.local.postgres_server import PostgresServer
from kafka_pg_pipeline.settings.models import KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.connect_worker import ConnectWorker
from kafka_pg_pipeline_tests.debezium import SOURCE_SETTINGS, DebeziumSource, open_source
from kafka_pg_pipeline_tests.fix_servers import postgres_settings
from kafka_pg_pipeline_tests.java import Java, fetch_java
from kafka_pg_pipeline_tests.java_clients import JavaClients


@pytest.fixture(scope="session")
def java() -> Java:
    return fetch_java()


@pytest.fixture
def java_clients(java: Java, kafka: KafkaSettings, tmp_path: Path) -> JavaClients:
    return JavaClients(java, kafka.bootstrap_servers, tmp_path)


@pytest.fixture(scope="session")
def connect_worker(
    java: Java, kafka: KafkaSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ConnectWorker]:
    directory = tmp_path_factory.mktemp("connect")
    with ConnectWorker(directory, java, kafka.bootstrap_servers) as worker:
        yield worker


@pytest.fixture(scope="session")
def source_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresSettings]:
    """A PostgreSQL whose changes can be followed."""
    server = PostgresServer(
        tmp_path_factory.mktemp("source_postgres"), settings=SOURCE_SETTINGS, die_with_parent=True
    )
    with server.start():
        yield postgres_settings(server)


@pytest.fixture
def debezium_source(
    source_postgres: PostgresSettings, connect_worker: ConnectWorker, kafka: KafkaSettings
) -> Iterator[DebeziumSource]:
    """A schema of the test's own in the source, followed once the test says so."""
    with open_source(source_postgres, connect_worker, kafka.bootstrap_servers) as source:
        yield source
