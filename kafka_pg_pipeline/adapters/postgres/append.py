"""Append: each line of a batch becomes a row, straight into a plain table or through a stage."""

from collections.abc import Sequence

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.adapters.postgres.connection import Transaction
from kafka_pg_pipeline.adapters.postgres.rejects import (
    Rejection,
    Tries,
    copy_context,
    search_chunks,
)
from kafka_pg_pipeline.adapters.postgres.staging import (
    STAGE,
    NumberedChunk,
    copy_lines,
    copy_to_stage,
    create_stage,
    index_stage,
    insert_staged,
    names_of,
    number_chunks,
    target_identifier,
)
from kafka_pg_pipeline.domain.batches import CopyChunk, EncodedBatch, LedgerEntry
from kafka_pg_pipeline.domain.ledger import append_entries
from kafka_pg_pipeline.domain.tables import TargetTable
from kafka_pg_pipeline.errors import TargetError

# With more column lists than this, the stage is read by an index.
_FEW_CHUNKS = 8


class DirectAppend:
    """COPY into the table itself, ahead of the lock: nothing but the table sees the rows arrive."""

    def __init__(self, target: TargetTable) -> None:
        self._target = target
        self._table = target_identifier(target.name)

    def send(self, cursor: Transaction, batch: EncodedBatch) -> None:
        """Copy the rows."""
        failpoints.reach("before_copy")
        for chunk in batch.chunks:
            arrived = copy_lines(cursor, self._table, names_of(chunk.columns), chunk.lines)
            expect_rows(self._target, arrived, len(chunk.lines))
        failpoints.reach("after_copy")

    def land(self, cursor: Transaction, batch: EncodedBatch) -> tuple[LedgerEntry, ...]:  # noqa: ARG002 - the rows are there already
        """Account for the rows, which are there already."""
        return append_entries(batch)

    def find_rejections(
        self, tries: Tries, chunks: Sequence[CopyChunk], most: int
    ) -> list[list[Rejection]]:
        """Rejected lines of each chunk, by the number that COPY gives."""

        def search(numbered: NumberedChunk, left: int) -> list[Rejection]:
            chunk = numbered.chunk
            columns = names_of(chunk.columns)

            def copy(start: int, end: int) -> object:
                return copy_lines(tries.cursor, self._table, columns, chunk.lines[start:end])

            context = copy_context(self._table, chunk.columns)
            return tries.step_over(copy, context, len(chunk.lines), left)

        return search_chunks(number_chunks(chunks), most, search)


class StagedAppend:
    """COPY into a stage, and INSERT from there behind the lock."""

    def __init__(self, target: TargetTable) -> None:
        self._target = target

    def send(self, cursor: Transaction, batch: EncodedBatch) -> None:
        """Stage the rows."""
        # Deferred constraints would otherwise speak up at COMMIT only.
        cursor.defer("SET CONSTRAINTS ALL IMMEDIATE")
        failpoints.reach("before_copy")
        if batch.chunks:
            create_stage(cursor, self._target.name, batch.chunks)
        for numbered in number_chunks(batch.chunks):
            copy_to_stage(cursor, numbered, 0, len(numbered.chunk.lines))
        if len(batch.chunks) > _FEW_CHUNKS:
            index_stage(cursor, batch.chunks)
        failpoints.reach("after_copy")

    def land(self, cursor: Transaction, batch: EncodedBatch) -> tuple[LedgerEntry, ...]:
        """Insert the staged rows."""
        for numbered in number_chunks(batch.chunks):
            lines = len(numbered.chunk.lines)
            arrived = insert_staged(cursor, self._target.name, numbered, 0, lines)
            expect_rows(self._target, arrived, lines)
        return append_entries(batch)

    def find_rejections(
        self, tries: Tries, chunks: Sequence[CopyChunk], most: int
    ) -> list[list[Rejection]]:
        """Rejected lines of each chunk: COPY's by their number, INSERT's by halving."""
        cursor, numbered_chunks = tries.cursor, number_chunks(chunks)
        with tries.limited():
            create_stage(cursor, self._target.name, chunks)
            index_stage(cursor, chunks)

        def search(numbered: NumberedChunk, left: int) -> list[Rejection]:
            def copy(start: int, end: int) -> None:
                copy_to_stage(cursor, numbered, start, end)

            def insert(start: int, end: int) -> object:
                return insert_staged(cursor, self._target.name, numbered, start, end)

            count = len(numbered.chunk.lines)
            context = copy_context(STAGE, numbered.chunk.columns)
            rejected = tries.step_over(copy, context, count, left)
            return rejected + tries.halve_all(insert, count, left - len(rejected))

        return search_chunks(numbered_chunks, most, search)


def expect_rows(target: TargetTable, arrived: int, sent: int) -> None:
    """Insist that the table took all rows.

    Raises:
        TargetError: it did not; nothing is moved.
    """
    if arrived != sent:
        raise TargetError(
            f"{target.name} took {arrived} of {sent} rows: a trigger of the table swallows rows, "
            "which cannot be accounted for. Nothing was moved"
        )
