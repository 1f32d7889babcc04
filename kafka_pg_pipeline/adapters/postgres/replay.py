"""Replays dead letters: one transaction holds the locked letters, their rows and their marks.

The lock on a letter decides who replays it: a second replay waits, and then finds it resolved. A
process that dies before COMMIT leaves the letters as they were; after it they are resolved.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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
    begin,
    roll_back,
    rows_of,
    time_limit,
)
from kafka_pg_pipeline.adapters.postgres.letters import arguments_of, record_of
from kafka_pg_pipeline.adapters.postgres.rejects import (
    TimeLimit,
    dead_letter,
    find_rejections,
    without_rejections,
)
from kafka_pg_pipeline.adapters.postgres.staging import (
    copy_to_stage,
    create_stage,
    insert_staged,
    number_chunks,
    savepoint,
)
from kafka_pg_pipeline.domain.batches import CopyChunk
from kafka_pg_pipeline.domain.letters import (
    ChunkLimits,
    EncodedLetters,
    LetterFilter,
    ReplayCounts,
    StoredRecord,
)
from kafka_pg_pipeline.domain.records import DeadLetter
from kafka_pg_pipeline.domain.tables import TargetTable
from kafka_pg_pipeline.errors import InvariantError, PostgresUnavailableError, TargetError
from kafka_pg_pipeline.ports import LetterEncoder


class PostgresReplayer:
    """The port LetterReplayer for one stream and table, over a connection that the caller owns."""

    def __init__(
        self, primary: Primary, target: TargetTable, *, stream: str, topic: str, run_id: str
    ) -> None:
        self._primary = primary
        self._settings = primary.settings
        self._target = target
        self._key = {"stream": stream, "topic": topic}
        self._run_id = run_id
        self._letters = Statements("letters", primary.settings.schema_name)
        self._positions = Statements("positions", primary.settings.schema_name)

    def find_last(self, wanted: LetterFilter, limit: int | None) -> int:
        """Id of the last unresolved letter that a replay of ``limit`` takes; 0 where none is."""
        with self._primary.transaction("look for dead letters") as cursor:
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
        with self._primary.transaction("choose dead letters") as cursor:
            cursor.execute(self._letters["matching"] + self._letters["choose"], arguments)
            return tuple(number for (number,) in cursor.fetchall())

    def replay(self, ids: Sequence[int], encode: LetterEncoder, *, rehearsal: bool) -> ReplayCounts:
        """In one transaction: rows of those letters that nobody has resolved, and their marks."""
        doing = f"replay {len(ids)} dead letters into {self._target.name}"
        with errors.translated_errors(doing):
            connection = self._primary.connection()
            try:
                with connection.cursor() as cursor:
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
        self, connection: Connection, cursor: Cursor, ids: Sequence[int], encode: LetterEncoder
    ) -> ReplayCounts:
        seconds = self._settings.statement_timeout_seconds + GRACE_SECONDS

        def limited() -> AbstractContextManager[None]:
            return time_limit(connection, seconds)

        with limited():
            begin(cursor, self._settings)
            cursor.execute(self._letters["lock_stream"], self._key)
            records = self._lock_records(cursor, ids)
        failpoints.reach("after_replay_lock")
        if not records:
            return ReplayCounts()
        encoded = self._write(cursor, encode(records), limited)
        failpoints.reach("after_replay_write")
        with limited():
            return self._mark(cursor, records, encoded.rejected)

    def _lock_records(self, cursor: Cursor, ids: Sequence[int]) -> list[StoredRecord]:
        cursor.execute(self._letters["lock_records"], {"ids": list(ids)})
        return [record_of(row) for row in rows_of(cursor)]

    def _write(self, cursor: Cursor, encoded: EncodedLetters, limited: TimeLimit) -> EncodedLetters:
        """Write the rows that the table takes; what it refuses joins the rejected."""
        try:
            with limited(), savepoint(cursor):
                self._insert(cursor, encoded.chunks)
        except psycopg2.Error as error:
            if not errors.is_record_fault(error):
                raise
        else:
            return encoded
        fitting = self._without_rejects(cursor, encoded, limited)
        with limited():
            self._insert(cursor, fitting.chunks)
        return fitting

    def _insert(self, cursor: Cursor, chunks: Sequence[CopyChunk]) -> None:
        # Deferred constraints would otherwise speak up at COMMIT only.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        if not chunks:
            return
        create_stage(cursor, self._target.name, chunks)
        for numbered in number_chunks(chunks):
            count = len(numbered.chunk.lines)
            copy_to_stage(cursor, numbered, 0, count)
            arrived = insert_staged(cursor, self._target.name, numbered, 0, count)
            if arrived != count:
                raise TargetError(
                    f"{self._target.name} took {arrived} of {count} rows: a trigger of the table "
                    "swallows rows, which cannot be accounted for. Nothing was replayed"
                )

    def _without_rejects(
        self, cursor: Cursor, encoded: EncodedLetters, limited: TimeLimit
    ) -> EncodedLetters:
        lines = sum(len(chunk.lines) for chunk in encoded.chunks)
        with _undone(cursor):
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            found = find_rejections(
                cursor, self._target, encoded.chunks, most=lines, limited=limited
            )
        chunks, rejected = [], list(encoded.rejected)
        for chunk, rejections in zip(encoded.chunks, found, strict=True):
            chunks.append(without_rejections(chunk, rejections))
            rejected += [dead_letter(chunk, rejection) for rejection in rejections]
        return EncodedLetters(tuple(chunk for chunk in chunks if chunk.lines), tuple(rejected))

    def _mark(
        self, cursor: Cursor, records: Sequence[StoredRecord], rejected: Sequence[DeadLetter]
    ) -> ReplayCounts:
        refused = {_id_of(letter): letter for letter in rejected}
        replayed = [r.letter_id for r in records if r.letter_id not in refused]
        cursor.execute(self._letters["mark_replayed"], {"ids": replayed, "run_id": self._run_id})
        if cursor.rowcount != len(replayed):
            raise InvariantError(
                f"{cursor.rowcount} of {len(replayed)} dead letters were marked as replayed"
            )
        cursor.execute(
            self._letters["mark_rejected"],
            {
                "ids": list(refused),
                "stages": [letter.stage.value for letter in rejected],
                "reasons": [letter.reason.value for letter in rejected],
                "columns": [letter.column for letter in rejected],
                "sqlstates": [letter.sqlstate for letter in rejected],
            },
        )
        reasons = Counter(letter.reason.value for letter in rejected)
        counts = ReplayCounts(len(replayed), dict(reasons))
        self._audit(cursor, records, counts)
        return counts

    def _audit(self, cursor: Cursor, records: Sequence[StoredRecord], counts: ReplayCounts) -> None:
        detail = {
            "run_id": self._run_id,
            "table": str(self._target.name),
            "first_id": records[0].letter_id,
            "last_id": records[-1].letter_id,
            "replayed": counts.replayed,
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


def _id_of(letter: DeadLetter) -> int:
    return cast("StoredRecord", letter.record).letter_id
