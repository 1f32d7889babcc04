"""The positions that a batch continues: locked, compared and moved; and its ledger entries.

A batch may only land where its stream stands: whoever moved a position since the batch was planned
has fenced it, and it changes nothing. The server judges that by itself, so that nobody waits for
the answer before the rows follow.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import psycopg2.errors

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.adapters.postgres.connection import Cursor, Statements, Transaction
from kafka_pg_pipeline.domain.batches import (
    BatchCounts,
    EncodedBatch,
    LedgerEntry,
    PartitionSlice,
)

_COUNTS = tuple(field.name for field in fields(BatchCounts))


class Fenced(Exception):  # noqa: N818 - an outcome, not an error
    """Another loader moved a position of this batch first."""


class BatchPositions:
    """The positions of one stream on one topic, as a batch finds and leaves them.

    ``identity`` is the stream and its topic, ``origin`` the run and the loader for the ledger.
    """

    def __init__(
        self, schema_name: str, identity: Mapping[str, str], origin: Mapping[str, str]
    ) -> None:
        self._refusals = [(schema_name, table, "next_offset") for table in ("state", "ledger")]
        self._statements = Statements("positions", schema_name)
        self._identity = identity
        self._origin = origin

    def claim(self, cursor: Transaction, batch: EncodedBatch, behind: Sequence[int] = ()) -> None:
        """Lock the positions in order and move them, with what is executed next.

        That fails where they are not what the batch continues; see ``fenced``. It waits for
        whoever has locked them, or those of the partitions that the batch comes ``behind``.
        """
        failpoints.reach("before_lock")
        partitions = sorted({*partitions_of(batch), *behind})
        cursor.defer(
            self._statements["lock_positions"], {**self._identity, "partitions": partitions}
        )
        cursor.defer(self._statements["claim"], {**self._identity, **_moves_of(batch.slices)})

    def have_moved(self, cursor: Cursor, batch: EncodedBatch) -> bool:
        """Whether a rival moved one; to be asked without a lock."""
        cursor.execute(
            self._statements["read_expected_positions"],
            {**self._identity, "partitions": partitions_of(batch)},
        )
        return cursor.fetchall() != _expected(batch)

    def store_gaps(self, cursor: Cursor, batch: EncodedBatch) -> None:
        """Note the ranges that were gone before they could be read."""
        gaps = [(piece.position, piece.gap_end) for piece in batch.slices if piece.gap_end]
        cursor.execute(
            self._statements["insert_gaps"],
            {
                **self._identity,
                "batch_id": str(batch.batch_id),
                "partitions": [position.partition for position, _ in gaps],
                "incarnations": [position.incarnation for position, _ in gaps],
                "epochs": [position.epoch for position, _ in gaps],
                "start_offsets": [position.next_offset for position, _ in gaps],
                "end_offsets": [gap_end for _, gap_end in gaps],
            },
        )

    def record(
        self, cursor: Transaction, batch: EncodedBatch, entries: tuple[LedgerEntry, ...]
    ) -> None:
        """Write the ledger, with what is executed next.

        That fails where a position of the batch is not there.
        """
        cursor.defer(
            self._statements["record"],
            {
                **self._identity,
                **self._origin,
                "batch_id": str(batch.batch_id),
                **_lines_of(batch.slices, entries),
            },
        )

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """Around what is executed with a claim or a record.

        Raises:
            Fenced: another loader moved a position first.
        """
        try:
            yield
        except psycopg2.errors.NotNullViolation as error:
            refused = error.diag.schema_name, error.diag.table_name, error.diag.column_name
            if refused not in self._refusals:
                raise
            raise Fenced from None


def partitions_of(batch: EncodedBatch) -> list[int]:
    """The partitions that a batch moves."""
    return [piece.position.partition for piece in batch.slices]


def _expected(batch: EncodedBatch) -> list[tuple[int, int, int, str | None]]:
    return [
        (
            piece.position.partition,
            piece.position.next_offset,
            piece.position.epoch,
            piece.position.identity.topic_id,
        )
        for piece in batch.slices
    ]


def _starts_of(slices: tuple[PartitionSlice, ...]) -> dict[str, list[Any]]:
    return {
        "partitions": [piece.position.partition for piece in slices],
        "start_offsets": [piece.position.next_offset for piece in slices],
        "epochs": [piece.position.epoch for piece in slices],
    }


def _moves_of(slices: tuple[PartitionSlice, ...]) -> dict[str, list[Any]]:
    tails = [piece.tail for piece in slices]
    return {
        **_starts_of(slices),
        "next_offsets": [piece.next_offset for piece in slices],
        "topic_ids": [piece.position.identity.topic_id for piece in slices],
        "tail_offsets": [tail.offset if tail else None for tail in tails],
        "tail_timestamps": [tail.timestamp if tail else None for tail in tails],
        "tail_digests": [tail.digest if tail else None for tail in tails],
    }


def _lines_of(
    slices: tuple[PartitionSlice, ...], entries: tuple[LedgerEntry, ...]
) -> dict[str, list[Any]]:
    return {
        **_starts_of(slices),
        "incarnations": [piece.position.incarnation for piece in slices],
        **{name: [getattr(entry.counts, name) for entry in entries] for name in _COUNTS},
        "record_bytes": [entry.record_bytes for entry in entries],
    }
