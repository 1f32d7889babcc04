"""The Dagster resource ``kafka``: how to reach the cluster; the adapters open the connections."""

import dagster as dg
from pydantic import Field

from kafka_pg_pipeline.settings.models import KafkaSettings


class KafkaResource(dg.ConfigurableResource):  # type: ignore[type-arg] # no value of its own
    """Where Kafka is and how to log in; empty servers: the environment, then the local stack."""

    bootstrap_servers: str = Field("", description="host:port[,host:port…]")
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

    def settings(self) -> KafkaSettings:
        """What the adapters take.

        Raises:
            pydantic.ValidationError: the fields contradict each other.
        """
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return KafkaSettings.model_validate(
            {name: value for name, value in given.items() if value not in (None, "")}
        )
