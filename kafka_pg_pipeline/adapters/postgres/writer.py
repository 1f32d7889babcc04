"""Writes one batch in one transaction: rows, dead letters, gaps, ledger and positions.

The order of the statements is the protocol (delivery.md 0 and 7.1): the client's bytes are sent
before the positions are locked, so that a loader which freezes in the middle of COPY keeps nobody
waiting; what follows the lock runs on the server alone. The rows of the next batch are sent over
a second connection while the first one lands; its positions are locked after the first COMMIT.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, fields, replace
from typing import Any
from uuid import UUID

import psycopg2
from psycopg2.errorcodes import UNIQUE_VIOLATION

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.adapters.postgres import errors
from kafka_pg_pipeline.adapters.postgres.commit import (
    CommitOutcomeLost,
    OutcomeResolver,
    commit,
)
from kafka_pg_pipeline.adapters.postgres.connection import (
    GRACE_SECONDS,
    Cursor,
    Primary,
    Statements,
    Transaction,
    roll_back,
    time_limit,
    was_ended,
)
from kafka_pg_pipeline.adapters.postgres.dead_letters import (
    insert_dead_letters,
    stage_dead_letters,
)
from kafka_pg_pipeline.adapters.postgres.rejects import (
    Rejection,
    Tries,
    dead_letter,
    without_rejections,
)
from kafka_pg_pipeline.adapters.postgres.row_paths import choose_path
from kafka_pg_pipeline.domain.batches import (
    BatchCounts,
    CopyChunk,
    EncodedBatch,
    LedgerEntry,
    PartitionSlice,
    WriteResult,
    WriteStatus,
)
from kafka_pg_pipeline.domain.budgets import DeadLetterBudget
from kafka_pg_pipeline.domain.modes import WriteMode
from kafka_pg_pipeline.domain.tables import MetadataField, TargetTable
from kafka_pg_pipeline.errors import (
    DeadLetterBudgetError,
    InvariantError,
    PipelineError,
    PostgresUnavailableError,
    TransientError,
)
from kafka_pg_pipeline.settings.models import PostgresSettings

logger = logging.getLogger(__name__)

_COUNTS = tuple(field.name for field in fields(BatchCounts))


class _Fenced(Exception):  # noqa: N818 - an outcome, not an error
    """Another loader moved a position of this batch first."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """Over what a batch was sent, and the open transaction with its rows; None where it failed."""

    primary: Primary
    transaction: Transaction | None


class PostgresWriter:
    """The port BatchWriter over psycopg2, for one stream and one target table.

    It opens its own connections when they are first used and again after one was lost. Not
    thread-safe, but that one thread may send while another writes. ``budget_runs`` are those that
    count for the budget by the ledger, because other processes may write for them at the same
    time; without any, the batch alone says what counts.
    """

    def __init__(
        self,
        settings: PostgresSettings,
        target: TargetTable,
        *,
        stream: str,
        topic: str,
        run_id: str,
        loader: str,
        mode: WriteMode,
        budget: DeadLetterBudget,
        budget_runs: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self._target = target
        self._path = choose_path(target, mode)
        self._identity = {"stream": stream, "topic": topic}
        self._origin = {"run_id": run_id, "loader": loader}
        self._budget = budget
        self._budget_runs = list(budget_runs)
        self._statements = Statements("positions", settings.schema_name)
        self._catalog = Statements("catalog", settings.schema_name)
        name = f"kafka-pg {stream} {run_id}"
        # Taken in turns: while the transaction of one batch ends, that of the next begins.
        self._primaries = deque(Primary(settings, application_name=name) for _ in range(2))
        self._sent: dict[UUID, _Sent] = {}
        self._primary = self._primaries[0]
        self._resolver = OutcomeResolver(
            settings, application_name=name, stream=stream, topic=topic
        )

    def close(self) -> None:
        """Release the connections, with what was sent and never written; safe to call twice."""
        for primary in self._primaries:
            primary.close()

    def connect(self) -> None:
        """See ``BatchWriter``."""
        with suppress(PipelineError):
            self._primaries[0].connection()

    def send(self, batch: EncodedBatch) -> None:
        """Send the rows while the batch before is being written; see ``BatchWriter``.

        What fails here is tried again when the batch is written, and then it counts.
        """
        primary = self._primaries[0]
        self._primaries.rotate()
        self._sent[batch.batch_id] = _Sent(primary, self._send(primary, batch))

    def _send(self, primary: Primary, batch: EncodedBatch) -> Transaction | None:
        try:
            cursor = primary.begin()
        except PipelineError:
            return None  # which says why when the batch is written
        try:
            with errors.translated_errors(f"send ahead, to {self._doing(batch)}"):
                self._take_steps(cursor, self._sending(batch))
        except BaseException as error:
            roll_back(cursor.connection)
            if not isinstance(error, PipelineError):
                raise
            if isinstance(error, TransientError):
                logger.warning("%s: %s; trying again", self._identity["stream"], error)
            return None
        return cursor

    def write(self, batch: EncodedBatch) -> WriteResult:
        """COMMITTED or FENCED; anything else raises and leaves nothing behind."""
        sent = self._sent.pop(batch.batch_id, _Sent(self._primary, None))
        # Nobody sends over it before this batch has ended.
        self._primary = sent.primary
        self._budget.check(batch)
        with errors.translated_errors(self._doing(batch)):
            try:
                return self._write(batch, sent.transaction)
            except psycopg2.Error as error:
                if not errors.is_record_fault(error):
                    raise
            return self._write_around_rejects(batch)

    def _write_around_rejects(self, batch: EncodedBatch) -> WriteResult:
        """Write the batch without the rows that PostgreSQL rejects, unless a rival is to blame.

        A rival that commits the same range while we search makes good rows look rejected. Where
        the last record of a key is rejected, the one before it counts, and may be rejected too:
        so that it takes another search. Each finds some, and the budget ends them.
        """
        while True:
            if self._has_moved(batch):
                return WriteResult(WriteStatus.FENCED)
            failpoints.reach("before_search")
            try:
                batch = self._without_rejects(batch)
                self._budget.check(batch)
            except (DeadLetterBudgetError, InvariantError):
                if self._has_moved(batch):
                    return WriteResult(WriteStatus.FENCED)
                raise
            try:
                return self._write(batch)
            except psycopg2.Error as error:
                if not errors.is_record_fault(error):
                    raise

    def _doing(self, batch: EncodedBatch) -> str:
        ranges = ", ".join(f"{self._identity['topic']}{piece.offsets}" for piece in batch.slices)
        return f"load {ranges} into {self._target.name}"

    def _write(self, batch: EncodedBatch, sent: Transaction | None = None) -> WriteResult:
        if sent is None or was_ended(sent.connection):
            cursor, steps = self._primary.begin(), self._sending(batch)
        else:
            cursor, steps = sent, []
        connection = cursor.connection
        try:
            with cursor:
                self._take_steps(cursor, steps)
                entries = self._land(cursor, batch)
                commit(connection, cursor, self._settings)
        except _Fenced:
            roll_back(connection)
            return WriteResult(WriteStatus.FENCED)
        except CommitOutcomeLost:
            connection.close()
            self._resolve(batch)
        except BaseException:
            roll_back(connection)
            raise
        failpoints.reach("after_commit")
        return WriteResult(WriteStatus.COMMITTED, entries)

    def _resolve(self, batch: EncodedBatch) -> None:
        partitions = [piece.position.partition for piece in batch.slices]
        if not self._resolver.was_committed(batch.batch_id, partitions):
            raise PostgresUnavailableError(
                f"could not {self._doing(batch)}: the connection was lost before COMMIT arrived; "
                "nothing was moved, a later run continues"
            )

    def _sending(self, batch: EncodedBatch) -> list[Callable[[Transaction], None]]:
        """The steps that need nothing to be locked."""
        return [
            lambda cursor: self._path.send(cursor, batch),
            lambda cursor: stage_dead_letters(cursor, self._statements, batch),
        ]

    def _land(self, cursor: Transaction, batch: EncodedBatch) -> tuple[LedgerEntry, ...]:
        """The rest of the transaction but its COMMIT; returns what the ledger then holds."""
        entries: tuple[LedgerEntry, ...] = ()

        def land(cursor: Transaction) -> None:
            nonlocal entries
            entries = self._path.land(cursor, batch)

        steps: list[Callable[[Transaction], None]] = [
            lambda cursor: self._lock_positions(cursor, batch),
            lambda cursor: self._check_runs(cursor, batch),
            land,
            lambda cursor: insert_dead_letters(cursor, self._statements, batch, self._identity),
            lambda cursor: self._store_gaps(cursor, batch),
            lambda cursor: self._advance(cursor, batch, entries),
        ]
        self._take_steps(cursor, steps)
        failpoints.reach("before_commit")
        return entries

    def _take_steps(
        self, cursor: Transaction, steps: Sequence[Callable[[Transaction], None]]
    ) -> None:
        seconds = self._settings.statement_timeout_seconds + GRACE_SECONDS
        for step in steps:
            with time_limit(cursor.connection, seconds):
                step(cursor)

    def _lock_positions(self, cursor: Cursor, batch: EncodedBatch) -> None:
        """Lock the state rows in order and compare them with what the batch continues."""
        failpoints.reach("before_lock")
        cursor.execute(self._statements["lock_positions"], self._partitions(batch))
        if cursor.fetchall() != _expected(batch):
            raise _Fenced
        failpoints.reach("after_lock")

    def _check_runs(self, cursor: Cursor, batch: EncodedBatch) -> None:
        """Insist on the budget of runs that several processes share.

        One at a time from here to its COMMIT: what another one rejects meanwhile would not count.
        """
        if not self._budget_runs or not batch.dead_letters:
            return
        arguments = {**self._identity, "run_ids": self._budget_runs}
        cursor.execute(self._statements["lock_budget"], arguments)
        cursor.execute(self._statements["runs_rejected"], arguments)
        [(rejected,)] = cursor.fetchall()
        self._budget.check(replace(batch, rejected_before=int(rejected)))

    def _store_gaps(self, cursor: Cursor, batch: EncodedBatch) -> None:
        gaps = [(piece.position, piece.gap_end) for piece in batch.slices if piece.gap_end]
        if not gaps:
            return
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

    def _advance(
        self, cursor: Cursor, batch: EncodedBatch, entries: tuple[LedgerEntry, ...]
    ) -> None:
        """Move the positions and write the ledger; each must touch every slice."""
        cursor.execute(
            self._statements["advance"],
            {
                **self._identity,
                **self._origin,
                "batch_id": str(batch.batch_id),
                **_columns_of(batch.slices, entries),
            },
        )
        moved, recorded = cursor.fetchone() or (0, 0)
        if moved != len(batch.slices):
            raise _Fenced
        if recorded != len(batch.slices):
            raise InvariantError(f"the ledger took {recorded} of {len(batch.slices)} entries")
        failpoints.reach("after_cas")

    def _has_moved(self, batch: EncodedBatch) -> bool:
        """True where a rival moved a position: then the rows in the way may be its own."""
        with self._primary.look("look at the positions again") as cursor:
            cursor.execute(self._statements["read_expected_positions"], self._partitions(batch))
            return cursor.fetchall() != _expected(batch)

    def _without_rejects(self, batch: EncodedBatch) -> EncodedBatch:
        letters = list(batch.dead_letters)
        chunks = []
        most = self._budget.left(batch, len(letters))
        found = self._find_rejections(batch, most=most)
        for chunk, rejections in zip(batch.chunks, found, strict=True):
            chunk.records.expect([rejection.index for rejection in rejections])
        for chunk, rejections in zip(batch.chunks, found, strict=True):
            letters += [dead_letter(chunk, rejection) for rejection in rejections]
            chunks.append(without_rejections(chunk, rejections))
        if len(letters) == len(batch.dead_letters):
            raise InvariantError(
                f"{self._target.name} refused a batch of which it takes every row alone"
            )
        return replace(
            batch,
            chunks=tuple(chunk for chunk in chunks if chunk.lines),
            dead_letters=tuple(letters),
        )

    def _find_rejections(self, batch: EncodedBatch, *, most: int) -> list[list[Rejection]]:
        cursor = self._primary.begin()
        connection = cursor.connection
        seconds = self._settings.statement_timeout_seconds + GRACE_SECONDS

        def limited() -> AbstractContextManager[None]:
            return time_limit(connection, seconds)

        try:
            with cursor:
                with limited():
                    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                found = self._path.find_rejections(Tries(cursor, limited), batch.chunks, most)
                for chunk, rejections in zip(batch.chunks, found, strict=True):
                    for rejection in rejections:
                        self._expect_no_offset_twice(cursor, chunk, rejection)
                return found
        finally:
            roll_back(connection)

    def _expect_no_offset_twice(
        self, cursor: Cursor, chunk: CopyChunk, rejection: Rejection
    ) -> None:
        """A unique index over the offset columns is an alarm, not a filter for duplicates."""
        if rejection.sqlstate != UNIQUE_VIOLATION:
            return
        cursor.execute(
            self._catalog["constraint_columns"],
            {"oid": self._target.oid, "constraint_name": rejection.constraint},
        )
        names = set((cursor.fetchone() or ([],))[0] or [])
        if any(
            column.name in names and column.metadata is MetadataField.OFFSET
            for column in self._target.columns
        ):
            # Their places alone: the record itself may have to be read again.
            rejected = chunk.records[rejection.index : rejection.index + 1]
            [partition], [offset] = rejected.column("partition"), rejected.column("offset")
            raise InvariantError(
                f"{self._identity['topic']}[{partition}]@{offset} is already in "
                f"{self._target.name} (constraint {rejection.constraint!r}), though the ledger "
                "says that it was not loaded: were rows restored without the pipeline's schema? "
                "Nothing was moved; `kafka-pg verify` shows the state"
            )

    def _partitions(self, batch: EncodedBatch) -> dict[str, Any]:
        return {
            **self._identity,
            "partitions": [piece.position.partition for piece in batch.slices],
        }


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


def _columns_of(
    slices: tuple[PartitionSlice, ...], entries: tuple[LedgerEntry, ...]
) -> dict[str, list[Any]]:
    tails = [piece.tail for piece in slices]
    return {
        "partitions": [piece.position.partition for piece in slices],
        "start_offsets": [piece.position.next_offset for piece in slices],
        "next_offsets": [piece.next_offset for piece in slices],
        "incarnations": [piece.position.incarnation for piece in slices],
        "epochs": [piece.position.epoch for piece in slices],
        "topic_ids": [piece.position.identity.topic_id for piece in slices],
        "tail_offsets": [tail.offset if tail else None for tail in tails],
        "tail_timestamps": [tail.timestamp if tail else None for tail in tails],
        "tail_digests": [tail.digest if tail else None for tail in tails],
        **{name: [getattr(entry.counts, name) for entry in entries] for name in _COUNTS},
        "record_bytes": [entry.record_bytes for entry in entries],
    }
