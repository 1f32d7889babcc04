"""The configuration file as frozen models; every default of the product stands here."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    model_validator,
)

from kafka_pg_pipeline.domain.tables import MetadataField, TableName

MEBIBYTE = 1024 * 1024


def _relative_to_file(path: Path, info: ValidationInfo) -> Path:
    directory = (info.context or {}).get("directory")
    return Path(directory) / path if directory else path


def _name_metadata(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return {name: f"kafka_{name}" for name in value}


FilePath = Annotated[Path, AfterValidator(_relative_to_file)]


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
    ssl_cafile: FilePath | None = Field(
        None, description="PEM file of the CA; the system's if unset"
    )
    ssl_certfile: FilePath | None = Field(None, description="PEM file of the client certificate")
    ssl_keyfile: FilePath | None = Field(None, description="PEM file of the client key")
    request_timeout_seconds: Annotated[float, Field(ge=1, le=300)] = Field(
        15.0, description="longest wait for one broker answer"
    )
    allow_insecure: bool = Field(
        default=False, description="permit SASL without TLS (passwords travel in clear)"
    )

    @model_validator(mode="after")
    def _check_security(self) -> "KafkaSettings":
        if self.security_protocol.startswith("SASL_"):
            names = ("sasl_mechanism", "sasl_username", "sasl_password")
            missing = [name for name in names if not getattr(self, name)]
            if missing:
                raise ValueError(f"{self.security_protocol} also needs {', '.join(missing)}")
        if self.security_protocol == "SASL_PLAINTEXT" and not self.allow_insecure:
            raise ValueError(
                "SASL_PLAINTEXT sends the password in clear: use SASL_SSL, or say "
                "allow_insecure: true"
            )
        if bool(self.ssl_certfile) != bool(self.ssl_keyfile):
            raise ValueError("ssl_certfile and ssl_keyfile go together")
        return self


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
    sslrootcert: FilePath | None = Field(None, description="PEM file of the CA for verify-*")
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
    max_bytes: Annotated[ByteSize, Field(ge=1024, le=1024 * MEBIBYTE)] = Field(
        ByteSize(64 * MEBIBYTE),
        description="bytes of keys and values in one batch; 64MiB is understood",
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
    file: FilePath | None = Field(
        None, description="JSONL file, relative to the configuration file"
    )
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
    metadata: Annotated[dict[MetadataField, str], BeforeValidator(_name_metadata)] = Field(
        default_factory=dict,
        description="record attributes kept as columns: a list, or attribute: column name",
    )
    batch: BatchSettings = Field(
        default_factory=lambda: BatchSettings(), description="size of a batch"
    )
    dead_letters: DeadLetterSettings = Field(
        default_factory=lambda: DeadLetterSettings(), description="budget of rejected records"
    )
    schedule: str | None = Field(None, description="cron expression of load_<stream>_schedule")
    source: SourceSettings | None = Field(None, description="lets produce write to the topic")

    @model_validator(mode="after")
    def _check_stream(self) -> "StreamSettings":
        if isinstance(self.start, datetime) and self.start.tzinfo is None:
            raise ValueError("start: a timestamp needs its offset from UTC, as 2026-01-31T00:00Z")
        names = list(self.metadata.values())
        if len(set(names)) < len(names):
            raise ValueError("metadata: two attributes have the same column")
        return self


class PipelineSettings(Settings):
    """The whole file."""

    kafka: KafkaSettings = Field(
        default_factory=lambda: KafkaSettings(), description="the Kafka cluster"
    )
    postgres: PostgresSettings = Field(
        default_factory=lambda: PostgresSettings(), description="the PostgreSQL database"
    )
    streams: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")], StreamSettings] = Field(
        description="streams by name"
    )

    @model_validator(mode="after")
    def _check_streams(self) -> "PipelineSettings":
        seen: dict[tuple[str, str], str] = {}
        for name, stream in self.streams.items():
            pair = (stream.topic, str(TableName.parse(stream.table)))
            other = seen.setdefault(pair, name)
            if other != name:
                raise ValueError(
                    f"streams: {other} and {name} load the same topic into the same table"
                )
        return self
