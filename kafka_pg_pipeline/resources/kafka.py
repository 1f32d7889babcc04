"""The Dagster resource ``kafka``: how to reach the cluster and its schemas; adapters connect."""

from typing import Any

import dagster as dg
from pydantic import Field

from kafka_pg_pipeline.settings.models import KafkaSettings, SchemaRegistrySettings

REGISTRY_PREFIX = "schema_registry_"


class KafkaResource(dg.ConfigurableResource):  # type: ignore[type-arg] # no value of its own
    """Where Kafka is and how to log in; empty servers: the environment, then the local stack."""

    bootstrap_servers: str = Field("", description="host:port[,host:port…]")
    reader: str = Field("kafka-python", description="client that reads records, or confluent")
    security_protocol: str = Field("PLAINTEXT", description="as in Kafka's own configuration")
    sasl_mechanism: str | None = Field(None, description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512")
    sasl_username: str | None = Field(None, description="SASL user name")
    sasl_password: str | None = Field(
        None, description="SASL password; give it as EnvVar", repr=False
    )
    ssl_cafile: str | None = Field(None, description="PEM file of the CA")
    ssl_certfile: str | None = Field(None, description="PEM file of the client certificate")
    ssl_keyfile: str | None = Field(None, description="PEM file of the client key")
    request_timeout_seconds: float = Field(15.0, description="longest wait for one answer")
    allow_insecure: bool = Field(default=False, description="permit SASL without TLS")
    schema_registry_url: str = Field("", description="address; else SCHEMA_REGISTRY_URL")
    schema_registry_username: str | None = Field(None, description="user name, where needed")
    schema_registry_password: str | None = Field(
        None, description="its password; give it as EnvVar", repr=False
    )
    schema_registry_cafile: str | None = Field(None, description="PEM file of the CA")
    schema_registry_certfile: str | None = Field(None, description="PEM file of our certificate")
    schema_registry_keyfile: str | None = Field(None, description="PEM file of our key")
    schema_registry_request_timeout_seconds: float = Field(
        10.0, description="longest wait for one answer"
    )

    def settings(self) -> KafkaSettings:
        """What the adapters take.

        Raises:
            pydantic.ValidationError: the fields contradict each other.
        """
        return KafkaSettings.model_validate(
            {n: v for n, v in self._given().items() if not n.startswith(REGISTRY_PREFIX)}
        )

    def registry_settings(self) -> SchemaRegistrySettings:
        """What the adapter of the schema registry takes.

        Raises:
            pydantic.ValidationError: the fields contradict each other.
        """
        return SchemaRegistrySettings.model_validate(
            {
                name.removeprefix(REGISTRY_PREFIX): value
                for name, value in self._given().items()
                if name.startswith(REGISTRY_PREFIX)
            }
        )

    def _given(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in given.items() if value not in (None, "")}
