"""Resources from the configuration file; a secret is handed on as the name of its variable."""

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import BaseModel, SecretStr

from kafka_pg_pipeline.assembly.endpoints import Endpoints, resolve_endpoints
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.resources.alerts import AlertsResource
from kafka_pg_pipeline.resources.kafka import REGISTRY_PREFIX, KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource
from kafka_pg_pipeline.settings.file import LoadedSettings
from kafka_pg_pipeline.settings.models import AivenSettings, PipelineSettings


def build_resources(
    loaded: LoadedSettings, environment: Mapping[str, str]
) -> dict[str, KafkaResource | PostgresResource | AivenResource | AlertsResource]:
    """The resources ``kafka``, ``postgres``, ``aiven``, and ``alerts`` where it is named.

    Opens nothing.
    """
    variables = {
        key: name for key, name in loaded.secret_variables.items() if environment.get(name)
    }
    settings = loaded.settings
    resources: dict[str, KafkaResource | PostgresResource | AivenResource | AlertsResource] = {
        "aiven": AivenResource(**_fields(settings.aiven, AivenResource, "aiven", variables)),
        "kafka": KafkaResource(
            **_fields(settings.kafka, KafkaResource, "kafka", variables),
            **_fields(
                settings.schema_registry,
                KafkaResource,
                "schema_registry",
                variables,
                prefix=REGISTRY_PREFIX,
            ),
        ),
        "postgres": PostgresResource(
            **_fields(settings.postgres, PostgresResource, "postgres", variables)
        ),
    }
    if settings.alerts.webhook is not None:
        resources["alerts"] = AlertsResource(
            **_fields(settings.alerts, AlertsResource, "alerts", variables)
        )
    return resources


def find_endpoints(
    kafka: KafkaResource, postgres: PostgresResource, aiven: AivenResource | None = None
) -> Endpoints:
    """Both servers as the running process finds them: resources, environment, local stack.

    Raises:
        ConfigurationError: a server is named nowhere.
        AivenUnavailableError, AuthenticationError, ServicePoweredOffError: Aiven was asked.
    """
    settings = PipelineSettings(
        kafka=kafka.settings(),
        postgres=postgres.settings(),
        aiven=aiven.settings() if aiven is not None else AivenSettings(),
        schema_registry=kafka.registry_settings(),
        streams={},
    )
    lookup = aiven.lookup if aiven is not None else None
    return resolve_endpoints(settings, os.environ, lookup=lookup)


def _fields(
    settings: BaseModel,
    resource: type[dg.ConfigurableResource[Any]],
    section: str,
    variables: Mapping[str, str],
    prefix: str = "",
) -> dict[str, Any]:
    """What a section says, by the names of a resource's fields."""
    fields: dict[str, Any] = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if isinstance(value, SecretStr) or prefix + name not in resource.model_fields:
            continue
        fields[prefix + name] = value if isinstance(value, (bool, int, float)) else str(value)
    for key, variable in variables.items():
        owner, _, name = key.partition(".")
        if owner == section:
            fields[prefix + name] = dg.EnvVar(variable)
    return fields
