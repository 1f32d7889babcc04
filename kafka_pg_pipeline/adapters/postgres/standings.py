"""Where many streams stand, in one query for all of them."""

from collections.abc import Mapping, Sequence

from kafka_pg_pipeline.adapters.postgres.connection import Primary, Statements, rows_of
from kafka_pg_pipeline.adapters.postgres.positions import position_of
from kafka_pg_pipeline.domain.offsets import Position
from kafka_pg_pipeline.domain.pauses import Pause


class PostgresStandings:
    """Positions and pauses of many streams, over a connection that the caller owns."""

    def __init__(self, primary: Primary) -> None:
        self._primary = primary
        self._statements = Statements("standings", primary.settings.schema_name)

    def fetch_positions(self, topics: Mapping[str, str]) -> Mapping[str, tuple[Position, ...]]:
        """The positions of each stream on its topic, ascending by partition.

        Args:
            topics: The streams' topics, by the streams' names.
        """
        found: dict[str, list[Position]] = {stream: [] for stream in topics}
        with self._primary.look("read the streams' positions") as cursor:
            cursor.execute(self._statements["fetch_positions"], {"streams": list(topics)})
            for row in rows_of(cursor):
                if row["topic"] == topics[row["stream"]]:
                    found[row["stream"]].append(position_of(row))
        return {stream: tuple(positions) for stream, positions in found.items()}

    def fetch_pauses(self, streams: Sequence[str]) -> Mapping[str, Pause]:
        """The pauses of those streams that somebody has paused."""
        with self._primary.look("look which streams are paused") as cursor:
            cursor.execute(self._statements["fetch_pauses"], {"streams": list(streams)})
            return {row.pop("stream"): Pause(**row) for row in map(dict, rows_of(cursor))}
