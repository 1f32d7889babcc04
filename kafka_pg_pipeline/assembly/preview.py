"""What the next run of a stream would do; finds out on a read-only session, and changes nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kafka_pg_pipeline.assembly.overview import (
    fetch_positions,
    fetch_ranges,
    limit_snapshot,
)
from kafka_pg_pipeline.assembly.session import StreamSession, build_budget
from kafka_pg_pipeline.domain.offsets import OffsetRange, TopicSnapshot, was_loaded
from kafka_pg_pipeline.domain.planning import count_blocked
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.domain.tables import Column, TableName, TargetTable
from kafka_pg_pipeline.pipeline.encode import RowEncoder
from kafka_pg_pipeline.pipeline.encode_record import RunContext
from kafka_pg_pipeline.pipeline.fields import LOOKED_AT, look_at_fields
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.pipeline.sample import read_sample
from kafka_pg_pipeline.pipeline.target import describe_foreign, ensure_target
from kafka_pg_pipeline.ports import TargetCatalog


@dataclass(frozen=True)
class RunPreview:
    """What the next run would read and change.

    ``statements`` are those it would run before its first batch. ``sample`` counts the records
    looked at; of them ``rejected`` would become dead letters, by reason, and ``untaken`` names
    the JSON fields that no column takes, with the number of records that have them. ``stop`` says
    why the run would end before its first batch is written, as far as the sample tells.
    """

    stream: str
    topic: str
    table: str
    ranges: tuple[OffsetRange, ...]
    blocked: int
    statements: tuple[str, ...]
    sample: int
    rejected: Mapping[str, int]
    untaken: Mapping[str, int]
    stop: str | None = None

    @property
    def records(self) -> int:
        """Offsets that the run would cover."""
        return sum(len(piece) for piece in self.ranges)


class PreviewCatalog:
    """The target's catalog, which notes what would be created instead of creating it."""

    def __init__(self, session: StreamSession) -> None:
        self._catalog: TargetCatalog = session.catalog
        self._table = TableName.parse(session.stream.table)
        self.created: tuple[Column, ...] | None = None

    def fetch_target(self) -> TargetTable | None:
        """The table as it is."""
        return self._catalog.fetch_target()

    def create_target(self, columns: Sequence[Column]) -> TargetTable:
        """The table as it would be."""
        self.created = tuple(columns)
        return TargetTable(self._table, oid=0, columns=self.created, plain=True)


def preview_run(session: StreamSession) -> RunPreview:
    """What the next run would do with the stream as it stands.

    Raises:
        PipelineError: whatever would stop that run before its first batch.

    """
    snapshot = freeze_plan(session.name, session.stream, session.inspector).snapshot
    ranges = fetch_ranges(session, snapshot)
    catalog = PreviewCatalog(session)
    sample: list[Record] = []
    target: TargetTable | None = None
    if ranges:
        sample = read_sample(
            limit_snapshot(snapshot, {r.partition: r.start_offset for r in ranges}),
            session.open_reader,
        )
        target = preview_target(session, snapshot, catalog)
    rejected = count_rejected(sample, target, session.stream.topic) if target else {}
    return RunPreview(
        stream=session.name,
        topic=session.stream.topic,
        table=session.stream.table,
        ranges=ranges,
        blocked=count_blocked(snapshot),
        statements=_statements(session, catalog),
        sample=len(sample),
        rejected=rejected,
        untaken=look_at_fields(sample, target).untaken if target else {},
        stop=_find_stop(session, sample, target, sum(rejected.values())),
    )


def _find_stop(
    session: StreamSession, sample: Sequence[Record], target: TargetTable | None, rejected: int
) -> str | None:
    allowed = build_budget(session.stream).allowance_of(len(sample))
    if rejected > allowed:
        return f"{rejected:,} of the records looked at would be rejected, {allowed:,} may be"
    if target is None:
        return None
    is_new = not was_loaded(fetch_positions(session))
    if is_new and look_at_fields(sample[:LOOKED_AT], target).is_foreign:
        return describe_foreign(session.name, session.stream)
    return None


def preview_target(
    session: StreamSession, snapshot: TopicSnapshot, catalog: PreviewCatalog
) -> TargetTable:
    """The table that a run would fill, as it is or as it would be created.

    Raises:
        TargetError: see ``ensure_target``.

    """
    target = ensure_target(
        session.name,
        session.stream,
        catalog,
        lambda: read_sample(snapshot, session.open_reader),
        was_loaded=was_loaded(fetch_positions(session)),
    )
    if session.has_state:
        session.positions.check_rivals(target)
    return target


def count_rejected(sample: Sequence[Record], target: TargetTable, topic: str) -> Mapping[str, int]:
    """Records that could not become rows, by reason; PostgreSQL itself is not asked."""
    builder = RowEncoder(target, RunContext(topic)).start_batch()
    builder.add(sample)
    return dict(Counter(letter.reason.value for letter in builder.dead_letters).most_common())


def _statements(session: StreamSession, catalog: PreviewCatalog) -> tuple[str, ...]:
    """What the run would execute before its first batch."""
    statements = [
        f"-- migration {migration.version:04d} ({migration.name}) of the pipeline's own tables"
        for migration in session.pending_migrations
    ]
    if catalog.created is not None:
        statements.append(session.catalog.describe_creation(catalog.created))
    return tuple(statements)
