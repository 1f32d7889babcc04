"""Operator moves of a stream's positions: each one transaction, with an audit row and epoch + 1.

A new epoch fences every loader that planned before the move, wherever the position ends up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg2 import sql
from psycopg2.extras import Json

from kafka_pg_pipeline.adapters.postgres.connection import (
    Cursor,
    Primary,
    Statements,
    rows_of,
)
from kafka_pg_pipeline.adapters.postgres.positions import fetch_pause
from kafka_pg_pipeline.adapters.postgres.staging import target_identifier
from kafka_pg_pipeline.domain.modes import Mode, WriteMode
from kafka_pg_pipeline.domain.offsets import OffsetRange, TopicSnapshot
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.domain.tables import TableName, TargetTable
from kafka_pg_pipeline.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Move:
    """One partition's position before and after an operator's move.

    ``deleted_rows`` left the table, so that moving back does not load them twice.
    """

    partition: int
    before: int | None
    after: int
    deleted_rows: int = 0

    @property
    def is_back(self) -> bool:
        """True where records will be read again."""
        return self.before is not None and self.after < self.before


@dataclass(frozen=True, slots=True)
class PauseChange:
    """A stream's pause before and after; the same where there was nothing to do."""

    before: Pause | None
    after: Pause | None

    @property
    def is_change(self) -> bool:
        """False where the stream was paused, or running, already."""
        return self.before != self.after


class OperatorMoves:
    """Moves of one stream on one topic, over a connection that the caller owns."""

    def __init__(
        self, primary: Primary, *, stream: str, topic: str, table: TableName, mode: WriteMode
    ) -> None:
        self._primary = primary
        self._mode = mode
        self._table = str(table)
        self._backfills = Statements("backfills", primary.settings.schema_name)
        self._moves = Statements("moves", primary.settings.schema_name)
        self._positions = Statements("positions", primary.settings.schema_name)
        self._key = {"stream": stream, "topic": topic}

    def reset(
        self,
        next_offsets: Mapping[int, int],
        target: TargetTable | None,
        *,
        allow_duplicates: bool,
        rehearsal: bool = False,
    ) -> tuple[Move, ...]:
        """Set the next offsets of some partitions.

        Moving back on an append table deletes the rows of the range in the same transaction,
        which needs the partition and offset columns and a topic that was never created again; those
        that a backfill has loaded there are among them, and become the live position's. Where
        rows have a key, records are applied once more, and end where they ended. The dead letters
        of the range go in any case: their records are judged anew.

        Raises:
            ConfigurationError: rows would be loaded twice and ``allow_duplicates`` is not given,
                or a partition has no position.

        """
        with self._primary.transaction(
            "move the positions", rehearsal=rehearsal, statements=2 + 2 * len(next_offsets)
        ) as cursor:
            states = self._lock(cursor)
            unknown = sorted(set(next_offsets) - set(states))
            if unknown:
                raise ConfigurationError(
                    f"stream {self._key['stream']!r} has no position in partition {unknown[0]}: "
                    "`kafka-pg status` lists those that it has"
                )
            moves = tuple(
                Move(partition, states[partition]["next_offset"], after)
                for partition, after in sorted(next_offsets.items())
            )
            if self._mode.mode is Mode.APPEND:
                if any(move.is_back for move in moves):
                    # A window's batch that lands just now would escape what follows.
                    cursor.execute(self._moves["lock_windows"], self._key)
                if not allow_duplicates:
                    moves = self._delete_rows(cursor, moves, states, target)
                self._lower_windows(cursor, moves)
            self._delete_dead_letters(cursor, moves, states)
            self._move(cursor, {move.partition: move.after for move in moves}, "reset")
            self._audit(cursor, "reset", moves)
            return moves

    def accept_gaps(
        self, snapshot: TopicSnapshot, *, rehearsal: bool = False
    ) -> tuple[OffsetRange, ...]:
        """Record what retention removed as gaps and continue at the first offset left."""
        with self._primary.transaction("accept the gap", rehearsal=rehearsal) as cursor:
            states = self._lock(cursor)
            gaps = tuple(
                OffsetRange(bounds.partition, state["next_offset"], bounds.begin_offset)
                for bounds in snapshot.partitions
                if (state := states.get(bounds.partition))
                and state["next_offset"] < bounds.begin_offset
            )
            for gap in gaps:
                self._insert_gap(cursor, gap, states[gap.partition], "accept-gap")
            cursor.execute(self._moves["acknowledge_gaps"], self._key)
            if gaps:
                self._move(cursor, {gap.partition: gap.end_offset for gap in gaps}, "accept-gap")
            moves = tuple(Move(gap.partition, gap.start_offset, gap.end_offset) for gap in gaps)
            self._audit(cursor, "accept-gap", moves)
            return gaps

    def accept_topic(self, snapshot: TopicSnapshot, *, rehearsal: bool = False) -> tuple[Move, ...]:
        """Start the topic that has this name now as a new incarnation, from its beginning."""
        with self._primary.transaction("accept the topic", rehearsal=rehearsal) as cursor:
            states = self._lock(cursor)
            cursor.execute(self._moves["forget"], self._key)
            cursor.execute(self._moves["highest_incarnation"], self._key)
            known = int((cursor.fetchone() or (0,))[0])
            cursor.execute(
                self._moves["start_incarnation"],
                {
                    **self._key,
                    "cluster_id": snapshot.identity.cluster_id,
                    "topic_id": snapshot.identity.topic_id,
                    "incarnation": 1 + max(known, _highest(states, "incarnation")),
                    "epoch": 1 + _highest(states, "epoch"),
                    "partitions": [bounds.partition for bounds in snapshot.partitions],
                    "start_offsets": [bounds.begin_offset for bounds in snapshot.partitions],
                    "reason": "accept-topic",
                },
            )
            cursor.execute(self._moves["lock_windows"], self._key)
            cursor.execute(self._moves["fence_windows"], {**self._key, "reason": "accept-topic"})
            moves = tuple(
                Move(
                    bounds.partition,
                    states.get(bounds.partition, {}).get("next_offset"),
                    bounds.begin_offset,
                )
                for bounds in snapshot.partitions
            )
            self._audit(cursor, "accept-topic", moves)
            return moves

    def skip_range(
        self, skipped: OffsetRange, why: str, *, rehearsal: bool = False
    ) -> tuple[Move, ...]:
        """Record a range that cannot be read as a gap, acknowledged, and continue behind it.

        Raises:
            ConfigurationError: the range does not begin where the stream stands.

        """
        with self._primary.transaction("skip the range", rehearsal=rehearsal) as cursor:
            state = self._lock(cursor).get(skipped.partition)
            where = f"{self._key['topic']}[{skipped.partition}]"
            if state is None:
                raise ConfigurationError(
                    f"stream {self._key['stream']!r} has no position in {where}"
                )
            if state["next_offset"] != skipped.start_offset:
                raise ConfigurationError(
                    f"{where} stands at offset {state['next_offset']}, not at "
                    f"{skipped.start_offset}: only what a load stopped at can be skipped, and "
                    f"`kafka-pg load {self._key['stream']}` goes up to there"
                )
            self._insert_gap(cursor, skipped, state, "skip-range")
            self._move(cursor, {skipped.partition: skipped.end_offset}, "skip-range")
            moves = (Move(skipped.partition, skipped.start_offset, skipped.end_offset),)
            self._audit(cursor, "skip-range", moves, reason=why)
            return moves

    def pause(self, why: str, *, rehearsal: bool = False) -> PauseChange:
        """Let no load of the stream move it until ``resume``; those that run now are fenced."""
        with self._primary.transaction("pause the stream", rehearsal=rehearsal) as cursor:
            self._lock(cursor)
            before = self._fetch_pause(cursor)
            if before is not None:
                return PauseChange(before, before)
            cursor.execute(self._moves["lock_windows"], self._key)
            cursor.execute(self._moves["pause"], {**self._key, "why": why})
            cursor.execute(self._moves["raise_epochs"], {**self._key, "reason": "pause"})
            self._audit(cursor, "pause", (), reason=why)
            return PauseChange(None, self._fetch_pause(cursor))

    def resume(self, *, rehearsal: bool = False) -> PauseChange:
        """Let loads move the stream again, from where it stands."""
        with self._primary.transaction("resume the stream", rehearsal=rehearsal) as cursor:
            self._lock(cursor)
            before = self._fetch_pause(cursor)
            if before is None:
                return PauseChange(None, None)
            cursor.execute(self._moves["lock_windows"], self._key)
            cursor.execute(self._moves["resume"], self._key)
            cursor.execute(self._moves["raise_epochs"], {**self._key, "reason": "resume"})
            self._audit(cursor, "resume", (), reason=before.reason)
            return PauseChange(before, None)

    def _fetch_pause(self, cursor: Cursor) -> Pause | None:
        return fetch_pause(cursor, self._positions, self._key)

    def _insert_gap(
        self, cursor: Cursor, gap: OffsetRange, state: Mapping[str, Any], reason: str
    ) -> None:
        cursor.execute(
            self._moves["insert_gap"],
            {
                **self._key,
                "partition": gap.partition,
                "incarnation": state["incarnation"],
                "epoch": state["epoch"],
                "start_offset": gap.start_offset,
                "end_offset": gap.end_offset,
                "reason": reason,
            },
        )

    def _lock(self, cursor: Cursor) -> dict[int, Mapping[str, Any]]:
        cursor.execute(self._positions["lock_stream"], self._key)
        cursor.execute(self._moves["lock_all"], self._key)
        return {row["partition"]: row for row in rows_of(cursor)}

    def _move(self, cursor: Cursor, next_offsets: Mapping[int, int], reason: str) -> None:
        cursor.execute(
            self._moves["move"],
            {
                **self._key,
                "partitions": list(next_offsets),
                "next_offsets": list(next_offsets.values()),
                "reason": reason,
            },
        )

    def _audit(self, cursor: Cursor, action: str, moves: tuple[Move, ...], **detail: str) -> None:
        moved = [
            {"partition": move.partition, "before": move.before, "after": move.after}
            for move in moves
        ]
        cursor.execute(
            self._positions["insert_audit"],
            {**self._key, "action": action, "detail": Json({"moves": moved, **detail})},
        )

    def _delete_rows(
        self,
        cursor: Cursor,
        moves: tuple[Move, ...],
        states: Mapping[int, Mapping[str, Any]],
        target: TargetTable | None,
    ) -> tuple[Move, ...]:
        back = [move for move in moves if move.is_back]
        if not back or target is None:
            return moves
        partition, offset = self._find_offset_columns(
            cursor, target, [states[m.partition] for m in back]
        )
        statement = sql.SQL("DELETE FROM {} WHERE {} = {} AND {} >= {} AND {} < {}")
        deleted: dict[int, int] = {}
        for move in back:
            cursor.execute(
                statement.format(
                    target_identifier(target.name),
                    sql.Identifier(partition),
                    sql.Literal(move.partition),
                    sql.Identifier(offset),
                    sql.Literal(move.after),
                    sql.Identifier(offset),
                    sql.Literal(move.before),
                )
            )
            deleted[move.partition] = cursor.rowcount
        return tuple(replace(move, deleted_rows=deleted.get(move.partition, 0)) for move in moves)

    def _lower_windows(self, cursor: Cursor, moves: tuple[Move, ...]) -> None:
        """Take from the windows of the stream's own table what the position will load again."""
        back = {move.partition: move.after for move in moves if move.is_back}
        if not back:
            return
        cursor.execute(
            self._backfills["lower"],
            {
                **self._key,
                "table": self._table,
                "partitions": list(back),
                "next_offsets": list(back.values()),
            },
        )

    def _delete_dead_letters(
        self, cursor: Cursor, moves: tuple[Move, ...], states: Mapping[int, Mapping[str, Any]]
    ) -> None:
        for move in moves:
            if not move.is_back:
                continue
            cursor.execute(
                self._moves["delete_dead_letters"],
                {
                    **self._key,
                    "partition": move.partition,
                    "incarnation": states[move.partition]["incarnation"],
                    "start_offset": move.after,
                    "end_offset": move.before,
                },
            )

    def _find_offset_columns(
        self, cursor: Cursor, target: TargetTable, states: Sequence[Mapping[str, Any]]
    ) -> tuple[str, str]:
        """The columns by which the rows of a range are told from all others in the table.

        Raises:
            ConfigurationError: they cannot be told.

        """
        columns = target.offset_columns
        cursor.execute(self._positions["other_fillers"], {**self._key, "target_oid": target.oid})
        others = cursor.fetchall()
        if columns is None:
            why = "it has no offset columns"
        elif any(state["incarnation"] > 1 for state in states):
            why = "its topic was created again"
        elif others:
            why = f"it holds rows of topic {others[0][1]} (stream {others[0][0]}) too"
        elif _has_rows_without_offsets(cursor, target, columns):
            why = "it holds rows without partition and offset"
        else:
            return columns
        raise ConfigurationError(
            f"moving back would load rows of {target.name} a second time, and they cannot be "
            f"deleted ({why}): empty the table first and say --allow-duplicates "
            "(`allow_duplicates: true` in Dagster), or add `metadata: [partition, offset]` to "
            "streams to come"
        )


def _has_rows_without_offsets(
    cursor: Cursor, target: TargetTable, columns: tuple[str, str]
) -> bool:
    cursor.execute(
        sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NULL OR {} IS NULL)").format(
            target_identifier(target.name), *map(sql.Identifier, columns)
        )
    )
    return bool((cursor.fetchone() or (False,))[0])


def _highest(states: Mapping[int, Mapping[str, Any]], column: str) -> int:
    return max((int(row[column]) for row in states.values()), default=0)
