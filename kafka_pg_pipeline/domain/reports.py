"""What a run did, for people and for Dagster's metadata."""

from collections.abc import Iterable, Sequence
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
    more = (PartitionTotals(line.offsets, line.counts, line.record_bytes) for line in entries)
    return _join_totals(totals, more)


def _join_totals(
    totals: Iterable[PartitionTotals], more: Iterable[PartitionTotals]
) -> tuple[PartitionTotals, ...]:
    merged = {total.offsets.partition: total for total in totals}
    for total in more:
        partition = total.offsets.partition
        known = merged.get(partition, PartitionTotals(total.offsets, BatchCounts(), 0))
        merged[partition] = PartitionTotals(
            OffsetRange(
                partition,
                min(known.offsets.start_offset, total.offsets.start_offset),
                max(known.offsets.end_offset, total.offsets.end_offset),
            ),
            known.counts + total.counts,
            known.record_bytes + total.record_bytes,
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


def join_reports(first: LoadReport, later: LoadReport) -> LoadReport:
    """Two loads of one stream, one after the other, as one; the later one says how it ended."""
    return replace(
        later,
        partitions=_join_totals(first.partitions, later.partitions),
        batches=first.batches + later.batches,
        seconds=first.seconds + later.seconds,
        lag_before=first.lag_before,
        untaken_fields=max(first.untaken_fields, later.untaken_fields),
        changes=first.changes + later.changes,
        warnings=first.warnings + later.warnings,
    )


# A load ended as that lane of it did which comes first here.
_LANES_END = (
    Outcome.PAUSED,
    Outcome.STOPPED,
    Outcome.LIMIT_REACHED,
    Outcome.FENCED,
    Outcome.END_OF_STREAM,
)


def sum_lanes(lanes: Sequence[LoadReport], seconds: float) -> LoadReport:
    """Loads of disjoint partitions, side by side for ``seconds`` in all, as one; at least one."""
    return replace(
        lanes[0],
        outcome=min((lane.outcome for lane in lanes), key=_LANES_END.index),
        partitions=_join_totals((), (total for lane in lanes for total in lane.partitions)),
        batches=sum(lane.batches for lane in lanes),
        seconds=seconds,
        lag_before=sum(lane.lag_before for lane in lanes),
        lag_after=sum(lane.lag_after for lane in lanes),
        untaken_fields=max(lane.untaken_fields for lane in lanes),
        changes=tuple(change for lane in lanes for change in lane.changes),
        warnings=tuple(dict.fromkeys(warning for lane in lanes for warning in lane.warnings)),
        pause=next((lane.pause for lane in lanes if lane.pause is not None), None),
    )
