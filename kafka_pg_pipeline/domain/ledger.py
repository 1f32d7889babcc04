"""What became of every offset of a batch, or the batch is not written."""

from collections import Counter
from collections.abc import Mapping

from kafka_pg_pipeline.domain.batches import BatchCounts, EncodedBatch, LedgerEntry
from kafka_pg_pipeline.errors import InvariantError

_NOTHING = BatchCounts()


def append_entries(batch: EncodedBatch) -> tuple[LedgerEntry, ...]:
    """One ledger line a slice, where every line of the batch is a row.

    Raises:
        InvariantError: rows and dead letters are not the records that were read.

    """
    lines = sum(len(chunk.lines) for chunk in batch.chunks)
    expected = count_lines(batch)
    if lines != sum(expected.values()) or min(expected.values(), default=0) < 0:
        raise InvariantError(
            f"batch {batch.batch_id}: {lines} rows to write, {sum(expected.values())} expected "
            "from the records read"
        )
    return merge_entries(batch, {p: BatchCounts(rows=rows) for p, rows in expected.items()})


def merge_entries(
    batch: EncodedBatch, merged: Mapping[int, BatchCounts]
) -> tuple[LedgerEntry, ...]:
    """One ledger line a slice; ``merged`` says by partition what became of the batch's lines.

    Raises:
        InvariantError: the counts do not add up to the offsets covered.

    """
    dead = _count_dead(batch)
    entries = []
    for piece in batch.slices:
        partition = piece.position.partition
        unread = BatchCounts(dead=dead[partition], absent=len(piece.offsets) - piece.visible)
        settled = batch.settled.get(partition, _NOTHING)
        counts = merged.get(partition, _NOTHING) + settled + unread
        if counts.total != len(piece.offsets):
            raise InvariantError(
                f"batch {batch.batch_id}: {counts.total} offsets of {piece.offsets} are accounted "
                f"for, not {len(piece.offsets)}"
            )
        entries.append(LedgerEntry(batch.batch_id, piece.offsets, counts, piece.record_bytes))
    return tuple(entries)


def count_lines(batch: EncodedBatch) -> Mapping[int, int]:
    """Records of each partition that the batch's lines are made of."""
    dead = _count_dead(batch)
    return {
        piece.position.partition: piece.visible
        - dead[piece.position.partition]
        - batch.settled.get(piece.position.partition, _NOTHING).total
        for piece in batch.slices
    }


def _count_dead(batch: EncodedBatch) -> Counter[int]:
    return Counter(letter.record.partition for letter in batch.dead_letters)
