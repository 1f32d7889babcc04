"""The ways of a batch's rows into the table, one of which each writer takes."""

from collections.abc import Sequence
from typing import Protocol

from kafka_pg_pipeline.adapters.postgres.append import DirectAppend, StagedAppend
from kafka_pg_pipeline.adapters.postgres.connection import Transaction
from kafka_pg_pipeline.adapters.postgres.merge import Merge
from kafka_pg_pipeline.adapters.postgres.rejects import Rejection, Tries
from kafka_pg_pipeline.domain.batches import CopyChunk, EncodedBatch, LedgerEntry
from kafka_pg_pipeline.domain.modes import Mode, WriteMode
from kafka_pg_pipeline.domain.tables import TargetTable


class RowPath(Protocol):
    """The part of a batch's transaction that concerns the target table."""

    def send(self, cursor: Transaction, batch: EncodedBatch) -> None:
        """All that needs the client's bytes; the positions are not locked yet."""

    def land(self, cursor: Transaction, batch: EncodedBatch) -> tuple[LedgerEntry, ...]:
        """All that follows the lock, on the server alone; returns what became of each offset."""

    def find_rejections(
        self, tries: Tries, chunks: Sequence[CopyChunk], most: int
    ) -> list[list[Rejection]]:
        """Lines of each chunk that only PostgreSQL rejects, in a transaction to be rolled back.

        Ascending; the search ends early once there are more than ``most``.

        Raises:
            psycopg2.Error: an error that is no row's fault.
        """


def choose_path(target: TargetTable, mode: WriteMode) -> RowPath:
    """The path for a table and a mode: the shortest that is safe."""
    if mode.mode is not Mode.APPEND:
        return Merge(target, mode)
    return DirectAppend(target) if target.plain else StagedAppend(target)
