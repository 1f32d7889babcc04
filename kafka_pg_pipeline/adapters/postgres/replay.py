"""Replays dead letters: one transaction holds the locked letters, their rows and their marks.

The lock on a letter decides who replays it: a second replay waits, and then finds it resolved. A
process that dies before COMMIT leaves the letters as they were; after it they are resolved.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import cast

import psycopg2
from psycopg2.extras import Json

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.adapters.postgres import errors
from kafka_pg_pipeline.adapters.postgres.commit import (
    CommitOutcomeLost,
    commit,
    look_up_outcome,
)
from kafka_pg_pipeline.adapters.postgres.connection import (
    GRACE_SECONDS,
    Connection,
    Cursor,
    Primary,
    Statements,
    Transaction,
    roll_back,
    rows_of,
    time_limit,
)
from kafka_pg_pipeline.adapters.postgres.letters import arguments_of, record_of
from kafka_pg_pipeline.adapters.postgres.rejects import Tries, dead_letter, without_rejections
from kafka_pg_pipeline.adapters.postgres.row_paths import choose_path
from kafka_pg_pipeline.adapters.postgres.staging import savepoint
from kafka_pg_pipeline.domain.batches import BatchCounts, EncodedBatch, LedgerEntry
from kafka_pg_pipeline.domain.letters import (
    ChunkLimits,
    LetterFilter,
    ReplayCounts,
    StoredRecord,
)
from kafka_pg_pipeline.domain.modes import WriteMode
from kafka_pg_pipeline.domain.records import DeadLetter
from kafka_pg_pipeline.domain.tables import TargetTable
from kafka_pg_pipeline.errors import InvariantError, PostgresUnavailableError
from kafka_pg_pipeline.ports import LetterEncoder


class PostgresReplayer:
    """The port LetterReplayer for one stream and table, over a connection that the caller owns."""

    def __init__(
        self,
        primary: Primary,
        target: TargetTable,
        *,
        stream: str,
        topic: str,
        run_id: str,
        mode: WriteMode,
    ) -> None:
        self._primary = primary
        self._settings = primary.settings
        self._target = target
        self._path = choose_path(target, mode)
        self._key = {"stream": stream, "topic": topic}
        self._run_id = run_id
        self._letters = Statements("letters", primary.settings.schema_name)
        self._positions = Statements("positions", primary.settings.schema_name)

    def find_last(self, wanted: LetterFilter, limit: int | None) -> int:
        """Id of the last unresolved letter that a replay of ``limit`` takes; 0 where none is."""
        with self._primary.look("look for dead letters") as cursor:
            cursor.execute(
                self._letters["matching"] + self._letters["find_last"],
                {**self._key, **arguments_of(wanted), "resolved": False, "most": limit},
            )
            return int((cursor.fetchone() or (None,))[0] or 0)

    def choose(
        self, wanted: LetterFilter, after_id: int, last_id: int, limits: ChunkLimits
    ) -> tuple[int, ...]:
        """Ids of the next letters, ascending, without a lock; empty where none is left."""
        arguments = {
            **self._key,
            **arguments_of(wanted),
            "resolved": False,
            "after_id": after_id,
            "last_id": last_id,
            "max_rows": limits.max_rows,
            "max_bytes": limits.max_bytes,
        }
        with self._primary.look("choose dead letters") as cursor:
            cursor.execute(self._letters["matching"] + self._letters["choose"], arguments)
            return tuple(number for (number,) in cursor.fetchall())

    def has_deletes_since(self, wanted: LetterFilter, last_id: int) -> bool:
        """Whether a record behind one of the letters may have deleted the row of its key."""
        arguments = {**self._key, **arguments_of(wanted), "resolved": False, "last_id": last_id}
        with self._primary.look("look for deletes") as cursor:
            cursor.execute(
                self._letters["matching"] + self._letters["has_deletes_since"], arguments
            )
            return bool((cursor.fetchone() or (False,))[0])

    def replay(self, ids: Sequence[int], encode: LetterEncoder, *, rehearsal: bool) -> ReplayCounts:
        """In one transaction: rows of those letters that nobody has resolved, and their marks."""
        doing = f"replay {len(ids)} dead letters into {self._target.name}"
        with errors.translated_errors(doing):
            cursor = self._primary.begin()
            connection = cursor.connection
            try:
                with cursor:
                    counts = self._fill_transaction(connection, cursor, ids, encode)
                    if rehearsal:
                        roll_back(connection)
                        return counts
                    failpoints.reach("before_replay_commit")
                    commit(connection, cursor, self._settings)
            except CommitOutcomeLost:
                connection.close()
                self._resolve(ids, doing)
            except BaseException:
                roll_back(connection)
                raise
        failpoints.reach("after_replay_commit")
        return counts

    def _fill_transaction(
        self, connection: Connection, cursor: Transaction, ids: Sequence[int], encode: LetterEncoder
    ) -> ReplayCounts:
        seconds = self._settings.statement_timeout_seconds + GRACE_SECONDS

        def limited() -> AbstractContextManager[None]:
            return time_limit(connection, seconds)

        with limited():
            cursor.execute(self._letters["lock_stream"], self._key)
            records = self._lock_records(cursor, ids)
        failpoints.reach("after_replay_lock")
        if not records:
            return ReplayCounts()
        batch, entries = self._write(Tries(cursor, limited), encode(records))
        failpoints.reach("after_replay_write")
        with limited():
            self._mark(cursor, records, batch.dead_letters)
            counts = _count(batch, entries)
            self._audit(cursor, records, counts)
            return counts

    def _lock_records(self, cursor: Cursor, ids: Sequence[int]) -> list[StoredRecord]:
        cursor.execute(self._letters["lock_records"], {"ids": list(ids)})
        return [record_of(row) for row in rows_of(cursor)]

    def _write(
        self, tries: Tries, batch: EncodedBatch
    ) -> tuple[EncodedBatch, tuple[LedgerEntry, ...]]:
        """Write the rows that the table takes; those that it refuses join the rejected.

        Where the last record of a key is refused the one before it counts, and may be refused too.
        """
        while True:
            try:
                with tries.limited(), savepoint(tries.cursor):
                    self._path.send(tries.cursor, batch)
                    return batch, self._path.land(tries.cursor, batch)
            except psycopg2.Error as error:
                if not errors.is_record_fault(error):
                    raise
            batch = self._without_rejects(tries, batch)

    def _without_rejects(self, tries: Tries, batch: EncodedBatch) -> EncodedBatch:
        lines = sum(len(chunk.lines) for chunk in batch.chunks)
        with _undone(tries.cursor):
            tries.cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            found = self._path.find_rejections(tries, batch.chunks, lines)
        if not any(found):
            raise InvariantError(
                f"{self._target.name} refused letters of which it takes every row alone"
            )
        chunks, rejected = [], list(batch.dead_letters)
        for chunk, rejections in zip(batch.chunks, found, strict=True):
            chunks.append(without_rejections(chunk, rejections))
            rejected += [dead_letter(chunk, rejection) for rejection in rejections]
        return replace(
            batch,
            chunks=tuple(chunk for chunk in chunks if chunk.lines),
            dead_letters=tuple(rejected),
        )

    def _mark(
        self, cursor: Cursor, records: Sequence[StoredRecord], rejected: Sequence[DeadLetter]
    ) -> None:
        refused = [cast("StoredRecord", letter.record).letter_id for letter in rejected]
        resolved = list({record.letter_id for record in records} - set(refused))
        cursor.execute(self._letters["mark_replayed"], {"ids": resolved, "run_id": self._run_id})
        if cursor.rowcount != len(resolved):
            raise InvariantError(
                f"{cursor.rowcount} of {len(resolved)} dead letters were marked as replayed"
            )
        cursor.execute(
            self._letters["mark_rejected"],
            {
                "ids": refused,
                "stages": [letter.stage.value for letter in rejected],
                "reasons": [letter.reason.value for letter in rejected],
                "columns": [letter.column for letter in rejected],
                "sqlstates": [letter.sqlstate for letter in rejected],
            },
        )

    def _audit(self, cursor: Cursor, records: Sequence[StoredRecord], counts: ReplayCounts) -> None:
        detail = {
            "run_id": self._run_id,
            "table": str(self._target.name),
            "first_id": records[0].letter_id,
            "last_id": records[-1].letter_id,
            "replayed": counts.replayed,
            "ignored": counts.ignored,
            "rejected": counts.rejected,
        }
        cursor.execute(
            self._positions["insert_audit"],
            {**self._key, "action": "replay-dead-letters", "detail": Json(detail)},
        )

    def _resolve(self, ids: Sequence[int], doing: str) -> None:
        def look(cursor: Cursor) -> bool:
            cursor.execute(self._letters["lock_replayed"], {"ids": list(ids)})
            return any(resolved_by == self._run_id for (resolved_by,) in cursor.fetchall())

        name = f"kafka-pg {self._key['stream']} {self._run_id}"
        primary = Primary(self._settings, application_name=name)
        what = f"replay of dead letters {ids[0]} to {ids[-1]}"
        if not look_up_outcome(primary, what, look):
            raise PostgresUnavailableError(
                f"could not {doing}: the connection was lost before COMMIT arrived; nothing was "
                "replayed by it, a later replay takes the same letters"
            )


@contextmanager
def _undone(cursor: Cursor) -> Iterator[None]:
    """Undo what the body did and leave the transaction, with its locks, as it was."""
    cursor.execute("SAVEPOINT kafka_pg_search")
    yield
    cursor.execute("ROLLBACK TO SAVEPOINT kafka_pg_search")


def _count(batch: EncodedBatch, entries: Sequence[LedgerEntry]) -> ReplayCounts:
    counts = sum((entry.counts for entry in entries), BatchCounts())
    return ReplayCounts(
        replayed=counts.rows + counts.deleted,
        ignored=counts.ignored + counts.superseded + counts.filtered,
        rejected=dict(Counter(letter.reason.value for letter in batch.dead_letters)),
    )
