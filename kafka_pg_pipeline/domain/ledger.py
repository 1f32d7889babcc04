"""What became of every offset of a batch, or the batch is not written."""

from collections import Counter

from kafka_pg_pipeline.domain.batches import (
    BatchCounts,
    EncodedBatch,
    LedgerEntry,
    PartitionSlice,
)
from kafka_pg_pipeline.errors import InvariantError


def ledger_entries(batch: EncodedBatch) -> tuple[LedgerEntry, ...]:
    """One ledger line a slice; the counts add up to the offsets covered, or nothing is written.

    Raises:
        InvariantError: rows and dead letters are not the records that were read.

    """
    dead = Counter(letter.record.partition for letter in batch.dead_letters)
    entries = tuple(_entry(batch, piece, dead[piece.position.partition]) for piece in batch.slices)
    rows = sum(entry.counts.rows for entry in entries)
    lines = sum(len(chunk.lines) for chunk in batch.chunks)
    if rows != lines or any(entry.counts.total != len(entry.offsets) for entry in entries):
        raise InvariantError(
            f"batch {batch.batch_id}: {lines} rows to write, {rows} expected from the records read"
        )
    return entries


def _entry(batch: EncodedBatch, piece: PartitionSlice, dead: int) -> LedgerEntry:
    counts = BatchCounts(
        rows=piece.visible - dead, dead=dead, absent=len(piece.offsets) - piece.visible
    )
    return LedgerEntry(batch.batch_id, piece.offsets, counts, piece.record_bytes)
