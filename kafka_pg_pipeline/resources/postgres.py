"""The Dagster resource ``postgres``: how to reach the database; the adapters open connections."""

import dagster as dg
from pydantic import Field

from kafka_pg_pipeline.settings.models import PostgresSettings


class PostgresResource(dg.ConfigurableResource):  # type: ignore[type-arg] # no value of its own
    """Where PostgreSQL is and how to log in; an empty host: PG*, then the local stack."""

    host: str = Field("", description="host name or address of the primary")
    port: int | None = Field(None, description="TCP port; PGPORT, else 5432")
    dbname: str = Field("", description="database of the tables and the positions")
    user: str = Field("", description="role of the loader")
    password: str | None = Field(None, description="its password; give it as EnvVar", repr=False)
    sslmode: str | None = Field(None, description="libpq's sslmode; PGSSLMODE, else prefer")
    sslrootcert: str | None = Field(None, description="PEM file of the CA")
    schema_name: str = Field("kafka_pg", description="schema of the pipeline's own tables")
    connect_timeout_seconds: int = Field(10, description="longest wait for a connection")
    lock_timeout_seconds: float = Field(5.0, description="longest wait for a lock")
    statement_timeout_seconds: float = Field(120.0, description="longest single statement")
    commit_timeout_seconds: float = Field(30.0, description="longest wait for COMMIT's answer")

    def settings(self) -> PostgresSettings:
        """What the adapters take."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        given["schema"] = given.pop("schema_name")
        return PostgresSettings.model_validate(
            {name: value for name, value in given.items() if value not in (None, "")}
        )
