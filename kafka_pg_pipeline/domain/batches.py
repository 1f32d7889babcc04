"""One micro-batch between encoding and writing, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from uuid import UUID

from kafka_pg_pipeline.domain.copy_text import CopyLines
from kafka_pg_pipeline.domain.documents import Change
from kafka_pg_pipeline.domain.offsets import OffsetRange, Position, Tail
from kafka_pg_pipeline.domain.record_runs import RecordRun
from kafka_pg_pipeline.domain.records import DeadLetter


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """What became of the offsets of one range; together they are exactly the range's length.

    ``superseded``: an older record of the same key in the batch. ``ignored``: no effect under the
    stream's mode. ``absent``: offsets without a visible record (compacted, control, aborted, gap).
    """

    rows: int = 0
    superseded: int = 0
    ignored: int = 0
    deleted: int = 0
    dead: int = 0
    filtered: int = 0
    absent: int = 0

    @property
    def total(self) -> int:
        """Offsets accounted for."""
        return (
            self.rows
            + self.superseded
            + self.ignored
            + self.deleted
            + self.dead
            + self.filtered
            + self.absent
        )

    def __add__(self, other: "BatchCounts") -> "BatchCounts":
        return BatchCounts(
            self.rows + other.rows,
            self.superseded + other.superseded,
            self.ignored + other.ignored,
            self.deleted + other.deleted,
            self.dead + other.dead,
            self.filtered + other.filtered,
            self.absent + other.absent,
        )


@dataclass(frozen=True, slots=True)
class CopyChunk:
    """Lines for COPY, and one list of columns.

    ``records[i]`` is the record that line ``i + 1`` was made from, so that a line that PostgreSQL
    rejects leads back to its record. Where ``change`` is DELETE, ``columns`` are those of the key.
    """

    columns: tuple[str, ...]
    lines: CopyLines
    records: RecordRun
    change: Change = Change.WRITE


@dataclass(frozen=True, slots=True)
class PartitionSlice:
    """What one batch covers of one partition.

    ``position`` is the state that the slice continues, its compare-and-swap expectation.
    ``gap_end`` is set where retention had removed [position.next_offset, gap_end).
    ``visible`` counts the records that the reader returned in the range.
    """

    position: Position
    next_offset: int
    visible: int
    record_bytes: int
    tail: Tail | None
    gap_end: int | None = None

    @property
    def offsets(self) -> OffsetRange:
        """The range that the slice covers, its gap included."""
        return OffsetRange(self.position.partition, self.position.next_offset, self.next_offset)


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """A batch ready to be written: one slice a partition (ascending), rows, rejected records.

    ``settled`` counts by partition the records that need no writing: filtered, without effect, or
    overtaken by a truncate. ``truncates`` says that the table is emptied before the rows.
    ``rejected_before`` counts the dead letters that its run has committed before.
    """

    batch_id: UUID
    slices: tuple[PartitionSlice, ...]
    chunks: tuple[CopyChunk, ...]
    dead_letters: tuple[DeadLetter, ...] = ()
    settled: Mapping[int, BatchCounts] = field(default_factory=dict)
    truncates: bool = False
    rejected_before: int = 0

    @property
    def visible(self) -> int:
        """How many records it was made of."""
        return sum(piece.visible for piece in self.slices)


class WriteStatus(str, Enum):
    """COMMITTED: the batch is durable. FENCED: another loader moved first; nothing changed."""

    COMMITTED = "committed"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One partition's line in the ledger, as committed."""

    batch_id: UUID
    offsets: OffsetRange
    counts: BatchCounts
    record_bytes: int


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What one attempt to write a batch did.

    ``entries`` is empty unless it committed; ``seconds`` is how long its transaction was at work.
    """

    status: WriteStatus
    entries: tuple[LedgerEntry, ...] = ()
    seconds: float = 0.0
