"""A Kafka with mTLS and SASL_SSL listeners, a PostgreSQL with TLS, and an Aiven that names them.

Both servers are started by the first test that asks for them and end with the session. Their
certificates are for ``localhost`` alone; a listener of Kafka shows an expired one. The wheel's
PostgreSQL is built without TLS, so Debian's serves.
"""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from confluent_kafka.admin import (
    AdminClient,
    NewTopic,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from psycopg2 import sql

from kafka_pg_pipeline.local.distribution import KafkaDistribution
from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.local.postgres_server import PostgresServer
from kafka_pg_pipeline.settings.models import KafkaSettings
from kafka_pg_pipeline_tests.certificates import Authority, Pair
from kafka_pg_pipeline_tests.fix_aiven import (
    ETL_PASSWORD,
    KAFKA,
    KAFKA_PASSWORD,
    PG_PASSWORD,
    POSTGRES,
    AivenServer,
    Canary,
)
from kafka_pg_pipeline_tests.kafka.conftest import choose_ports
from kafka_pg_pipeline_tests.waiting import wait_until

_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
DATABASE = "defaultdb"
PROBE = "probe"


@dataclass(frozen=True)
class TlsKafka:
    """A broker's listeners by port; ``plain`` is for the tests' own questions."""

    server: KafkaServer
    mtls_port: int
    sasl_port: int
    expired_port: int

    @property
    def plain(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.server.bootstrap_servers)

    def create_topic(self, topic: str, partitions: int = 1) -> None:
        admin = AdminClient({"bootstrap.servers": self.server.bootstrap_servers})
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)

    def set_password(self, user: str, password: str) -> None:
        admin = AdminClient({"bootstrap.servers": self.server.bootstrap_servers})
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        change = UserScramCredentialUpsertion(user, info, password.encode())
        for future in admin.alter_user_scram_credentials([change]).values():
            future.result(30)


@dataclass(frozen=True)
class TlsPostgres:
    """A server that talks TLS, and the superuser's way in for the tests' own questions."""

    server: PostgresServer
    authority: Authority

    def execute(self, statement: str, *names: str, database: str = "postgres") -> None:
        parameters = {**self.server.connection_parameters(), "dbname": database}
        with closing(psycopg2.connect(**parameters)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def show_certificate(self, pair: Pair) -> None:
        """Serve new connections with this certificate."""
        owner = self.server.data.stat()
        for name, text in (("server.crt", pair.certificate), ("server.key", pair.key)):
            path = self.server.data / name
            path.unlink(missing_ok=True)
            path.touch(0o600)
            path.write_text(text)
            os.chown(path, owner.st_uid, owner.st_gid)
        self.execute("SELECT pg_reload_conf()")
        time.sleep(0.3)  # until the postmaster has taken it


@pytest.fixture(scope="session")
def project_authority() -> Authority:
    return Authority()


@pytest.fixture(scope="session")
def tls_kafka(
    kafka_distribution: KafkaDistribution,
    project_authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TlsKafka]:
    directory = tmp_path_factory.mktemp("tls_kafka")
    port, controller_port, mtls_port, sasl_port, expired_port = choose_ports(5)
    names = {"MTLS": mtls_port, "SASL": sasl_port, "EXPIRED": expired_port}
    plain = f"PLAINTEXT://127.0.0.1:{port}"
    controller = f",CONTROLLER://127.0.0.1:{controller_port}"
    listeners = ",".join([plain, *(f"{n}://127.0.0.1:{p}" for n, p in names.items())])
    properties: dict[str, Any] = {
        "listeners": listeners + ("" if kafka_distribution.needs_zookeeper else controller),
        "advertised.listeners": ",".join(
            [plain, *(f"{name}://localhost:{number}" for name, number in names.items())]
        ),
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,MTLS:SSL,SASL:SASL_SSL,EXPIRED:SSL"
        ),
        "sasl.enabled.mechanisms": "SCRAM-SHA-256",
        "listener.name.sasl.scram-sha-256.sasl.jaas.config": _SCRAM,
        "listener.name.mtls.ssl.client.auth": "required",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": _write(directory / "ca.pem", project_authority.pem),
    }
    for name in names:
        pair = project_authority.issue("localhost", expired=name == "EXPIRED")
        prefix = f"listener.name.{name.lower()}.ssl.keystore"
        properties[f"{prefix}.type"] = "PEM"
        # Not as a file: in one, older brokers want the key encrypted. On one line, as properties.
        properties[f"{prefix}.key"] = " ".join(pair.key.split("\n"))
        properties[f"{prefix}.certificate.chain"] = " ".join(pair.certificate.split("\n"))
    with KafkaServer(
        directory / "broker",
        distribution=kafka_distribution,
        port=port,
        controller_port=controller_port,
        properties=properties,
        die_with_parent=True,
    ) as server:
        kafka = TlsKafka(server, mtls_port, sasl_port, expired_port)
        kafka.set_password("avnadmin", KAFKA_PASSWORD)
        kafka.set_password("etl", ETL_PASSWORD)
        kafka.create_topic(PROBE)
        yield kafka


@pytest.fixture(scope="session")
def tls_postgres(
    project_authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TlsPostgres]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not programs:
        verdict = pytest.fail if os.environ.get("CI") else pytest.skip
        verdict("no PostgreSQL of the system, with TLS, is installed (apt-get install postgresql)")
    server = PostgresServer(
        tmp_path_factory.mktemp("tls_postgres"),
        bin_directory=programs[-1].parent,
        dbname=DATABASE,
        die_with_parent=True,
    )
    with server.start():
        postgres = TlsPostgres(server, project_authority)
        postgres.show_certificate(project_authority.issue("localhost"))
        postgres.execute("ALTER SYSTEM SET ssl = on")
        postgres.execute("SELECT pg_reload_conf()")
        for role, password in (("avnadmin", PG_PASSWORD), ("etl", ETL_PASSWORD)):
            postgres.execute(f"CREATE ROLE {{}} LOGIN PASSWORD '{password}'", role)
            postgres.execute(f"GRANT ALL ON DATABASE {DATABASE} TO {{}}", role)
        postgres.execute("GRANT CREATE ON SCHEMA public TO avnadmin, etl", database=DATABASE)
        wait_until(lambda: _talks_tls(server), 60)
        yield postgres


@dataclass
class AivenAccount:
    """An Aiven project whose services are the real servers."""

    api: AivenServer
    kafka: TlsKafka
    postgres: TlsPostgres
    authority: Authority
    canary: Canary

    @property
    def markers(self) -> tuple[str, ...]:
        """What must be shown nowhere: passwords, the token, the bodies of the private keys."""
        return tuple(self.canary.markers)

    def rotate_certificate(self, *, expired: bool = False) -> Pair:
        """Give Kafka's users a new certificate."""
        pair = self.authority.issue(user="avnadmin", expired=expired)
        self.canary.markers.add(pair.key.splitlines()[1])
        for user in self.api.services[KAFKA]["users"]:
            user |= {"access_cert": pair.certificate, "access_key": pair.key}
        connection = self.api.services[KAFKA]["connection_info"]
        connection |= {"kafka_access_cert": pair.certificate, "kafka_access_key": pair.key}
        return pair

    def place_kafka(self, *, host: str = "localhost", **ports: int) -> None:
        """Where Kafka is, by method of authentication."""
        default = {"certificate": self.kafka.mtls_port, "sasl": self.kafka.sasl_port}
        for component in self.api.services[KAFKA]["components"]:
            method = component.get("kafka_authentication_method")
            if method is not None:
                is_public_ca = component.get("kafka_ssl_ca") == "letsencrypt"
                port = 9 if is_public_ca else {**default, **ports}[method]
                component |= {"host": host, "port": port}

    def place_postgres(self, host: str = "localhost", port: int | None = None) -> None:
        for component in self.api.services[POSTGRES]["components"]:
            component |= {"host": host, "port": port or self.postgres.server.port}


@pytest.fixture
def aiven_account(
    aiven: AivenServer,
    tls_kafka: TlsKafka,
    tls_postgres: TlsPostgres,
    project_authority: Authority,
    canary: Canary,
) -> AivenAccount:
    account = AivenAccount(aiven, tls_kafka, tls_postgres, project_authority, canary)
    aiven.project_ca = project_authority.pem
    aiven.services[KAFKA]["components"] = [
        component
        for component in aiven.services[KAFKA]["components"]
        if component["component"] != "schema_registry"
    ]
    account.place_kafka()
    account.place_postgres()
    account.rotate_certificate()
    return account


def _write(path: Path, text: str) -> str:
    path.touch(0o600)
    path.write_text(text)
    return str(path)


def _talks_tls(server: PostgresServer) -> bool:
    parameters = {**server.connection_parameters(), "sslmode": "require"}
    try:
        psycopg2.connect(**parameters).close()
    except psycopg2.OperationalError:
        return False
    return True
