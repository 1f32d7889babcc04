"""The configuration file as frozen models; every default of the product stands here."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from kafka_pg_pipeline.domain.checks import Check, Limits, Severity
from kafka_pg_pipeline.domain.modes import Mode, WriteMode
from kafka_pg_pipeline.domain.naming import Naming
from kafka_pg_pipeline.domain.policies import Evolution, InvalidText
from kafka_pg_pipeline.domain.tables import (
    METADATA_TYPES,
    Attribute,
    ColumnRule,
    Constant,
    Header,
    KeyField,
    MetadataField,
    Rest,
    Source,
    TableName,
    TimeUnit,
    ValueField,
)
from kafka_pg_pipeline.settings.values import (
    STREAM_PATTERN,
    STREAM_WORDS,
    AivenUrl,
    BatchBytes,
    CronText,
    Day,
    FilePath,
    GroupName,
    Host,
    Lanes,
    Metadata,
    NonEmpty,
    Owner,
    PageUrl,
    RegistryUrl,
    SchemaName,
    Secret,
    Start,
    StreamName,
    TableText,
    TagKey,
    TagValue,
    TopicName,
    TransformName,
)

MEBIBYTE = 1024 * 1024
AT_KEY = "at_key"
Format = Literal[
    "json", "json-schema", "avro", "protobuf", "connect-json", "debezium", "text", "bytes"
]
# What tells which record a row is of.
_VERSION = (MetadataField.PARTITION, MetadataField.OFFSET, MetadataField.INCARNATION)


def _wrong(key: str, message: str) -> PydanticCustomError:
    """An error that a section found at one of its keys."""
    return PydanticCustomError(AT_KEY, "{message}", {"key": key, "message": message})


class Settings(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change, errors show none."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_empty(cls, values: Any) -> Any:
        """A known key with nothing behind it counts as not named."""
        if not isinstance(values, dict):
            return values
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {
            key: value
            for key, value in values.items()
            if key not in known or (value is not None and value != "")
        }


class KafkaSettings(Settings):
    """How to reach Kafka. An empty ``bootstrap_servers`` counts as not named."""

    bootstrap_servers: str = Field(
        "", description="host:port[,host:port…]; else KAFKA_BOOTSTRAP_SERVERS, else the local stack"
    )
    reader: Literal["kafka-python", "confluent"] = Field(
        "kafka-python",
        description="client that reads records; confluent is faster (extra `fast`)",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="as in Kafka's own client configuration"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="needed with a SASL_ protocol"
    )
    sasl_username: str | None = Field(None, description="SASL user name")
    sasl_password: Secret | None = Field(
        None, description="SASL password; the file holds the variable's name alone"
    )
    ssl_cafile: FilePath | None = Field(None, description="PEM file of the CA; else the system's")
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
                raise _wrong(
                    "security_protocol",
                    f"{self.security_protocol} also needs {', '.join(missing)}",
                )
        if self.security_protocol == "SASL_PLAINTEXT" and not self.allow_insecure:
            raise _wrong(
                "security_protocol",
                "SASL_PLAINTEXT sends the password in clear: use SASL_SSL, or say "
                "allow_insecure: true",
            )
        if bool(self.ssl_certfile) != bool(self.ssl_keyfile):
            given = "ssl_certfile" if self.ssl_certfile else "ssl_keyfile"
            raise _wrong(given, "ssl_certfile and ssl_keyfile go together")
        return self


class PostgresSettings(Settings):
    """How to reach PostgreSQL. An empty ``host`` counts as not named."""

    host: Host = Field(
        "", description="host name or address of the primary; else PGHOST, else the local stack"
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(5432, description="TCP port; else PGPORT")
    dbname: str = Field(
        "", description="database that holds the tables and the positions; else PGDATABASE"
    )
    user: str = Field("", description="role of the loader; else PGUSER")
    password: Secret | None = Field(
        None, description="its password, the variable's name alone; else PGPASSWORD"
    )
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "prefer", description="libpq's sslmode; else PGSSLMODE"
    )
    sslrootcert: FilePath | None = Field(
        None, description="PEM file of the CA, for verify-ca and verify-full; else PGSSLROOTCERT"
    )
    schema_name: SchemaName = Field(
        "kafka_pg",
        alias="schema",
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


class SchemaRegistrySettings(Settings):
    """How to reach a schema registry. An empty ``url`` counts as not named."""

    url: RegistryUrl = Field(
        "", description="http:// or https:// address; else SCHEMA_REGISTRY_URL"
    )
    username: str | None = Field(None, description="user name, where it asks for one")
    password: Secret | None = Field(
        None, description="its password; the file holds the variable's name alone"
    )
    cafile: FilePath | None = Field(None, description="PEM file of the CA; else the usual ones")
    certfile: FilePath | None = Field(None, description="PEM file of the client certificate")
    keyfile: FilePath | None = Field(None, description="PEM file of the client key")
    request_timeout_seconds: Annotated[float, Field(ge=1, le=300)] = Field(
        10.0, description="longest wait for one answer"
    )

    @model_validator(mode="after")
    def _check_certificate(self) -> "SchemaRegistrySettings":
        if bool(self.certfile) != bool(self.keyfile):
            given = "certfile" if self.certfile else "keyfile"
            raise _wrong(given, "certfile and keyfile go together")
        return self


class AivenSettings(Settings):
    """The Aiven project whose services serve; what `kafka` and `postgres` say themselves wins.

    Nothing of it is asked where ``project`` is not named.
    """

    project: str = Field("", description="name of the project; without it Aiven is not asked")
    kafka_service: str = Field("", description="Kafka service that serves, as `kafka` would name")
    postgres_service: str = Field(
        "", description="PostgreSQL service that serves, as `postgres` would name"
    )
    token: Secret | None = Field(
        None, description="token of the API, the variable's name alone; else AIVEN_TOKEN"
    )
    api_url: AivenUrl = Field(
        "", description="address of the API; else AIVEN_API_URL, else https://api.aiven.io"
    )
    api_cafile: FilePath | None = Field(
        None, description="PEM file of the API's own CA; else AIVEN_CA_CERT, else the usual ones"
    )
    project_cafile: FilePath | None = Field(
        None,
        description="PEM file of the project's CA, where the token may not read it; else "
        "AIVEN_PROJECT_CA_PATH, else the API is asked",
    )
    kafka_user: NonEmpty | None = Field(
        None, description="service user of Kafka; else the service's first, avnadmin"
    )
    kafka_authentication: Literal["certificate", "sasl"] = Field(
        "certificate", description="how that user logs in"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-256", description="where it logs in by sasl"
    )
    postgres_user: NonEmpty | None = Field(
        None, description="service user of PostgreSQL; else the service's first, avnadmin"
    )
    postgres_pool: NonEmpty | None = Field(
        None, description="connection pool (PgBouncer) to go through; else the server itself"
    )
    route: Literal["dynamic", "public", "private", "privatelink"] = Field(
        "dynamic", description="which of the services' addresses to use, as in a VPC"
    )
    wait_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        300.0, description="longest wait for a service that is being rebuilt"
    )

    @model_validator(mode="after")
    def _check_names(self) -> "AivenSettings":
        if not self.project:
            given = next(filter(self.__getattribute__, ("kafka_service", "postgres_service")), None)
            if given is not None:
                raise _wrong(given, "a service lies in a project: name `project` too")
        return self


class BatchSettings(Settings):
    """How large one transaction may grow; whichever limit is met first ends the batch."""

    max_rows: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        50_000, description="records in one batch"
    )
    max_bytes: BatchBytes = Field(
        64 * MEBIBYTE,
        description="bytes of keys, values and headers in one batch",
        json_schema_extra={"default": "64MiB"},
    )
    max_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        5.0, description="longest time a batch waits for more records"
    )
    write_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        5.0, description="where writing a batch takes longer, the next ones have fewer records"
    )


class DeadLetterSettings(Settings):
    """How many records may be rejected before the run fails instead, and where copies go.

    A batch is over budget when it holds more than ``max_records``, or more than ``max_share`` of
    its records once it has at least 100 of them; or when its run would have more than
    ``max_run_records`` with it.
    """

    max_records: Annotated[int, Field(ge=0)] = Field(
        1_000, description="rejected records in one batch; more fail the run"
    )
    max_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.10, description="share of a batch that may be rejected, once it has 100 records"
    )
    max_run_records: Annotated[int, Field(ge=0)] = Field(
        1_000,
        description="rejected records in one run, its retries included; the batch that would "
        "exceed it fails the run",
    )
    topic: TopicName | None = Field(
        None, description="existing topic that dead letters are copied to after their commit"
    )


class SeveritySettings(Settings):
    """How bad it is when a check fails, for each of them, or one word for all."""

    no_gap: Severity = Field(
        Severity.ERROR, description="records were gone from the topic before they were loaded"
    )
    tiling: Severity = Field(
        Severity.ERROR, description="the ledger has a hole, an overlap or another end"
    )
    completeness: Severity = Field(
        Severity.ERROR, description="an offset that was passed is not accounted for"
    )
    lag: Severity = Field(Severity.WARN, description="more than `lag_records` wait")
    freshness: Severity = Field(
        Severity.WARN, description="a record has waited for more than `lag_seconds`"
    )
    dead_letter_share: Severity = Field(
        Severity.WARN, description="more than `dead_letter_share` were rejected"
    )
    table_matches_ledger: Severity = Field(
        Severity.ERROR, description="the table holds other rows than the ledger says"
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        section = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "string", "enum": [word.value for word in Severity]}, section]}

    @model_validator(mode="before")
    @classmethod
    def _take_word(cls, value: Any) -> Any:
        """One word is meant for all checks."""
        is_word = value in {word.value for word in Severity} if isinstance(value, str) else False
        return dict.fromkeys(cls.model_fields, value) if is_word else value


class CheckSettings(Settings):
    """When the stream's checks in Dagster fail, and how bad that is."""

    lag_records: Annotated[int, Field(ge=0)] = Field(
        100_000, description="records that may wait to be loaded"
    )
    lag_seconds: Annotated[float, Field(gt=0, le=31_536_000)] = Field(
        900.0, description="age that the oldest record to load may have, by its own timestamp"
    )
    dead_letter_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01,
        description="share of the records of the last 24 hours that may be unresolved dead letters",
    )
    severity: SeveritySettings = Field(
        default_factory=lambda: SeveritySettings(),
        description="what a check that fails is, by its name, or one word for all; a check that "
        "is off does not exist",
    )

    @property
    def limits(self) -> Limits:
        """What the section says, in words of the domain."""
        return Limits(self.lag_records, self.lag_seconds, self.dead_letter_share)

    @property
    def severities(self) -> Mapping[Check, Severity]:
        """The severity of each check that is not off."""
        found = {check: Severity(getattr(self.severity, check.value)) for check in Check}
        return {check: word for check, word in found.items() if word is not Severity.OFF}


class RetentionSettings(Settings):
    """How long what was done is kept, once somebody runs `kafka-pg purge` or the job `purge`."""

    ledger_days: Annotated[int, Field(ge=7, le=36_500)] = Field(
        90,
        description="days until lines of the ledger that follow each other are merged into one; "
        "no count is lost",
    )
    dead_letters_days: Annotated[int, Field(ge=1, le=36_500)] = Field(
        30,
        description="days until a dead letter is removed once it was resolved; unresolved ones "
        "stay",
    )
    runs_days: Annotated[int, Field(ge=1, le=36_500)] = Field(
        30, description="days until the job removes a finished run of the pipeline from Dagster"
    )


class AlertSettings(Settings):
    """Who is told of failed runs in Dagster."""

    webhook: Secret | None = Field(
        None,
        description="address that takes Slack's JSON; it is a secret, so the file holds the "
        "variable's name alone",
    )
    ui_url: PageUrl = Field("", description="where Dagster's UI is, for a link to the run")


class SourceSettings(Settings):
    """What ``produce`` may put on the topic; only a stream that has this is ever produced to."""

    kind: Literal["generator", "file"] = Field(
        "generator", description="demo events that are generated, or the lines of `file`"
    )
    file: FilePath | None = Field(None, description="JSONL file, a record a line")
    key_separator: NonEmpty | None = Field(
        None,
        description="what stands between key and value in a line of `file`; a key alone deletes",
    )
    count: Annotated[int, Field(ge=1)] = Field(1_000, description="events per produce run")

    @model_validator(mode="after")
    def _check_kind(self) -> "SourceSettings":
        if (self.kind == "file") != (self.file is not None):
            raise _wrong("kind", "`kind: file` and `file: PATH` go together")
        return self


class BackfillSettings(Settings):
    """Windows of the stream's time that Dagster offers as partitions, to be loaded when asked."""

    every: Literal["hour", "day"] = Field("day", description="how long a window is, in UTC")
    start: Day = Field(description="the first day that there are windows of, in UTC")
    into: TableText | None = Field(
        None, description="another table than the stream's; created like it where it is missing"
    )
    lateness_seconds: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="how much later than its window a record may be found behind; else the topic "
        "is looked through to its end",
    )
    overwrite: bool = Field(
        default=False,
        description="in upsert, even where older records take the place of newer ones of their key",
    )

    @property
    def first_moment(self) -> datetime:
        """When the first window begins."""
        return datetime(self.start.year, self.start.month, self.start.day, tzinfo=timezone.utc)


class ColumnSettings(Settings):
    """One column of the table, where it is not just the field of its name."""

    type: NonEmpty | None = Field(None, description="PostgreSQL type, for a new column")
    field: NonEmpty | None = Field(None, description="field of the value that fills it")
    key_field: NonEmpty | None = Field(None, description="field of the record's key that fills it")
    header: NonEmpty | None = Field(None, description="header whose last value fills it, as text")
    constant: NonEmpty | None = Field(None, description="text that fills it in each row")
    unit: TimeUnit | Literal["iso"] = Field(
        TimeUnit.MILLISECONDS,
        description="what a number counts since 1970; iso: numbers are refused",
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        section = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "string", "minLength": 1}, section]}

    @model_validator(mode="before")
    @classmethod
    def _take_type(cls, value: Any) -> Any:
        """A text is the column's type."""
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_source(self) -> "ColumnSettings":
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) > 1:
            raise _wrong(given[1], f"a column is filled by one of {', '.join(_SOURCES)}")
        return self

    @property
    def rule(self) -> ColumnRule:
        """What the section says, in words of the domain."""
        given = next((name for name in _SOURCES if getattr(self, name) is not None), None)
        source: Source | None = _SOURCES[given](getattr(self, given)) if given else None
        unit = None if self.unit == "iso" else self.unit
        return ColumnRule(source, self.type, unit)


_SOURCES: Mapping[str, Callable[[str], Source]] = {
    "field": ValueField,
    "key_field": KeyField,
    "header": Header,
    "constant": Constant,
}


class AssetSettings(Settings):
    """How Dagster shows the stream's table."""

    description: NonEmpty | None = Field(
        None, description="Markdown above what is said of the stream anyway"
    )
    owners: list[Owner] = Field(
        default_factory=list, description="who is asked: e-mail addresses, or team:NAME"
    )
    group: GroupName = Field("streams", description="group of the table and its topic")
    tags: dict[TagKey, TagValue] = Field(
        default_factory=dict, description="labels to search by, as {domain: sales}"
    )
    preview: bool = Field(
        default=False,
        description="keep a few of the newest rows with each run: content of records, in Dagster's "
        "own database",
    )


class StreamSettings(Settings):
    """One topic into one table."""

    topic: TopicName = Field(description="Kafka topic")
    table: TableText = Field(description="target table; in public when no schema is named")
    format: Format = Field("json", description="how record values are encoded")
    key_format: Format | None = Field(
        None,
        description="how record keys are encoded; else as the values of connect-json and debezium, "
        "and as text",
    )
    schema_file: FilePath | None = Field(
        None, description="Avro schema of values that carry none, in place of a registry"
    )
    mode: Literal["append", "insert-ignore", "upsert"] = Field(
        "append",
        description="what becomes of a record: a row of its own, the row of its key unless there "
        "is one, or the row of its key whatever there was",
    )
    key: list[NonEmpty] = Field(
        default_factory=list,
        description="columns that tell one row from another, for insert-ignore and upsert",
    )
    key_source: Literal["value", "record_key", "headers"] = Field(
        "value",
        description="where the key's columns come from: fields of the value, the record's key, or "
        "headers of the same names",
    )
    deletes: bool = Field(
        default=True, description="in upsert a record that deletes its key deletes the row"
    )
    newest_wins: bool = Field(
        default=False,
        description="in upsert a row gives way to a later offset only; needs the metadata "
        "partition, offset and incarnation",
    )
    start: Start = Field(
        "earliest",
        description="where a new stream starts; used once, afterwards the position counts",
    )
    isolation: Literal["read_committed", "read_uncommitted"] = Field(
        "read_committed",
        description="whether records of aborted and open transactions are left out or read",
    )
    on_data_loss: Literal["fail", "continue"] = Field(
        "fail",
        description="where retention removed records not yet loaded: stop, or note a gap and go on",
    )
    create: bool = Field(default=True, description="create the table when it is missing")
    columns: dict[NonEmpty, ColumnSettings] = Field(
        default_factory=dict,
        description="by column its PostgreSQL type, or a section; the rest is inferred",
        json_schema_extra={"propertyNames": {"minLength": 1}},
    )
    select: Annotated[list[NonEmpty], Field(min_length=1)] | None = Field(
        None, description="fields of the value that columns may take; else all"
    )
    drop: list[NonEmpty] = Field(
        default_factory=list, description="fields of the value that go nowhere, not even to `rest`"
    )
    naming: Naming = Field(
        Naming.SNAKE_CASE, description="how new columns are named after their fields"
    )
    nested: Literal["jsonb", "flatten"] = Field(
        "jsonb", description="an object inside the value: one column, or one for each of its fields"
    )
    separator: NonEmpty = Field(
        "_", description="what stands between the names of a nested field and its object"
    )
    rest: NonEmpty | None = Field(
        None, description="jsonb column for the fields that no column takes"
    )
    evolution: Evolution = Field(
        Evolution.ADD, description="what becomes of a field that the table has no column for"
    )
    transform: TransformName | None = Field(
        None, description="Python function that makes a row of each record, or leaves it out"
    )
    invalid_text: InvalidText = Field(
        InvalidText.DEAD_LETTER, description="U+0000 and half surrogate pairs in text"
    )
    metadata: Metadata = Field(
        default_factory=dict,
        description="the record's own attributes, kept as columns",
    )
    batch: BatchSettings = Field(
        default_factory=lambda: BatchSettings(),
        description="size of one transaction; the limit that is met first ends it",
    )
    max_lanes: Lanes = Field(
        None,
        description="processes that may load it side by side, each some of its partitions, where "
        "the backlog is worth it; never more than there are cores; auto: 4 at most, and one for "
        "each two cores with reader confluent",
        json_schema_extra={"default": "auto"},
    )
    dead_letters: DeadLetterSettings = Field(
        default_factory=lambda: DeadLetterSettings(),
        description="budget of rejected records, and where copies of them go",
    )
    asset: AssetSettings = Field(
        default_factory=lambda: AssetSettings(),
        description="how Dagster shows the table: description, owners, group, tags, preview",
    )
    checks: CheckSettings = Field(
        default_factory=lambda: CheckSettings(),
        description="limits and severities of the checks of the table in Dagster",
    )
    schedule: CronText | None = Field(
        None, description="when load_NAME_schedule runs, in UTC; off until it is turned on"
    )
    backfill: BackfillSettings | None = Field(
        None, description="makes the partitioned asset and the job backfill_NAME in Dagster"
    )
    source: SourceSettings | None = Field(
        None, description="lets `produce` write to the topic; without it nothing is generated"
    )

    @model_validator(mode="after")
    def _check_stream(self) -> "StreamSettings":
        names = list(self.metadata.values())
        if len(set(names)) < len(names):
            raise _wrong("metadata", "two attributes have the same column")
        fields = [c.field for c in self.columns.values() if c.field is not None]
        if len(set(fields)) < len(fields):
            raise _wrong("columns", "two columns take the same field")
        twice = [name for name in names if name in self.columns]
        if twice:
            raise _wrong(f"columns.{twice[0]}", "`metadata` fills this column")
        if self.rest in names or self.rest in self.columns:
            raise _wrong("rest", "this column is filled by something else")
        if self.schema_file is not None and self.format != "avro":
            raise _wrong("schema_file", "only format: avro reads a schema from a file")
        self._check_mode()
        if self.dead_letters.topic == self.topic:
            raise _wrong("dead_letters.topic", "the stream reads this topic; name another one")
        return self

    def _check_mode(self) -> None:
        if self.mode == "append" and self.key:
            raise _wrong("key", "append asks no key: say mode: upsert, or mode: insert-ignore")
        if self.mode != "append" and not self.key:
            raise _wrong("mode", f"{self.mode} needs `key`: the columns that tell rows apart")
        if len(set(self.key)) < len(self.key):
            raise _wrong("key", "a column stands twice")
        if self.newest_wins and self.mode != "upsert":
            raise _wrong("newest_wins", "only mode: upsert compares offsets")
        missing = [f.value for f in _VERSION if f not in self.metadata] if self.newest_wins else []
        if missing:
            raise _wrong("newest_wins", f"this also needs metadata: {', '.join(missing)}")

    @property
    def format_of_keys(self) -> Format:
        """How record keys are encoded."""
        like_values = self.format in ("connect-json", "debezium")
        return self.key_format or (self.format if like_values else "text")

    @property
    def write_mode(self) -> WriteMode:
        """How rows meet the table."""
        return WriteMode(Mode(self.mode), tuple(self.key), self.deletes, self.newest_wins)

    @property
    def rules(self) -> Mapping[str, ColumnRule]:
        """What the file says of single columns, by their names, in the order of a new table."""
        rules = {name: column.rule for name, column in self.columns.items()}
        if self.key_source != "value":
            make = KeyField if self.key_source == "record_key" else Header
            for name in self.key:
                rule = rules.get(name, ColumnRule())
                rules[name] = replace(
                    rule,
                    source=rule.source or make(name),
                    type_name=rule.type_name or "text",
                )
        if self.rest is not None:
            rules[self.rest] = ColumnRule(Rest(), "jsonb")
        for field, name in self.metadata.items():
            rules[name] = ColumnRule(Attribute(field), METADATA_TYPES[field])
        return rules


class SensorSettings(Settings):
    """How often new_offsets_sensor looks for new records."""

    interval_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        1,
        description="seconds between two looks at least; the daemon itself looks every five. Each "
        "look that finds records costs a run",
    )
    follow_seconds: Annotated[int, Field(ge=30, le=86_400)] | None = Field(
        None,
        description="keeps a run going that loads records as they arrive, and ends after so long "
        "for the next one; without it each look that finds records costs a run",
    )


class PipelineSettings(Settings):
    """The whole file."""

    kafka: KafkaSettings = Field(
        default_factory=lambda: KafkaSettings(), description="Where Kafka is, and how to log in."
    )
    postgres: PostgresSettings = Field(
        default_factory=lambda: PostgresSettings(),
        description="Where PostgreSQL is, and how to log in.",
    )
    aiven: AivenSettings = Field(
        default_factory=lambda: AivenSettings(),
        description="The Aiven services that serve where `kafka` and `postgres` name no server.",
    )
    schema_registry: SchemaRegistrySettings = Field(
        default_factory=lambda: SchemaRegistrySettings(),
        description="Where schemas are, for avro, protobuf and json-schema.",
    )
    sensor: SensorSettings = Field(
        default_factory=lambda: SensorSettings(),
        description="How often the sensor of all streams looks for new records.",
    )
    retention: RetentionSettings = Field(
        default_factory=lambda: RetentionSettings(),
        description="How long ledger, dead letters and runs are kept by `kafka-pg purge` and the "
        "job `purge`.",
    )
    alerts: AlertSettings = Field(
        default_factory=lambda: AlertSettings(),
        description="Who is told of failed runs, by the sensor `alert_on_failure`.",
    )
    streams: dict[StreamName, StreamSettings] = Field(
        description="Each stream is one topic into one table, under a name of your choice.",
        json_schema_extra={
            "propertyNames": {"pattern": STREAM_PATTERN, "patternErrorMessage": STREAM_WORDS}
        },
    )

    @model_validator(mode="after")
    def _check_streams(self) -> "PipelineSettings":
        owners: dict[TableName, str] = {}
        for name, stream in self.streams.items():
            owner = owners.setdefault(TableName.parse(stream.table), name)
            if owner != name:
                raise _wrong(
                    f"streams.{name}.table",
                    f"stream {owner} fills this table; give each stream a table of its own",
                )
        for name, stream in self.streams.items():
            if stream.backfill is None or stream.backfill.into is None:
                continue
            owner = owners.setdefault(TableName.parse(stream.backfill.into), name)
            if owner != name:
                raise _wrong(
                    f"streams.{name}.backfill.into",
                    f"stream {owner} fills this table; name one that nobody fills",
                )
        return self
