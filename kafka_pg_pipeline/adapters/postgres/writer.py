"""Writes one batch in one transaction: rows, dead letters, gaps, ledger and positions.

The order of the statements is the protocol (delivery.md 0 and 7.1): the client's bytes are sent
before the positions are locked, so that a loader which freezes in the middle of COPY keeps nobody
waiting; what follows the lock runs on the server alone. The rows of the next batch are sent over
a second connection while the first one lands. It begins to land when the first COMMIT is on its
way: its lock waits on the server for that, so that no round trip lies between the two.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from uuid import UUID

import psycopg2
from psycopg2.errorcodes import UNIQUE_VIOLATION
from psycopg2.errors import LockNotAvailable

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.adapters.postgres import errors
from kafka_pg_pipeline.adapters.postgres.ahead import Ahead, Landed, Line, Sent
from kafka_pg_pipeline.adapters.postgres.batch_positions import (
    BatchPositions,
    Fenced,
    partitions_of,
)
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
    rolled_back_on_error,
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
    CopyChunk,
    EncodedBatch,
    LedgerEntry,
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

Entries = tuple[LedgerEntry, ...]


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
        self._budget = budget
        self._budget_runs = list(budget_runs)
        self._statements = Statements("positions", settings.schema_name)
        self._catalog = Statements("catalog", settings.schema_name)
        origin = {"run_id": run_id, "loader": loader}
        self._positions = BatchPositions(settings.schema_name, self._identity, origin)
        name = f"kafka-pg {stream} {run_id}"
        # Taken in turns: while the transaction of one batch ends, that of the next begins.
        self._lines = deque(Line(Primary(settings, application_name=name)) for _ in range(2))
        self._ahead: dict[UUID, Ahead] = {}
        self._is_closed = False
        self._primary = self._lines[0].primary
        self._resolver = OutcomeResolver(
            settings, application_name=name, stream=stream, topic=topic
        )

    def close(self) -> None:
        """End what is ahead and release the connections; safe to call twice."""
        self._is_closed = True
        with ExitStack() as stack:
            for line in self._lines:
                stack.callback(line.close)

    def connect(self, batches: int) -> None:
        """See ``BatchWriter``."""
        for line, _ in zip(self._lines, range(batches), strict=False):
            line.submit(partial(_connect, line.primary))

    def send(self, batch: EncodedBatch) -> None:
        """Begin to send the rows while the batch before is being written; see ``BatchWriter``.

        What fails here is tried again when the batch is written, and then it counts.
        """
        line = self._lines[0]
        self._lines.rotate()
        sending = line.submit(partial(self._send_ahead, line.primary, batch))
        self._ahead[batch.batch_id] = Ahead(batch, line, sending)

    def _send_ahead(self, primary: Primary, batch: EncodedBatch) -> Sent:
        started = time.monotonic()
        transaction = self._try_to_send(primary, batch)
        return Sent(transaction, time.monotonic() - started)

    def _try_to_send(self, primary: Primary, batch: EncodedBatch) -> Transaction | None:
        try:
            cursor = primary.begin()
        except PipelineError:
            return None  # which says why when the batch is written
        try:
            with errors.translated_errors(f"send ahead, to {self._doing(batch)}"):
                self._send(cursor, batch)
        except PipelineError as error:
            if isinstance(error, TransientError) and not self._is_closed:
                logger.warning("%s: %s; trying again", self._identity["stream"], error)
            return None
        return cursor

    def _land_next(self, batch: EncodedBatch) -> None:
        """Let the batch that was sent meanwhile land, as soon as this one is committed.

        Nothing of it happens before, as rows may refer to rows of earlier batches.
        """
        land = partial(self._land_ahead, behind=partitions_of(batch))
        for ahead in tuple(self._ahead.values()):
            ahead.begin_landing(land)

    def _land_ahead(self, ahead: Ahead, behind: Sequence[int]) -> Landed | None:
        """None where nothing was sent, or where the one before kept its locks for too long."""
        cursor = ahead.sending.result().transaction
        if cursor is None or was_ended(cursor.connection):
            return None
        try:
            return self._land(cursor, ahead.batch, behind)
        except LockNotAvailable:
            return None

    def write(self, batch: EncodedBatch) -> WriteResult:
        """COMMITTED or FENCED; anything else raises and leaves nothing behind."""
        if batch.batch_id not in self._ahead:
            self.send(batch)
        ahead = self._ahead.pop(batch.batch_id)
        # Nobody sends over it before this batch has ended.
        self._primary = ahead.line.primary
        self._budget.check(batch)
        sent = ahead.sending.result()
        started = time.monotonic() - sent.seconds
        status = WriteStatus.COMMITTED
        entries: Entries = ()
        with errors.translated_errors(self._doing(batch)):
            try:
                entries = self._write_from(batch, sent, ahead.landing)
            except Fenced:
                status = WriteStatus.FENCED
        return WriteResult(status, entries, time.monotonic() - started)

    def _write_from(
        self, batch: EncodedBatch, sent: Sent, landing: Future[Landed | None] | None
    ) -> Entries:
        """Write a batch from where it has come to."""
        try:
            if landing is None:
                return self._write(batch, sent.transaction)
            landed = landing.result()
            if landed is None or was_ended(landed.transaction.connection):
                return self._write(batch)
            return self._finish(batch, landed)
        except psycopg2.Error as error:
            if not errors.is_record_fault(error):
                raise
        return self._write_around_rejects(batch)

    def _write_around_rejects(self, batch: EncodedBatch) -> Entries:
        """Write the batch without the rows that PostgreSQL rejects, unless a rival is to blame.

        A rival that commits the same range while we search makes good rows look rejected. Where
        the last record of a key is rejected, the one before it counts, and may be rejected too:
        so that it takes another search. Each finds some, and the budget ends them.
        """
        while True:
            self._expect_unmoved(batch)
            failpoints.reach("before_search")
            try:
                batch = self._without_rejects(batch)
                self._budget.check(batch)
            except (DeadLetterBudgetError, InvariantError):
                self._expect_unmoved(batch)
                raise
            try:
                return self._write(batch)
            except psycopg2.Error as error:
                if not errors.is_record_fault(error):
                    raise

    def _doing(self, batch: EncodedBatch) -> str:
        ranges = ", ".join(f"{self._identity['topic']}{piece.offsets}" for piece in batch.slices)
        return f"load {ranges} into {self._target.name}"

    def _write(self, batch: EncodedBatch, sent: Transaction | None = None) -> Entries:
        if sent is None or was_ended(sent.connection):
            sent = self._primary.begin()
            self._send(sent, batch)
        return self._finish(batch, self._land(sent, batch))

    # -- the steps of a transaction; each that fails rolls it back ------------------------------

    def _send(self, cursor: Transaction, batch: EncodedBatch) -> None:
        """What needs nothing to be locked."""
        with self._step(cursor):
            self._path.send(cursor, batch)
        if batch.dead_letters:
            with self._step(cursor):
                stage_dead_letters(cursor, self._statements, batch)

    def _land(self, cursor: Transaction, batch: EncodedBatch, behind: Sequence[int] = ()) -> Landed:
        """What the server does by itself, from the lock of the positions on."""
        self._positions.claim(cursor, batch, behind)
        if batch.dead_letters and self._budget_runs:
            with self._step(cursor, locks=2):
                self._check_runs(cursor, batch)
        with self._step(cursor, locks=2):
            entries = self._path.land(cursor, batch)
            cursor.flush()
        if batch.dead_letters:
            with self._step(cursor):
                insert_dead_letters(cursor, self._statements, batch, self._identity)
        if any(piece.gap_end for piece in batch.slices):
            with self._step(cursor):
                self._positions.store_gaps(cursor, batch)
        failpoints.reach("after_landing")
        return Landed(cursor, entries)

    def _finish(self, batch: EncodedBatch, landed: Landed) -> Entries:
        """Write the ledger and commit; returns what it then holds.

        The positions were locked before: whoever has to find out whether this arrived waits for
        their lock.
        """
        cursor = landed.transaction
        self._positions.record(cursor, batch, landed.entries)
        try:
            with (
                rolled_back_on_error(cursor.connection),
                cursor,
                self._positions.fenced(),
            ):
                failpoints.reach("before_commit")
                self._land_next(batch)
                commit(cursor.connection, cursor, self._settings)
        except CommitOutcomeLost:
            cursor.connection.close()
            for ahead in tuple(self._ahead.values()):
                ahead.give_up_landing()  # it may hold the lock that tells
            self._resolve(batch)
        failpoints.reach("after_commit")
        return landed.entries

    @contextmanager
    def _step(self, cursor: Transaction, *, locks: int = 0) -> Iterator[None]:
        """``locks`` may be waited for, those of the positions and of the table's turn, say."""
        seconds = self._settings.statement_timeout_seconds + GRACE_SECONDS
        seconds += locks * self._settings.lock_timeout_seconds
        with (
            rolled_back_on_error(cursor.connection),
            self._positions.fenced(),
            time_limit(cursor.connection, seconds),
        ):
            yield

    def _resolve(self, batch: EncodedBatch) -> None:
        if not self._resolver.was_committed(batch.batch_id, partitions_of(batch)):
            raise PostgresUnavailableError(
                f"could not {self._doing(batch)}: the connection was lost before COMMIT arrived; "
                "nothing was moved, a later run continues"
            )

    def _check_runs(self, cursor: Cursor, batch: EncodedBatch) -> None:
        """Insist on the budget of runs that several processes share.

        One at a time from here to its COMMIT: what another one rejects meanwhile would not count.
        """
        arguments = {**self._identity, "run_ids": self._budget_runs}
        cursor.execute(self._statements["lock_budget"], arguments)
        cursor.execute(self._statements["runs_rejected"], arguments)
        [(rejected,)] = cursor.fetchall()
        self._budget.check(replace(batch, rejected_before=int(rejected)))

    def _expect_unmoved(self, batch: EncodedBatch) -> None:
        """Raise Fenced where a rival moved a position: the rows in the way may be its own."""
        with self._primary.look("look at the positions again") as cursor:
            if self._positions.have_moved(cursor, batch):
                raise Fenced

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


def _connect(primary: Primary) -> None:
    with suppress(PipelineError):
        primary.connection()
