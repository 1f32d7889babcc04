"""What a run did, for people and for Dagster's metadata."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from kafka_pg_pipeline.domain.batches import BatchCounts, LedgerEntry
from kafka_pg_pipeline.domain.offsets import OffsetRange
from kafka_pg_pipeline.domain.pauses import Pause


class Outcome(str, Enum):
    """Why a run ended; all of them are successes."""

    END_OF_STREAM = "end_of_stream"
    LIMIT_REACHED = "limit_reached"
    STOPPED = "stopped"
    FENCED = "fenced"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class PartitionTotals:
    """What a run covered of one partition: its batches together, from the first to the last."""

    offsets: OffsetRange
    counts: BatchCounts
    record_bytes: int


def add_entries(
    totals: Iterable[PartitionTotals], entries: Iterable[LedgerEntry]
) -> tuple[PartitionTotals, ...]:
    """The totals with more lines of the ledger, one a partition, ascending."""
    merged = {total.offsets.partition: total for total in totals}
    for entry in entries:
        known = merged.get(entry.offsets.partition)
        start = entry.offsets if known is None else known.offsets
        merged[entry.offsets.partition] = PartitionTotals(
            OffsetRange(
                entry.offsets.partition,
                min(start.start_offset, entry.offsets.start_offset),
                max(start.end_offset, entry.offsets.end_offset),
            ),
            entry.counts + (known.counts if known else BatchCounts()),
            entry.record_bytes + (known.record_bytes if known else 0),
        )
    return tuple(merged[partition] for partition in sorted(merged))


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The ledger's account of one run; ``seconds`` is wall-clock time by a monotonic clock.

    ``batches`` counts transactions. ``lag_before`` and ``lag_after`` are offsets against the end
    that the plan froze. ``untaken_fields`` counts the fields that no column takes; ``changes`` are
    the statements that changed the table. ``pause`` is set where somebody paused the stream.
    """

    stream: str
    topic: str
    table: str
    outcome: Outcome
    partitions: tuple[PartitionTotals, ...]
    batches: int
    seconds: float
    lag_before: int
    lag_after: int
    untaken_fields: int = 0
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    pause: Pause | None = None

    @property
    def counts(self) -> BatchCounts:
        """All batches together."""
        return sum((total.counts for total in self.partitions), BatchCounts())

    @property
    def record_bytes(self) -> int:
        """Bytes of keys, values and headers read."""
        return sum(total.record_bytes for total in self.partitions)

    @property
    def covered(self) -> int:
        """Offsets accounted for."""
        return self.counts.total

    @property
    def rows_per_second(self) -> float:
        """Rows landed by seconds taken; 0 where nothing landed."""
        return self.counts.rows / self.seconds if self.seconds and self.counts.rows else 0.0

    def with_totals(self, partitions: tuple[PartitionTotals, ...], batches: int) -> "LoadReport":
        """The report with what earlier attempts of the same run had loaded already."""
        report = replace(self, partitions=partitions, batches=batches)
        return replace(report, lag_before=max(self.lag_before, self.lag_after + report.covered))
