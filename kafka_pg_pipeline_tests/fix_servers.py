"""The servers of the test session, and servers that a test may break.

``kafka`` and ``postgres`` are shared by the session and must never be stopped. A test that kills,
freezes or restarts takes ``own_kafka`` or ``own_postgres``.
"""

import os
from collections.abc import Iterator

import psycopg2
import pytest
from pydantic import SecretStr

from kafka_pg_pipeline.local.distribution import KafkaDistribution, fetch_distribution
from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.local.postgres_server import PostgresServer
from kafka_pg_pipeline.settings.models import KafkaSettings, PostgresSettings

TRANSACTION_SETTINGS = {"max_connections": 50}


@pytest.fixture(autouse=True, scope="session")
def clean_environment() -> Iterator[None]:
    """Nothing of the caller's environment decides which servers tests reach, save TEST_*."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("PG", "KAFKA_", "DAGSTER_", "KPP_", "AIVEN_", "SCHEMA_REGISTRY_")):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def kafka_distribution(pytestconfig: pytest.Config) -> KafkaDistribution:
    return fetch_distribution(pytestconfig.getoption("--kafka"))


@pytest.fixture(scope="session")
def kafka(
    kafka_distribution: KafkaDistribution,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[KafkaSettings]:
    directory = tmp_path_factory.mktemp("kafka")
    server = KafkaServer(directory, distribution=kafka_distribution, die_with_parent=True)
    with server.start():
        yield KafkaSettings(
            bootstrap_servers=server.bootstrap_servers, reader=pytestconfig.getoption("--reader")
        )


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresSettings]:
    """The PostgreSQL that TEST_* names, else one of the session's own."""
    if os.environ.get("TEST_HOST"):
        yield _named_postgres()
        return
    server = PostgresServer(
        tmp_path_factory.mktemp("postgres"), settings=TRANSACTION_SETTINGS, die_with_parent=True
    )
    with server.start():
        yield postgres_settings(server)


@pytest.fixture
def own_kafka(
    kafka_distribution: KafkaDistribution, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaServer]:
    """A broker that the test may kill, freeze and restart."""
    directory = tmp_path_factory.mktemp("own_kafka")
    server = KafkaServer(directory, distribution=kafka_distribution, die_with_parent=True)
    with server.start():
        yield server


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL that the test may kill, freeze and restart."""
    directory = tmp_path_factory.mktemp("own_postgres")
    server = PostgresServer(directory, settings=TRANSACTION_SETTINGS, die_with_parent=True)
    with server.start():
        yield server


@pytest.fixture
def own_kafka_settings(own_kafka: KafkaServer, pytestconfig: pytest.Config) -> KafkaSettings:
    """Settings that reach it."""
    reader = pytestconfig.getoption("--reader")
    return KafkaSettings(bootstrap_servers=own_kafka.bootstrap_servers, reader=reader)


def postgres_settings(server: PostgresServer, **changes: object) -> PostgresSettings:
    """Settings that reach a server of the local stack."""
    given = server.connection_parameters()
    return PostgresSettings(
        host=given["host"],
        port=given["port"],
        user=given["user"],
        password=SecretStr(given["password"]),
        dbname=given["dbname"],
        sslmode="disable",
    ).model_copy(update=changes)


def connect(settings: PostgresSettings) -> "psycopg2.extensions.connection":
    """A plain autocommit connection for a test's own questions; the caller closes it."""
    connection = psycopg2.connect(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password.get_secret_value() if settings.password else None,
        dbname=settings.dbname,
    )
    connection.autocommit = True
    return connection


def _named_postgres() -> PostgresSettings:
    environment = os.environ
    return PostgresSettings(
        host=environment["TEST_HOST"],
        port=int(environment.get("TEST_PORT") or 5432),
        user=environment.get("TEST_USER") or "postgres",
        password=SecretStr(environment.get("TEST_PASSWORD") or ""),
        dbname=environment.get("TEST_DB_NAME") or "postgres",
    )
