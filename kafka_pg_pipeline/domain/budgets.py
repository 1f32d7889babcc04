"""How many records may be rejected before the mapping, not the data, is to blame."""

from dataclasses import dataclass

from kafka_pg_pipeline.domain.batches import EncodedBatch
from kafka_pg_pipeline.errors import DeadLetterBudgetError

# Below this many records a share says nothing: one bad record of three is no pattern.
_SHARE_COUNTS_FROM = 100


@dataclass(frozen=True, slots=True)
class DeadLetterBudget:
    """Limits for a batch, a number and a share once it has 100 records; and for a whole run.

    ``stream`` is the word for the stream in the commands that a message names.
    """

    max_records: int
    max_share: float
    max_run_records: int
    stream: str = "STREAM"

    def allowance(self, batch: EncodedBatch) -> int:
        """Rejected records that this batch may hold."""
        return min(self._batch_allowance(batch), self._left_of_run(batch))

    def allowance_of(self, visible: int) -> int:
        """Rejected records that the first batch of a run may hold, of so many records."""
        return min(self._share_of(visible), self.max_run_records)

    def left(self, batch: EncodedBatch, used: int) -> int:
        """How many more records may be rejected; never below zero."""
        return max(0, self.allowance(batch) - used)

    def check(self, batch: EncodedBatch) -> None:
        """Raise when the batch, or its run with it, holds more rejected records than it may.

        Raises:
            DeadLetterBudgetError: naming the first coordinates and reason; nothing is written.

        """
        dead = len(batch.dead_letters)
        if dead <= self.allowance(batch):
            return
        if dead > self._batch_allowance(batch):
            raise DeadLetterBudgetError(self._describe_batch(batch))
        raise DeadLetterBudgetError(self._describe_run(batch))

    def _batch_allowance(self, batch: EncodedBatch) -> int:
        return self._share_of(sum(piece.visible for piece in batch.slices))

    def _left_of_run(self, batch: EncodedBatch) -> int:
        return max(0, self.max_run_records - batch.rejected_before)

    def _share_of(self, visible: int) -> int:
        if visible < _SHARE_COUNTS_FROM:
            return self.max_records
        return min(self.max_records, int(visible * self.max_share))

    def _describe_batch(self, batch: EncodedBatch) -> str:
        return (
            f"{len(batch.dead_letters)} or more records of one batch were rejected, "
            f"{self._batch_allowance(batch)} are allowed: the mapping is wrong, not the data. "
            f"The first is {_first_rejected(batch)}. Nothing was moved; compare the table with "
            f"`kafka-pg peek {self.stream}`, or raise dead_letters.max_records and max_share of "
            "the stream"
        )

    def _describe_run(self, batch: EncodedBatch) -> str:
        return (
            f"{batch.rejected_before + len(batch.dead_letters)} or more records of one run were "
            f"rejected, {self.max_run_records} are allowed: the mapping is wrong, not the data. "
            f"The first of this batch, which was not written, is {_first_rejected(batch)}. "
            f"The run's earlier batches stay, with {batch.rejected_before} dead letters; see "
            f"`kafka-pg dead-letters list {self.stream}`, or raise dead_letters.max_run_records of "
            "the stream"
        )


def _first_rejected(batch: EncodedBatch) -> str:
    first = min(batch.dead_letters, key=lambda letter: letter.record.offset)
    where = f"partition {first.record.partition} offset {first.record.offset}"
    column = f", column {first.column!r}" if first.column else ""
    return f"{where} ({first.reason.value}{column})"
