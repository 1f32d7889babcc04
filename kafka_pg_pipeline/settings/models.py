"""The configuration file as frozen models; every default of the product stands here."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from kafka_pg_pipeline.domain.tables import MetadataField

MEBIBYTE = 1024 * 1024


class Settings(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(Settings):
    """How to reach Kafka. An empty ``bootstrap_servers`` counts as not named."""

    bootstrap_servers: str = Field("", description="host:port[,host:port…]")
    reader: Literal["kafka-python"] = Field("kafka-python", description="client that reads records")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="as in Kafka's own client configuration"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="needed with a SASL_ protocol"
    )
    sasl_username: str | None = Field(None, description="SASL user name")
    sasl_password: SecretStr | None = Field(
        None, description="SASL password, as a ${NAME} reference to the environment"
    )
    ssl_cafile: Path | None = Field(None, description="PEM file of the CA; the system's if unset")
    ssl_certfile: Path | None = Field(None, description="PEM file of the client certificate")
    ssl_keyfile: Path | None = Field(None, description="PEM file of the client key")
    request_timeout_seconds: Annotated[float, Field(ge=1, le=300)] = Field(
        15.0, description="longest wait for one broker answer"
    )
    allow_insecure: bool = Field(
        default=False, description="permit SASL without TLS (passwords travel in clear)"
    )


class PostgresSettings(Settings):
    """How to reach PostgreSQL. An empty ``host`` counts as not named."""

    host: str = Field("", description="host name or address of the primary")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(5432, description="TCP port")
    dbname: str = Field("", description="database that holds the tables and the positions")
    user: str = Field("", description="role of the loader")
    password: SecretStr | None = Field(
        None, description="its password, as a ${NAME} reference to the environment"
    )
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "prefer", description="libpq's sslmode"
    )
    sslrootcert: Path | None = Field(None, description="PEM file of the CA for verify-*")
    schema_name: str = Field(
        "kafka_pg",
        alias="schema",
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="schema of the positions, ledger, dead letters and gaps",
    )
    connect_timeout_seconds: Annotated[int, Field(ge=1, le=300)] = Field(
        10, description="longest wait for a connection"
    )
    lock_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        5.0, description="longest wait for a lock inside a batch's transaction"
    )
    statement_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        120.0, description="longest single statement of a batch"
    )
    commit_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        30.0, description="longest wait for COMMIT to answer before its outcome is looked up"
    )


class BatchSettings(Settings):
    """How large one transaction may grow; whichever limit is met first ends the batch."""

    max_rows: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        50_000, description="records in one batch"
    )
    max_bytes: Annotated[int, Field(ge=1024, le=1024 * MEBIBYTE)] = Field(
        64 * MEBIBYTE, description="bytes of keys and values in one batch; 64MiB is understood"
    )
    max_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        5.0, description="longest time a batch waits for more records"
    )


class DeadLetterSettings(Settings):
    """How many rejected records one batch may hold before the run fails instead.

    A batch is over budget when it holds more than ``max_records``, or more than ``max_share`` of
    its records once it has at least 100 of them.
    """

    max_records: Annotated[int, Field(ge=0)] = Field(
        1_000, description="rejected records in one batch"
    )
    max_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.10, description="share of a batch's records that may be rejected"
    )


class SourceSettings(Settings):
    """What ``produce`` may put on the topic; only a stream that has this is ever produced to."""

    kind: Literal["generator", "file"] = Field(
        "generator", description="generated demo events, or the lines of a JSONL file"
    )
    file: Path | None = Field(None, description="JSONL file, relative to the configuration file")
    count: Annotated[int, Field(ge=1)] = Field(1_000, description="events per produce run")


class StreamSettings(Settings):
    """One topic into one table."""

    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")] = Field(
        description="Kafka topic"
    )
    table: Annotated[str, Field(min_length=1)] = Field(
        description="target table, schema.name (public when there is no schema)"
    )
    format: Literal["json"] = Field("json", description="how record values are encoded")
    mode: Literal["append"] = Field("append", description="how rows meet the table")
    start: Literal["earliest", "latest"] | datetime = Field(
        "earliest", description="where a new stream starts; used once. A timestamp needs an offset"
    )
    isolation: Literal["read_committed", "read_uncommitted"] = Field(
        "read_committed", description="whether records of open and aborted transactions are read"
    )
    on_data_loss: Literal["fail", "continue"] = Field(
        "fail", description="what to do when retention has removed records not yet loaded"
    )
    create: bool = Field(default=True, description="create the table when it is missing")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="PostgreSQL types of columns for a new table; the rest is inferred",
    )
    metadata: dict[MetadataField, str] = Field(
        default_factory=dict,
        description="record attributes kept as columns: a list, or attribute: column name",
    )
    batch: BatchSettings = Field(default_factory=BatchSettings, description="size of a batch")
    dead_letters: DeadLetterSettings = Field(
        default_factory=DeadLetterSettings, description="budget of rejected records"
    )
    schedule: str | None = Field(None, description="cron expression of load_<stream>_schedule")
    source: SourceSettings | None = Field(None, description="lets produce write to the topic")


class PipelineSettings(Settings):
    """The whole file."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings, description="the Kafka cluster")
    postgres: PostgresSettings = Field(
        default_factory=PostgresSettings, description="the PostgreSQL database"
    )
    streams: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")], StreamSettings] = Field(
        description="streams by name"
    )
