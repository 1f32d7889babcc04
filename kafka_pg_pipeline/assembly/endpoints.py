"""Which Kafka and which PostgreSQL: the file wins, then the environment, then the local stack."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.local.stack import LocalEndpoints, LocalStack
from kafka_pg_pipeline.settings.models import KafkaSettings, PipelineSettings, PostgresSettings

_FILE = "the configuration file"
_ENVIRONMENT = "the environment"
_LOCAL = "the local stack"


@dataclass(frozen=True)
class Endpoints:
    """Both servers, completely named, and who named each."""

    kafka: KafkaSettings
    postgres: PostgresSettings
    kafka_named_by: str
    postgres_named_by: str


def needs_local_stack(settings: PipelineSettings, environment: Mapping[str, str]) -> bool:
    """True where Kafka or PostgreSQL is named neither by the file nor by the environment."""
    kafka_named = settings.kafka.bootstrap_servers or environment.get("KAFKA_BOOTSTRAP_SERVERS")
    postgres_named = settings.postgres.host or environment.get("PGHOST")
    return not (kafka_named and postgres_named)


def resolve_endpoints(settings: PipelineSettings, environment: Mapping[str, str]) -> Endpoints:
    """Name both servers; an empty string counts as not named. Starts nothing.

    Raises:
        ConfigurationError: a server is named nowhere and the local stack is not running.

    """
    kafka, kafka_named_by = _resolve_kafka(settings.kafka, environment)
    postgres, postgres_named_by = _resolve_postgres(settings.postgres, environment)
    return Endpoints(kafka, postgres, kafka_named_by, postgres_named_by)


def _resolve_kafka(
    kafka: KafkaSettings, environment: Mapping[str, str]
) -> tuple[KafkaSettings, str]:
    if kafka.bootstrap_servers:
        return kafka, _FILE
    servers = environment.get("KAFKA_BOOTSTRAP_SERVERS")
    if servers:
        return kafka.model_copy(update={"bootstrap_servers": servers}), _ENVIRONMENT
    local = _local_endpoints("kafka.bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS")
    update = {"bootstrap_servers": local.bootstrap_servers, "security_protocol": "PLAINTEXT"}
    return kafka.model_copy(update=update), _LOCAL


def _resolve_postgres(
    postgres: PostgresSettings, environment: Mapping[str, str]
) -> tuple[PostgresSettings, str]:
    if postgres.host:
        return _fill_in(postgres, environment), _FILE
    if environment.get("PGHOST"):
        return _fill_in(postgres, environment), _ENVIRONMENT
    local = _local_endpoints("postgres.host", "PGHOST")
    update: dict[str, Any] = {
        "host": local.host,
        "port": local.port,
        "user": local.user,
        "password": SecretStr(local.password),
        "dbname": local.dbname,
        "sslmode": "disable",
    }
    return postgres.model_copy(update=update), _LOCAL


def _fill_in(postgres: PostgresSettings, environment: Mapping[str, str]) -> PostgresSettings:
    """Take from libpq's own variables what the file leaves open."""
    found: dict[str, Any] = {
        "host": environment.get("PGHOST"),
        "port": _port(environment.get("PGPORT")),
        "user": environment.get("PGUSER"),
        "password": _secret(environment.get("PGPASSWORD")),
        "dbname": environment.get("PGDATABASE"),
        "sslmode": environment.get("PGSSLMODE"),
        "sslrootcert": environment.get("PGSSLROOTCERT"),
    }
    update = {
        name: value
        for name, value in found.items()
        if value and (name not in postgres.model_fields_set or not getattr(postgres, name))
    }
    return PostgresSettings.model_validate({**postgres.model_dump(by_alias=True), **update})


def _port(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise ConfigurationError(f"PGPORT is {text!r}, which is not a port number")
    return int(text)


def _secret(text: str | None) -> SecretStr | None:
    return SecretStr(text) if text else None


def _local_endpoints(key: str, variable: str) -> LocalEndpoints:
    try:
        stack = LocalStack()
        running = stack.status().is_up
        endpoints = stack.endpoints() if running else None
    except LocalStackError:
        endpoints = None
    if endpoints is None:
        raise ConfigurationError(
            f"no server is named: neither {key} in the configuration file nor {variable} in the "
            "environment, and the local stack is not running. `kafka-pg local up` starts one"
        )
    return endpoints
