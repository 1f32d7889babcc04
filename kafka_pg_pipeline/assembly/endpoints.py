"""Which Kafka and which PostgreSQL: the file, then Aiven, the environment, the local stack."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from kafka_pg_pipeline.assembly.aiven import AivenLookup, build_lookup
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.local.endpoints import LocalEndpoints, default_home
from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.settings.messages import explain
from kafka_pg_pipeline.settings.models import (
    AivenSettings,
    KafkaSettings,
    PipelineSettings,
    PostgresSettings,
    SchemaRegistrySettings,
)

_REGISTRY_VARIABLE = "SCHEMA_REGISTRY_URL"
_FILE = "the configuration file"
_ENVIRONMENT = "the environment"
_LOCAL = "the local stack"
# libpq's own names.
_VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}

FindStack = Callable[[], LocalEndpoints | None]


@dataclass(frozen=True)
class Endpoints:
    """Both servers, completely named, and who named each; the registry where one is named.

    ``lookup`` and ``look_again`` are there where Aiven was asked: told to forget, the one asks
    again when it is next needed; the other asks at once, and raises as ``resolve_endpoints`` does.
    """

    kafka: KafkaSettings
    postgres: PostgresSettings
    kafka_named_by: str
    postgres_named_by: str
    schema_registry: SchemaRegistrySettings = field(default_factory=SchemaRegistrySettings)
    lookup: AivenLookup | None = field(default=None, repr=False, compare=False)
    look_again: Callable[[], "Endpoints"] | None = field(default=None, repr=False, compare=False)

    @property
    def kafka_is_local(self) -> bool:
        """Whether the broker is the local stack's, where topics may be made at will."""
        return self.kafka_named_by == _LOCAL


def find_local_stack() -> LocalEndpoints | None:
    """Where the local stack is; None where none of it runs.

    Where only one of its servers runs, the other's address is known all the same, and who asks it
    is told that it does not answer.
    """
    # What runs servers takes a while to import, and is needed where nobody named any.
    from kafka_pg_pipeline.local.stack import LocalStack

    stack = LocalStack()
    status = stack.status()
    try:
        return stack.last_endpoints() if status.is_any_up else None
    except LocalStackError:
        return None


def needs_local_stack(settings: PipelineSettings, environment: Mapping[str, str]) -> bool:
    """True where Kafka or PostgreSQL is named neither by the file nor by the environment."""
    kafka_named = settings.kafka.bootstrap_servers or settings.aiven.kafka_service
    postgres_named = settings.postgres.host or settings.aiven.postgres_service
    return not (
        (kafka_named or environment.get("KAFKA_BOOTSTRAP_SERVERS"))
        and (postgres_named or environment.get("PGHOST"))
    )


def resolve_endpoints(
    settings: PipelineSettings,
    environment: Mapping[str, str],
    find_stack: FindStack = find_local_stack,
    lookup: AivenLookup | None = None,
) -> Endpoints:
    """Name both servers; an empty string counts as not named. Starts nothing.

    Aiven is asked where ``aiven`` names a service for a server that the file names not itself;
    a ``lookup`` that was made before is not repeated.

    Raises:
        ConfigurationError: a server is named nowhere and the local stack is not running, or a
            variable of the environment holds what its setting does not allow.
        AivenUnavailableError, AuthenticationError, ServicePoweredOffError: Aiven was asked, and
            does not answer, does not let us in, or has powered the service off.

    """
    lookup = lookup or build_lookup(settings.aiven, environment)
    kafka, kafka_named_by = _resolve_kafka(settings, environment, find_stack, lookup)
    postgres, postgres_named_by = _resolve_postgres(settings, environment, find_stack, lookup)
    registry = _resolve_registry(settings, environment, lookup)
    found = Endpoints(kafka, postgres, kafka_named_by, postgres_named_by, registry)
    if not asks_aiven(settings):
        return found
    asked = lookup

    def look_again() -> Endpoints:
        asked.forget()
        return resolve_endpoints(settings, environment, find_stack, asked)

    return replace(found, lookup=asked, look_again=look_again)


def asks_aiven(settings: PipelineSettings) -> bool:
    """Whether Aiven is asked for a server."""
    return _kafka_is_aivens(settings) or _postgres_is_aivens(settings)


def _kafka_is_aivens(settings: PipelineSettings) -> bool:
    return bool(settings.aiven.kafka_service and not settings.kafka.bootstrap_servers)


def _postgres_is_aivens(settings: PipelineSettings) -> bool:
    return bool(settings.aiven.postgres_service and not settings.postgres.host)


def _spell_service(aiven: AivenSettings, name: str) -> str:
    return f"the Aiven service {name} of project {aiven.project}"


def _resolve_kafka(
    settings: PipelineSettings,
    environment: Mapping[str, str],
    find_stack: FindStack,
    lookup: AivenLookup,
) -> tuple[KafkaSettings, str]:
    kafka, aiven = settings.kafka, settings.aiven
    if kafka.bootstrap_servers:
        return kafka, _FILE
    if _kafka_is_aivens(settings):
        return lookup.fetch_kafka(kafka), _spell_service(aiven, aiven.kafka_service)
    servers = environment.get("KAFKA_BOOTSTRAP_SERVERS")
    if servers:
        return kafka.model_copy(update={"bootstrap_servers": servers}), _ENVIRONMENT
    local = _need_stack(find_stack, "kafka.bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS")
    update = {"bootstrap_servers": local.bootstrap_servers, "security_protocol": "PLAINTEXT"}
    return kafka.model_copy(update=update), _LOCAL


def _resolve_postgres(
    settings: PipelineSettings,
    environment: Mapping[str, str],
    find_stack: FindStack,
    lookup: AivenLookup,
) -> tuple[PostgresSettings, str]:
    postgres, aiven = settings.postgres, settings.aiven
    if postgres.host:
        return _fill_in(postgres, environment), _FILE
    if _postgres_is_aivens(settings):
        return lookup.fetch_postgres(postgres), _spell_service(aiven, aiven.postgres_service)
    if environment.get("PGHOST"):
        return _fill_in(postgres, environment), _ENVIRONMENT
    local = _need_stack(find_stack, "postgres.host", "PGHOST")
    update: dict[str, Any] = {
        "host": local.host,
        "port": local.port,
        "user": local.user,
        "password": SecretStr(local.password),
        "dbname": local.dbname,
        "sslmode": "disable",
    }
    return postgres.model_copy(update=update), _LOCAL


def _resolve_registry(
    settings: PipelineSettings, environment: Mapping[str, str], lookup: AivenLookup
) -> SchemaRegistrySettings:
    registry, url = settings.schema_registry, environment.get(_REGISTRY_VARIABLE)
    if registry.url:
        return registry
    if _kafka_is_aivens(settings):
        return lookup.fetch_registry(registry)
    if not url:
        return registry
    try:
        return SchemaRegistrySettings.model_validate({**registry.model_dump(), "url": url})
    except ValidationError:
        raise ConfigurationError(
            f"{_REGISTRY_VARIABLE}: this is no address of a schema registry; allowed: "
            "http://host:port or https://host:port, without a login"
        ) from None


def _fill_in(postgres: PostgresSettings, environment: Mapping[str, str]) -> PostgresSettings:
    """Take from libpq's own variables what the file leaves open."""
    named = postgres.model_dump(by_alias=True, exclude_unset=True)
    found = {name: environment.get(variable) for name, variable in _VARIABLES.items()}
    try:
        return PostgresSettings.model_validate({**found, **{k: v for k, v in named.items() if v}})
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        raise ConfigurationError("\n".join(map(_explain_variable, faults))) from None


def _explain_variable(detail: ErrorDetails) -> str:
    name = str(detail["loc"][0])
    return f"{_VARIABLES[name]}: {explain({**detail, 'loc': ('postgres', *detail['loc'])})}"


def _need_stack(find_stack: FindStack, key: str, variable: str) -> LocalEndpoints:
    local = find_stack()
    if local is None:
        raise ConfigurationError(
            f"no server is named: neither {key} in the configuration file nor {variable} in the "
            f"environment, and no local stack runs in {default_home()}. `kafka-pg local up` starts "
            "one"
        )
    return local
