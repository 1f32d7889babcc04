"""What the next run of a stream would do; finds out on a read-only session, and changes nothing."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kafka_pg_pipeline.assembly.overview import (
    fetch_positions,
    fetch_ranges,
    limit_snapshot,
)
from kafka_pg_pipeline.assembly.session import StreamSession
from kafka_pg_pipeline.domain.offsets import OffsetRange, TopicSnapshot
from kafka_pg_pipeline.domain.planning import count_blocked
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.domain.tables import Column, TableName, TargetTable
from kafka_pg_pipeline.pipeline.encode import RowEncoder
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.pipeline.sample import read_sample
from kafka_pg_pipeline.pipeline.target import ensure_target
from kafka_pg_pipeline.ports import TargetCatalog


@dataclass(frozen=True)
class RunPreview:
    """What the next run would read and change.

    ``statements`` are those it would run before its first batch. ``sample`` counts the records
    looked at; of them ``rejected`` would become dead letters, by reason, and ``untaken`` names
    the JSON fields that no column takes, with the number of records that have them.
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
    return RunPreview(
        stream=session.name,
        topic=session.stream.topic,
        table=session.stream.table,
        ranges=ranges,
        blocked=count_blocked(snapshot),
        statements=_statements(session, catalog),
        sample=len(sample),
        rejected=count_rejected(sample, target, session.stream.topic) if target else {},
        untaken=count_untaken(sample, target) if target else {},
    )


def preview_target(
    session: StreamSession, snapshot: TopicSnapshot, catalog: PreviewCatalog
) -> TargetTable:
    """The table that a run would fill, as it is or as it would be created.

    Raises:
        TargetError: see ``ensure_target``.

    """
    return ensure_target(
        session.stream,
        catalog,
        lambda: read_sample(snapshot, session.open_reader),
        was_loaded=any(position.tail is not None for position in fetch_positions(session)),
    )


def count_rejected(sample: Sequence[Record], target: TargetTable, topic: str) -> Mapping[str, int]:
    """Records that could not become rows, by reason; PostgreSQL itself is not asked."""
    builder = RowEncoder(target, topic=topic).start_batch()
    builder.add(sample)
    return dict(Counter(letter.reason.value for letter in builder.dead_letters).most_common())


def count_untaken(sample: Sequence[Record], target: TargetTable) -> Mapping[str, int]:
    """JSON fields that no column takes, with the number of records that have them."""
    taken = {column.field for column in target.columns if column.field is not None}
    found: Counter[str] = Counter()
    for record in sample:
        found.update(name for name in _fields(record.value) if name not in taken)
    return dict(found.most_common())


def _fields(value: bytes | None) -> Sequence[str]:
    try:
        document = json.loads(value or b"")
    except (ValueError, RecursionError):
        return ()
    return tuple(document) if isinstance(document, dict) else ()


def _statements(session: StreamSession, catalog: PreviewCatalog) -> tuple[str, ...]:
    """What the run would execute before its first batch."""
    statements = [
        f"-- migration {migration.version:04d} ({migration.name}) of the pipeline's own tables"
        for migration in session.pending_migrations
    ]
    if catalog.created is not None:
        statements.append(session.catalog.describe_creation(catalog.created))
    return tuple(statements)
