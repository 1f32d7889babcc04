"""How many rejected records a batch may hold before the mapping, not the data, is to blame."""

from dataclasses import dataclass

from kafka_pg_pipeline.domain.batches import EncodedBatch
from kafka_pg_pipeline.errors import DeadLetterBudgetError

# Below this many records a share says nothing: one bad record of three is no pattern.
_SHARE_COUNTS_FROM = 100


@dataclass(frozen=True, slots=True)
class DeadLetterBudget:
    """Limits for one batch: a number, and a share once the batch has 100 records."""

    max_records: int
    max_share: float

    def allowance(self, batch: EncodedBatch) -> int:
        """Rejected records that this batch may hold."""
        return self.allowance_of(sum(piece.visible for piece in batch.slices))

    def allowance_of(self, visible: int) -> int:
        """Rejected records that a batch of so many may hold."""
        if visible < _SHARE_COUNTS_FROM:
            return self.max_records
        return min(self.max_records, int(visible * self.max_share))

    def left(self, batch: EncodedBatch, used: int) -> int:
        """How many more records may be rejected; never below zero."""
        return max(0, self.allowance(batch) - used)

    def check(self, batch: EncodedBatch) -> None:
        """Raise when the batch holds more rejected records than it may.

        Raises:
            DeadLetterBudgetError: naming the first coordinates and reason; nothing is written.

        """
        dead = len(batch.dead_letters)
        allowed = self.allowance(batch)
        if dead <= allowed:
            return
        first = min(batch.dead_letters, key=lambda letter: letter.record.offset)
        where = f"partition {first.record.partition} offset {first.record.offset}"
        column = f", column {first.column!r}" if first.column else ""
        raise DeadLetterBudgetError(
            f"{dead} or more records of one batch were rejected, {allowed} are allowed: the "
            f"mapping is wrong, not the data. The first is {where} ({first.reason.value}{column}). "
            "Nothing was moved; compare the table with `kafka-pg peek`, or raise "
            "dead_letters.max_records and max_share of the stream"
        )
