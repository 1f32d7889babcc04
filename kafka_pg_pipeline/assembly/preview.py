"""What the next run of a stream would do; finds out on a read-only session, and changes nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from psycopg2.sql import Composed

from kafka_pg_pipeline.adapters.postgres.evolution import add_statement, widen_statement
from kafka_pg_pipeline.assembly.overview import (
    fetch_positions,
    fetch_ranges,
    limit_snapshot,
)
from kafka_pg_pipeline.assembly.session import StreamSession, build_budget
from kafka_pg_pipeline.domain.offsets import OffsetRange, TopicSnapshot, was_loaded
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.domain.planning import count_blocked
from kafka_pg_pipeline.domain.record_runs import ListedRecords
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.domain.tables import Column, Evolved, TableName, TargetTable, ValueField
from kafka_pg_pipeline.errors import TargetError
from kafka_pg_pipeline.pipeline.documents import find_documents, read_values
from kafka_pg_pipeline.pipeline.encode import RowEncoder
from kafka_pg_pipeline.pipeline.encode_record import RunContext
from kafka_pg_pipeline.pipeline.infer import make_column, split_document
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.pipeline.sample import read_sample
from kafka_pg_pipeline.pipeline.target import describe_foreign, ensure_target


@dataclass(frozen=True)
class RunPreview:
    """What the next run would read and change.

    ``statements`` are those that it would run for the sake of its first records. ``sample`` counts
    the records looked at; of them ``rejected`` would become dead letters, by reason, and
    ``untaken`` names the JSON fields that no column takes, with the number of records that have
    them. ``stop`` says why the run would end before its first batch is written, as far as the
    sample tells. A ``pause`` keeps the run from all of it.
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
    pause: Pause | None = None

    @property
    def records(self) -> int:
        """Offsets that the run would cover."""
        return sum(len(piece) for piece in self.ranges)


class PreviewCatalog:
    """The target's catalog and its evolution, which note what would be done instead of doing it."""

    def __init__(self, session: StreamSession) -> None:
        self._catalog = session.catalog
        self._target: TargetTable | None = None
        self._table = TableName.parse(session.stream.table)
        self._key = session.stream.key
        self.created = False
        self.statements: list[str] = []

    def fetch_target(self) -> TargetTable | None:
        """The table as it is."""
        self._target = self._catalog.fetch_target()
        return self._target

    def create_target(self, columns: Sequence[Column]) -> TargetTable:
        """The table as it would be."""
        self.created = True
        self.statements.append(self._catalog.text_of(self._catalog.create_statement(columns)))
        self._target = TargetTable(self._table, oid=0, columns=tuple(columns), plain=True)
        return self._target

    def add_columns(self, columns: Sequence[Column]) -> Evolved:
        """The table with columns that it would get."""
        return self._note(add_statement(self._table, columns), (*self._columns, *columns))

    def widen_column(self, name: str, type_name: str) -> Evolved:
        """The table with the type that a column would get."""
        columns = tuple(
            make_column(name, type_name, column.source or ValueField(name), column.unit)
            if column.name == name
            else column
            for column in self._columns
        )
        return self._note(widen_statement(self._table, name, type_name), columns)

    @property
    def _columns(self) -> tuple[Column, ...]:
        return self._target.columns if self._target else ()

    def _note(self, statement: Composed, columns: tuple[Column, ...]) -> Evolved:
        if self._target is None:
            raise TargetError(f"table {self._table} vanished while it was looked at")
        self._target = replace(self._target, columns=columns)
        text = self._catalog.text_of(statement)
        self.statements.append(text)
        return Evolved(self._target, (text,))


@dataclass(frozen=True)
class SampleLook:
    """What would become of a sample; see ``RunPreview``."""

    rejected: Mapping[str, int] = field(default_factory=dict)
    untaken: Mapping[str, int] = field(default_factory=dict)
    stop: str | None = None


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
    look = look_at(sample, target, session, catalog) if target else SampleLook()
    return RunPreview(
        stream=session.name,
        topic=session.stream.topic,
        table=session.stream.table,
        ranges=ranges,
        blocked=count_blocked(snapshot),
        statements=_statements(session, catalog),
        sample=len(sample),
        rejected=look.rejected,
        untaken=look.untaken,
        stop=look.stop,
        pause=session.fetch_pause(),
    )


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
        session.decoders,
        was_loaded=was_loaded(fetch_positions(session)),
    )
    if session.has_state:
        session.positions.check_rivals(target)
    return target


def look_at(
    sample: Sequence[Record], target: TargetTable, session: StreamSession, catalog: PreviewCatalog
) -> SampleLook:
    """Encode the sample as the run would; PostgreSQL itself is not asked."""
    stream = session.stream
    shape = session.shape(catalog)
    if not was_loaded(fetch_positions(session)):
        shape = replace(shape, foreign=describe_foreign(session.name, stream))
    encoder = RowEncoder(target, RunContext(stream.topic), shape)
    builder = encoder.start_batch()
    try:
        builder.add(ListedRecords(sample))
        stop = None
    except TargetError as error:
        stop = str(error)
    rejected = Counter(letter.reason.value for letter in builder.dead_letters)
    allowed = build_budget(stream).allowance_of(len(sample))
    if rejected.total() > allowed:
        stop = (
            f"{rejected.total():,} of the records looked at would be rejected, {allowed:,} may be"
        )
    said = read_values(ListedRecords(sample), session.decoders.value, shape.preparation)
    documents = find_documents(said)
    fields = Counter(name for document in documents for name in split_document(document))
    untaken = {name: number for name, number in fields.most_common() if name in encoder.untaken}
    return SampleLook(dict(rejected.most_common()), untaken, stop)


def _statements(session: StreamSession, catalog: PreviewCatalog) -> tuple[str, ...]:
    """What the run would execute before its first batch."""
    migrations = (
        f"-- migration {migration.version:04d} ({migration.name}) of the pipeline's own tables"
        for migration in session.pending_migrations
    )
    return (*migrations, *catalog.statements)
