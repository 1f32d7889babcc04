"""What a run did, for people and for Dagster's metadata."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from kafka_pg_pipeline.domain.batches import BatchCounts, LedgerEntry
from kafka_pg_pipeline.domain.offsets import OffsetRange


class Outcome(str, Enum):
    """Why a run ended; all of them are successes."""

    END_OF_STREAM = "end_of_stream"
    LIMIT_REACHED = "limit_reached"
    STOPPED = "stopped"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The ledger's account of one run; ``seconds`` is wall-clock time by a monotonic clock.

    ``lag_before`` and ``lag_after`` are offsets against the end that the plan froze.
    """

    stream: str
    topic: str
    table: str
    outcome: Outcome
    entries: tuple[LedgerEntry, ...]
    seconds: float
    lag_before: int
    lag_after: int
    warnings: tuple[str, ...] = ()

    @property
    def counts(self) -> BatchCounts:
        """All batches together."""
        return sum((entry.counts for entry in self.entries), BatchCounts())

    @property
    def record_bytes(self) -> int:
        """Bytes of keys and values read."""
        return sum(entry.record_bytes for entry in self.entries)

    @property
    def batches(self) -> int:
        """Transactions committed."""
        return len({entry.batch_id for entry in self.entries})

    @property
    def rows_per_second(self) -> float:
        """Rows landed by seconds taken; 0 where nothing landed."""
        return self.counts.rows / self.seconds if self.seconds and self.counts.rows else 0.0

    @property
    def ranges(self) -> tuple[OffsetRange, ...]:
        """What was covered, one range a partition."""
        return merge_ranges(entry.offsets for entry in self.entries)


def merge_ranges(ranges: Iterable[OffsetRange]) -> tuple[OffsetRange, ...]:
    """One range a partition over consecutive ranges, ascending by partition."""
    merged: dict[int, OffsetRange] = {}
    for piece in ranges:
        before = merged.get(piece.partition, piece)
        merged[piece.partition] = OffsetRange(
            piece.partition,
            min(before.start_offset, piece.start_offset),
            max(before.end_offset, piece.end_offset),
        )
    return tuple(merged[partition] for partition in sorted(merged))
