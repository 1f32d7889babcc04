"""Records as they would land in the table: read, decoded and encoded, written nowhere."""

from collections.abc import Mapping
from dataclasses import dataclass

from kafka_pg_pipeline.assembly.overview import fetch_next_offsets, limit_snapshot
from kafka_pg_pipeline.assembly.preview import PreviewCatalog, preview_target
from kafka_pg_pipeline.assembly.session import StreamSession
from kafka_pg_pipeline.domain.offsets import PartitionBounds, TopicSnapshot
from kafka_pg_pipeline.domain.record_runs import ListedRecords
from kafka_pg_pipeline.domain.records import DeadLetter, Record
from kafka_pg_pipeline.domain.tables import ColumnKind, TargetTable
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.pipeline.encode import RowEncoder
from kafka_pg_pipeline.pipeline.encode_record import RunContext
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.pipeline.sample import read_sample

_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True)
class PeekedRecord:
    """One record: ``row`` as PostgreSQL would be given it, or why there would be none.

    ``size_bytes`` is that of key and value; ``row`` maps columns to their text, None to NULL.
    """

    partition: int
    offset: int
    timestamp: int
    size_bytes: int
    row: Mapping[str, str | None] | None
    rejected: str | None = None


@dataclass(frozen=True)
class Peek:
    """Records of a stream's topic; ``unread`` says whether the next run would read them."""

    stream: str
    topic: str
    table: str
    table_exists: bool
    unread: bool
    records: tuple[PeekedRecord, ...]


def peek_records(
    session: StreamSession, *, partition: int | None, offset: int | None, count: int
) -> Peek:
    """Up to ``count`` records: from ``offset``, else the next unread ones, else the newest.

    Raises:
        ConfigurationError: there is no such partition, or the offset is not in the log.
        PipelineError: Kafka or PostgreSQL could not be asked, or no table can be made.

    """
    snapshot = freeze_plan(session.name, session.stream, session.inspector).snapshot
    chosen = _choose(snapshot, partition)
    wanted, unread = _choose_offsets(session, chosen, offset, count)
    share = -(-count // max(1, len(wanted.partitions)))
    sample = read_sample(
        wanted, session.open_reader, most=max(1, share) * max(1, len(wanted.partitions))
    )
    catalog = PreviewCatalog(session)
    records: tuple[PeekedRecord, ...] = ()
    if sample:
        target = preview_target(session, snapshot, catalog)
        sample.sort(key=lambda record: (record.partition, record.offset))
        encoder = RowEncoder(target, RunContext(session.stream.topic), session.shape(catalog))
        records = encode_records(sample[:count], target, encoder)
    return Peek(
        stream=session.name,
        topic=session.stream.topic,
        table=session.stream.table,
        table_exists=not catalog.created,
        unread=unread,
        records=records,
    )


def encode_records(
    sample: list[Record], target: TargetTable, encoder: RowEncoder
) -> tuple[PeekedRecord, ...]:
    """Encode records one by one, as the loader does, and take the rows apart again."""
    booleans = {c.name for c in target.columns if c.kind is ColumnKind.BOOLEAN}
    found = []
    for record in sample:
        builder = encoder.start_batch()
        builder.add(ListedRecords([record]))
        rows = [
            parse_line(chunk.columns, line, booleans)
            for chunk in builder.chunks()
            for line in chunk.lines
        ]
        found.append(
            PeekedRecord(
                partition=record.partition,
                offset=record.offset,
                timestamp=record.timestamp,
                size_bytes=len(record.key or b"") + len(record.value or b""),
                row=rows[0] if rows else None,
                rejected=describe_rejection(builder.dead_letters[0])
                if builder.dead_letters
                else None,
            )
        )
    return tuple(found)


def parse_line(columns: tuple[str, ...], line: str, booleans: set[str]) -> dict[str, str | None]:
    """A COPY line by column. ``True`` is ``true``: which of them stands there says nothing."""
    row = dict(zip(columns, map(parse_field, line.split("\t")), strict=True))
    return {name: text.lower() if text and name in booleans else text for name, text in row.items()}


def parse_field(text: str) -> str | None:
    """One field of a line in PostgreSQL's COPY text format, as the server reads it."""
    if text == r"\N":
        return None
    pieces = iter(text)
    return "".join(
        _ESCAPES.get(escaped := next(pieces), escaped) if piece == "\\" else piece
        for piece in pieces
    )


def describe_rejection(letter: DeadLetter) -> str:
    """Reason and column of a rejected record."""
    return letter.reason.value + (f" (column {letter.column!r})" if letter.column else "")


def _choose(snapshot: TopicSnapshot, partition: int | None) -> TopicSnapshot:
    if partition is None:
        return snapshot
    bounds = snapshot.bounds(partition)
    if bounds is None:
        raise ConfigurationError(
            f"{snapshot.topic} has no partition {partition}: it has {len(snapshot.partitions)}, "
            "counted from 0"
        )
    return limit_snapshot(snapshot, {partition: bounds.begin_offset})


def _choose_offsets(
    session: StreamSession, chosen: TopicSnapshot, offset: int | None, count: int
) -> tuple[TopicSnapshot, bool]:
    """The records to look at, and whether they are unread."""
    next_offsets = fetch_next_offsets(session, chosen)
    if offset is not None:
        for bounds in chosen.partitions:
            _check_offset(chosen.topic, bounds, offset)
        begin = {bounds.partition: offset for bounds in chosen.partitions}
        unread = all(offset >= next_offsets.get(number, 0) for number in begin)
        return limit_snapshot(chosen, begin), unread
    begin = {b.partition: next_offsets.get(b.partition, b.begin_offset) for b in chosen.partitions}
    if any(bounds.end_offset > begin[bounds.partition] for bounds in chosen.partitions):
        unread_only = {
            b.partition: begin[b.partition]
            for b in chosen.partitions
            if b.end_offset > begin[b.partition]
        }
        return limit_snapshot(chosen, unread_only), True
    share = -(-count // max(1, len(chosen.partitions)))
    newest = {b.partition: max(b.begin_offset, b.end_offset - share) for b in chosen.partitions}
    return limit_snapshot(chosen, newest), False


def _check_offset(topic: str, bounds: PartitionBounds, offset: int) -> None:
    if not bounds.begin_offset <= offset < max(bounds.end_offset, bounds.begin_offset + 1):
        raise ConfigurationError(
            f"offset {offset} is not in the log: {topic}[{bounds.partition}] holds offsets "
            f"{bounds.begin_offset} to {bounds.end_offset - 1}"
            if bounds.end_offset > bounds.begin_offset
            else f"{topic}[{bounds.partition}] is empty: it has no offset {offset}"
        )
