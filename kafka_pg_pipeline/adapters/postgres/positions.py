"""The stream's positions in PostgreSQL, behind the port PositionStore."""

from collections.abc import Mapping
from typing import Any

from psycopg2.extras import Json

from kafka_pg_pipeline.adapters.postgres.connection import (
    Primary,
    Statements,
    rows_of,
)
from kafka_pg_pipeline.domain.offsets import Position, Tail, TopicIdentity
from kafka_pg_pipeline.domain.tables import TargetTable


class PostgresPositions:
    """Positions of one stream on one topic, over a connection that the caller owns."""

    def __init__(self, primary: Primary, *, stream: str, topic: str) -> None:
        self._primary = primary
        self._statements = Statements("positions", primary.settings.schema_name)
        self._key = {"stream": stream, "topic": topic}

    def fetch_positions(self) -> tuple[Position, ...]:
        """All positions of the stream's topic, ascending by partition, without a lock."""
        with self._primary.transaction("read the stream's positions") as cursor:
            cursor.execute(self._statements["fetch_positions"], self._key)
            return tuple(_position(row) for row in rows_of(cursor))

    def check_in(
        self, identity: TopicIdentity, start_offsets: Mapping[int, int]
    ) -> tuple[Position, ...]:
        """Add positions for partitions that have none, in one transaction; return all.

        A partition that appears later joins the incarnation and epoch of its topic.
        """
        known = self.fetch_positions()
        if start_offsets:
            self._insert(identity, start_offsets, known)
        return self.fetch_positions() if start_offsets else known

    def _insert(
        self,
        identity: TopicIdentity,
        start_offsets: Mapping[int, int],
        known: tuple[Position, ...],
    ) -> None:
        partitions = sorted(start_offsets)
        arguments = {
            **self._key,
            "cluster_id": identity.cluster_id,
            "topic_id": identity.topic_id,
            "incarnation": max((position.incarnation for position in known), default=1),
            "epoch": max((position.epoch for position in known), default=1),
            "partitions": partitions,
            "start_offsets": [start_offsets[partition] for partition in partitions],
        }
        with self._primary.transaction("store the first position of new partitions") as cursor:
            cursor.execute(self._statements["check_in"], arguments)

    def note_target(self, target: TargetTable) -> bool:
        """Remember the table's oid; True where it was another one, with an audit row."""
        with self._primary.transaction("remember the target table") as cursor:
            arguments = {**self._key, "target_oid": target.oid}
            cursor.execute(self._statements["note_first_target"], arguments)
            cursor.execute(self._statements["note_target"], arguments)
            changed = cursor.rowcount > 0
            if changed:
                detail = {"table": str(target.name), "oid": target.oid}
                cursor.execute(
                    self._statements["insert_audit"],
                    {**self._key, "action": "target-changed", "detail": Json(detail)},
                )
            return changed


def _position(row: Mapping[str, Any]) -> Position:
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
