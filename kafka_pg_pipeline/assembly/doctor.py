"""Examines what the pipeline stands on: one finding a line, each with its cure."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum

from kafka_pg_pipeline.adapters.kafka.inspector import KafkaInspector
from kafka_pg_pipeline.adapters.kafka.reader import open_reader_factory
from kafka_pg_pipeline.adapters.postgres.connection import Primary
from kafka_pg_pipeline.adapters.postgres.health import (
    PipelineRights,
    PostgresHealth,
    StuckBackend,
    TableRights,
)
from kafka_pg_pipeline.adapters.postgres.migrations import fetch_pending
from kafka_pg_pipeline.adapters.schema_registry import HttpSchemaRegistry
from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.assembly.overview import fetch_ranges
from kafka_pg_pipeline.assembly.session import open_session
from kafka_pg_pipeline.domain.offsets import TopicSnapshot
from kafka_pg_pipeline.domain.tables import TableName
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.errors import KafkaUnavailableError, PipelineError, TopicMissingError
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.pipeline.sample import read_sample
from kafka_pg_pipeline.settings.models import StreamSettings

APPLICATION_NAME = "kafka-pg doctor"
OLDEST_POSTGRES = 140000
# Nothing in the delivery protocol reads a clock, but lag in seconds and people do.
TOLERATED_SKEW_SECONDS = 5.0


class Verdict(str, Enum):
    """``warning`` does not keep the pipeline from working; ``failed`` does."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the examination.

    ``cure`` is empty where nothing is wrong, and where the finding is an error that names it.
    """

    subject: str
    verdict: Verdict
    finding: str
    cure: str = ""


def examine_kafka(
    endpoints: Endpoints,
    streams: Mapping[str, StreamSettings],
    *,
    clock: Callable[[], float] = time.time,
) -> Iterator[Check]:
    """Reachability, then each stream's topic: existence, rights, isolation, time."""
    settings = endpoints.kafka
    where = f"{settings.bootstrap_servers}, named by {endpoints.kafka_named_by}"
    reached = False
    for name, stream in streams.items():
        with closing(
            KafkaInspector(settings, isolation=stream.isolation, client_id="kafka-pg-doctor")
        ) as inspector:
            started = time.monotonic()
            try:
                identity = inspector.fetch_identity(stream.topic)
                cluster = f"cluster {identity.cluster_id}"
            except TopicMissingError:
                cluster = "answers"
            except KafkaUnavailableError as error:
                yield Check("Kafka", Verdict.FAILED, str(error))
                return
            except PipelineError as error:
                yield Check("Kafka", Verdict.FAILED, str(error))
                continue
            if not reached:
                reached = True
                took = time.monotonic() - started
                yield Check("Kafka", Verdict.OK, f"{where}: {cluster}, {took * 1000:.0f} ms")
            yield from _examine_topic(name, stream, inspector, endpoints, clock)


def _examine_topic(
    name: str,
    stream: StreamSettings,
    inspector: KafkaInspector,
    endpoints: Endpoints,
    clock: Callable[[], float],
) -> Iterator[Check]:
    subject = f"topic of {name}"
    try:
        snapshot = inspector.fetch_snapshot(stream.topic)
        readable = _read_one(name, snapshot, stream, endpoints)
    except TopicMissingError as error:
        cure = (
            "`kafka-pg demo` creates the demo's topic; any other is yours to create, or correct "
            "`topic` in the file"
        )
        yield Check(subject, Verdict.FAILED, str(error), cure)
        return
    except PipelineError as error:
        yield Check(subject, Verdict.FAILED, str(error))
        return
    offsets = sum(bounds.end_offset - bounds.begin_offset for bounds in snapshot.partitions)
    blocked = sum(bounds.high_watermark - bounds.end_offset for bounds in snapshot.partitions)
    finding = (
        f"{stream.topic}: {len(snapshot.partitions)} partitions, {offsets:,} offsets, "
        f"{'readable' if readable else 'nothing to read yet'}, {stream.isolation}"
    )
    if blocked:
        finding += f", {blocked:,} offsets behind an open transaction"
    yield Check(subject, Verdict.OK, finding)
    yield from _examine_record_times(subject, stream, inspector, snapshot, clock)


def _read_one(
    name: str, snapshot: TopicSnapshot, stream: StreamSettings, endpoints: Endpoints
) -> bool:
    """Read a record, to see that the right to read is there; False where there is none."""
    open_reader = open_reader_factory(
        endpoints.kafka, isolation=stream.isolation, client_id="kafka-pg-doctor", stream=name
    )
    return bool(read_sample(snapshot, open_reader, most=1))


def _examine_record_times(
    subject: str,
    stream: StreamSettings,
    inspector: KafkaInspector,
    snapshot: TopicSnapshot,
    clock: Callable[[], float],
) -> Iterator[Check]:
    """Kafka tells no time; records from the future show that clocks disagree."""
    future = round((clock() + TOLERATED_SKEW_SECONDS) * 1000)
    try:
        found = inspector.fetch_offsets_at(stream.topic, future)
    except PipelineError as error:
        yield Check(subject, Verdict.FAILED, str(error))
        return
    ahead = [b for b in snapshot.partitions if found.get(b.partition, b.end_offset) < b.end_offset]
    if ahead:
        first = ahead[0]
        yield Check(
            f"clock of {subject}",
            Verdict.WARNING,
            f"{stream.topic}[{first.partition}]@{found[first.partition]} is from the future",
            "set this machine's clock, or those of the producers or the broker (NTP); loading is "
            "exact all the same, lag in seconds is not",
        )


def examine_registry(endpoints: Endpoints) -> Iterator[Check]:
    """Whether the schema registry answers and lets us in; nothing where none is named."""
    settings = endpoints.schema_registry
    if not settings.url:
        return
    started = time.monotonic()
    try:
        with closing(HttpSchemaRegistry(settings)) as registry:
            registry.check()
    except (PipelineError, Rejected) as error:
        yield Check("schema registry", Verdict.FAILED, str(error))
        return
    took = time.monotonic() - started
    yield Check("schema registry", Verdict.OK, f"{settings.url}: answers, {took * 1000:.0f} ms")


def examine_postgres(
    endpoints: Endpoints,
    streams: Mapping[str, StreamSettings],
    *,
    clock: Callable[[], float] = time.time,
) -> Iterator[Check]:
    """Reachability and version, clock, the pipeline's schema, rights, stuck backends."""
    settings = endpoints.postgres
    with closing(Primary(settings, application_name=APPLICATION_NAME)) as primary:
        health = PostgresHealth(primary)
        try:
            started = time.monotonic()
            primary.connection()
            took = time.monotonic() - started
            yield from _examine_server(endpoints, health, clock, took)
            yield from _examine_schema(primary, health)
            for name, stream in streams.items():
                rights = health.fetch_table_rights(TableName.parse(stream.table))
                yield _judge_table(name, stream, rights, settings.user)
            yield _judge_stuck(health.fetch_stuck_backends())
        except PipelineError as error:
            yield Check("PostgreSQL", Verdict.FAILED, str(error))


def examine_stream(endpoints: Endpoints, name: str, stream: StreamSettings) -> Check:
    """Whether the stream's next run could go on from where it stands."""
    subject = f"stream {name}"
    try:
        with open_session(name, stream, endpoints, run_id="doctor", read_only=True) as session:
            snapshot = freeze_plan(name, stream, session.inspector).snapshot
            offsets = sum(map(len, fetch_ranges(session, snapshot)))
            pause = session.fetch_pause()
    except PipelineError as error:
        return Check(subject, Verdict.FAILED, str(error))
    if pause is not None:
        cure = f"`kafka-pg resume {name}`, when what it was paused for is over"
        return Check(subject, Verdict.WARNING, f"{pause}; {offsets:,} offsets to load", cure)
    return Check(subject, Verdict.OK, f"{offsets:,} offsets to load, and nothing in the way")


def fetch_stuck_backends(endpoints: Endpoints) -> tuple[StuckBackend, ...]:
    """Backends of the pipeline that hold others up while their client is silent."""
    with closing(Primary(endpoints.postgres, application_name=APPLICATION_NAME)) as primary:
        return PostgresHealth(primary).fetch_stuck_backends()


def terminate_backend(endpoints: Endpoints, backend: StuckBackend) -> bool:
    """End a stuck backend; False where it had moved on by itself."""
    with closing(Primary(endpoints.postgres, application_name=APPLICATION_NAME)) as primary:
        return PostgresHealth(primary).terminate(backend)


def _examine_server(
    endpoints: Endpoints, health: PostgresHealth, clock: Callable[[], float], took: float
) -> Iterator[Check]:
    settings = endpoints.postgres
    before = clock()
    server = health.fetch_server()
    after = clock()
    where = f"{settings.host}:{settings.port}/{server.database}"
    finding = (
        f"{where}, named by {endpoints.postgres_named_by}: version {server.version}, read-write, "
        f"as {server.role}, {took * 1000:.0f} ms"
    )
    if server.version_number < OLDEST_POSTGRES:
        cure = "PostgreSQL 14 or newer is tested: upgrade the server"
        yield Check("PostgreSQL", Verdict.WARNING, finding, cure)
    else:
        yield Check("PostgreSQL", Verdict.OK, finding)
    skew = _skew(server.now, before, after)
    if skew > TOLERATED_SKEW_SECONDS:
        yield Check(
            "clocks",
            Verdict.WARNING,
            f"this machine and PostgreSQL are {skew:.1f} s apart",
            "set the clocks (NTP); loading is exact all the same, times shown are not",
        )
    else:
        yield Check("clocks", Verdict.OK, f"this machine and PostgreSQL agree within {skew:.1f} s")


def _skew(there: datetime, before: float, after: float) -> float:
    """Seconds by which the other clock lies outside the interval of the question."""
    seconds = there.astimezone(timezone.utc).timestamp()
    return max(0.0, before - seconds, seconds - after)


def _examine_schema(primary: Primary, health: PostgresHealth) -> Iterator[Check]:
    schema, role = primary.settings.schema_name, primary.settings.user
    rights = health.fetch_rights()
    yield _judge_schema(primary, rights, f"schema {schema}", role)
    if not rights.create_temporary:
        yield Check(
            "temporary tables",
            Verdict.WARNING,
            f"role {role!r} may not create them, which tables with a unique index or a trigger "
            "need",
            f"as its owner: GRANT TEMPORARY ON DATABASE {primary.settings.dbname} TO {role}",
        )


def _judge_schema(primary: Primary, rights: PipelineRights, subject: str, role: str) -> Check:
    schema = primary.settings.schema_name
    if rights.use_pipeline_schema is None and not rights.create_schema:
        return Check(
            subject,
            Verdict.FAILED,
            f"it does not exist, and role {role!r} may not create it",
            f"as an administrator: CREATE SCHEMA {schema} AUTHORIZATION {role}",
        )
    if rights.use_pipeline_schema is False or rights.write_pipeline_tables is False:
        return Check(
            subject,
            Verdict.FAILED,
            f"role {role!r} may not write its tables",
            f"as its owner: GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT, INSERT, "
            f"UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
        )
    pending = fetch_pending(primary)
    if pending:
        names = ", ".join(f"{migration.version:04d}" for migration in pending)
        return Check(subject, Verdict.OK, f"the next load brings it up to date ({names})")
    return Check(subject, Verdict.OK, "up to date, and writable")


def _judge_table(name: str, stream: StreamSettings, rights: TableRights, role: str) -> Check:
    subject = f"table of {name}"
    table = TableName.parse(stream.table)
    if not rights.schema_exists:
        return Check(
            subject,
            Verdict.FAILED,
            f"{table}: there is no schema {table.schema!r}",
            f"CREATE SCHEMA {table.schema}, or correct `table` in the file",
        )
    if not rights.use_schema:
        cure = f"as its owner: GRANT USAGE ON SCHEMA {table.schema} TO {role}"
        return Check(subject, Verdict.FAILED, f"{role!r} may not use schema {table.schema!r}", cure)
    if rights.table_exists:
        if rights.insert_rows:
            return Check(subject, Verdict.OK, f"{table}: writable")
        cure = f"as its owner: GRANT INSERT, SELECT ON {table} TO {role}"
        return Check(subject, Verdict.FAILED, f"{role!r} may not write to {table}", cure)
    if not stream.create:
        cure = "create it, or take `create: false` out of the file"
        return Check(subject, Verdict.FAILED, f"{table} does not exist", cure)
    if not rights.create_table:
        cure = f"as its owner: GRANT CREATE ON SCHEMA {table.schema} TO {role}, or create the table"
        return Check(subject, Verdict.FAILED, f"{table} does not exist and may not be made", cure)
    return Check(subject, Verdict.OK, f"{table}: will be created with the first load")


def _judge_stuck(stuck: tuple[StuckBackend, ...]) -> Check:
    if not stuck:
        return Check("locks", Verdict.OK, "no silent loader holds others up")
    first = stuck[0]
    return Check(
        "locks",
        Verdict.FAILED,
        f"{len(stuck)} silent loader(s) hold locks that others wait for; first: backend "
        f"{first.pid} ({first.application_name}), {first.transaction_seconds:.0f} s, "
        f"{first.waiters} waiting",
        "`kafka-pg doctor --release-locks` ends them; their open batch is rolled back and loaded "
        "again by the next run",
    )
