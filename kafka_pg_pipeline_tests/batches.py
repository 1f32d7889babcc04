"""Encoded batches for tests of what is done with them."""

from dataclasses import dataclass
from uuid import UUID

from kafka_pg_pipeline.domain.batches import CopyChunk, EncodedBatch, PartitionSlice
from kafka_pg_pipeline.domain.copy_text import TextLines
from kafka_pg_pipeline.domain.offsets import Position, TopicIdentity
from kafka_pg_pipeline.domain.record_runs import ListedRecords
from kafka_pg_pipeline.domain.records import DeadLetter, Reason, Stage


@dataclass(frozen=True)
class PlainRecord:
    """A record of a log, as a reader hands it out."""

    offset: int = 0
    partition: int = 0
    timestamp: int = 0
    timestamp_type: int = 0
    key: bytes | None = None
    value: bytes | None = b"{}"
    headers: tuple[tuple[str, bytes | None], ...] = ()


def slice_of(start: int, end: int, *, visible: int, partition: int = 0) -> PartitionSlice:
    position = Position(
        partition, TopicIdentity("c", "t"), incarnation=1, epoch=1, next_offset=start
    )
    return PartitionSlice(position, end, visible, record_bytes=10, tail=None)


def letter_of(offset: int, *, partition: int = 0, column: str | None = None) -> DeadLetter:
    record = PlainRecord(offset, partition)
    return DeadLetter(record, Stage.ENCODE, Reason.WRONG_TYPE, column)


def batch_of(
    *slices: PartitionSlice, lines: int, dead_letters: tuple[DeadLetter, ...] = ()
) -> EncodedBatch:
    records = ListedRecords(PlainRecord(offset) for offset in range(lines))
    chunk = CopyChunk(("id",), TextLines(["1"] * lines), records)
    return EncodedBatch(UUID(int=1), slices, (chunk,) if lines else (), dead_letters)
