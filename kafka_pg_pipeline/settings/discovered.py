"""Servers as a directory of services tells them: PEM texts in memory stand in place of files.

They are no sections of the file, and none of their texts is shown by ``repr``.
"""

from pydantic import Field, SecretStr

from kafka_pg_pipeline.settings.models import (
    KafkaSettings,
    PostgresSettings,
    SchemaRegistrySettings,
)


class DiscoveredKafka(KafkaSettings):
    """A cluster whose CA, and whose client's certificate and key, are known as PEM texts."""

    ca: str = Field(repr=False)
    certificate: str | None = Field(None, repr=False)
    key: SecretStr | None = None


class DiscoveredPostgres(PostgresSettings):
    """A server whose CA is known as a PEM text.

    ``may_lower_sslmode`` lets a connection go on with verify-ca, and say so, where the server's
    certificate is for another host name.
    """

    ca: str = Field(repr=False)
    may_lower_sslmode: bool = False


class DiscoveredRegistry(SchemaRegistrySettings):
    """A schema registry whose CA may be the usual ones or this one."""

    ca: str = Field(repr=False)
