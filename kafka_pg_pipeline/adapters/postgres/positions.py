"""The stream's positions in PostgreSQL, behind the port PositionStore."""

from collections.abc import Mapping
from typing import Any

from psycopg2.extras import Json

from kafka_pg_pipeline.adapters.postgres.connection import (
    Cursor,
    Primary,
    Statements,
    Transaction,
    rows_of,
)
from kafka_pg_pipeline.domain.offsets import Position, Tail, TopicIdentity, TopicSnapshot
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.domain.planning import check_identity
from kafka_pg_pipeline.domain.standing import Standing
from kafka_pg_pipeline.domain.tables import TargetTable
from kafka_pg_pipeline.errors import TargetError

# Before this migration there were no pauses.
PAUSES_SINCE = 3


class PostgresPositions:
    """Positions of one stream on one topic, over a connection that the caller owns.

    ``incarnation`` is the topic's where the stream has no position yet.
    """

    def __init__(self, primary: Primary, *, stream: str, topic: str, incarnation: int = 1) -> None:
        self._primary = primary
        self._incarnation = incarnation
        self._statements = Statements("positions", primary.settings.schema_name)
        self._key = {"stream": stream, "topic": topic}

    def fetch_positions(self) -> tuple[Position, ...]:
        """All positions of the stream's topic, ascending by partition, without a lock."""
        with self._primary.look("read the stream's positions") as cursor:
            cursor.execute(self._statements["fetch_positions"], self._key)
            return tuple(position_of(row) for row in rows_of(cursor))

    def fetch_standing(self) -> Standing:
        """The positions and the pause of one moment; see ``PositionStore``."""
        with self._primary.look("look where the stream stands") as cursor:
            return self._fetch_standing(cursor)

    def fetch_pause(self) -> Pause | None:
        """The stream's pause, None where nobody has paused it."""
        with self._primary.look("look whether the stream is paused") as cursor:
            return fetch_pause(cursor, self._statements, self._key)

    def check_in(self, snapshot: TopicSnapshot, start_offsets: Mapping[int, int]) -> Standing:
        """Add positions for partitions that have none, in one transaction; return all.

        One loader or operator at a time: whether the stream is new must not change meanwhile. A
        partition that appears later joins the incarnation and epoch of its topic. Nothing is added
        while the stream is paused.

        Raises:
            IncarnationChangedError: the positions are those of another topic by now.

        """
        with self._primary.transaction("store the first position of new partitions") as cursor:
            cursor.defer(self._statements["lock_stream"], self._key)
            standing = self._fetch_standing(cursor)
            if standing.pause is not None:
                return standing
            known = standing.positions
            for position in known:
                check_identity(
                    position.identity, snapshot.identity, snapshot.topic, stream=self._key["stream"]
                )
            starts = {bounds.partition: bounds.begin_offset for bounds in snapshot.partitions}
            if not known:
                starts |= start_offsets
            for position in known:
                starts.pop(position.partition, None)
            self._insert(cursor, snapshot.identity, starts, known)
            return self._fetch_standing(cursor)

    def _fetch_standing(self, cursor: Cursor) -> Standing:
        cursor.execute(self._statements["fetch_standing"], self._key)
        rows = rows_of(cursor)
        positions = tuple(position_of(row) for row in rows if row["partition"] is not None)
        pause = {name: rows[0][name] for name in ("reason", "by", "since")}
        return Standing(positions, Pause(**pause) if pause["since"] else None)

    def _insert(
        self,
        cursor: Transaction,
        identity: TopicIdentity,
        start_offsets: Mapping[int, int],
        known: tuple[Position, ...],
    ) -> None:
        partitions = sorted(start_offsets)
        cursor.defer(
            self._statements["check_in"],
            {
                **self._key,
                "cluster_id": identity.cluster_id,
                "topic_id": identity.topic_id,
                "incarnation": max(
                    (position.incarnation for position in known), default=self._incarnation
                ),
                "epoch": max((position.epoch for position in known), default=1),
                "partitions": partitions,
                "start_offsets": [start_offsets[partition] for partition in partitions],
            },
        )

    def note_target(self, target: TargetTable) -> bool:
        """Remember the table's oid; True where it was another one, with an audit row.

        Raises:
            TargetError: see ``check_rivals``; nothing is remembered.

        """
        with self._primary.transaction("remember the target table") as cursor:
            arguments = {**self._key, "target_oid": target.oid}
            cursor.execute(self._statements["note_target"], arguments)
            [(first, changed)] = cursor.fetchall()
            if first:
                self._check_rivals(cursor, target)
            if changed:
                detail = {"table": str(target.name), "oid": target.oid}
                cursor.execute(
                    self._statements["insert_audit"],
                    {**self._key, "action": "target-changed", "detail": Json(detail)},
                )
            return bool(changed)

    def check_rivals(self, target: TargetTable) -> None:
        """Insist that no other stream has loaded this topic into this table.

        A stream's name is the key of its positions: one that was renamed would load all again.

        Raises:
            TargetError: one has; naming it.

        """
        with self._primary.look("look who fills the table") as cursor:
            self._check_rivals(cursor, target)

    def _check_rivals(self, cursor: Cursor, target: TargetTable) -> None:
        cursor.execute(self._statements["other_fillers"], {**self._key, "target_oid": target.oid})
        for stream, topic in cursor.fetchall():
            if topic == self._key["topic"]:
                raise TargetError(
                    f"table {target.name} holds the records of topic {topic!r} already, loaded as "
                    f"stream {stream!r}. A stream's name is the key of its positions: as "
                    f"{self._key['stream']!r} every record would be loaded once more. Nothing was "
                    f"loaded; call the stream {stream!r}, or name another table"
                )


def fetch_pause(cursor: Cursor, statements: Statements, key: Mapping[str, Any]) -> Pause | None:
    """The stream's pause as this transaction sees it; ``statements`` are those of positions."""
    cursor.execute(statements["fetch_pause"], key)
    return next((Pause(**row) for row in rows_of(cursor)), None)


def position_of(row: Mapping[str, Any]) -> Position:
    """The position that a row of the state table holds."""
    tail = None
    if row["tail_offset"] is not None:
        tail = Tail(row["tail_offset"], row["tail_timestamp"], bytes(row["tail_digest"]))
    return Position(
        partition=row["partition"],
        identity=TopicIdentity(row["cluster_id"], row["topic_id"]),
        incarnation=row["incarnation"],
        epoch=row["epoch"],
        next_offset=row["next_offset"],
        tail=tail,
    )
