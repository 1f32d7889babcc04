"""The windows of a stream in PostgreSQL: which there are, and what the live position left them."""

from psycopg2.extras import Json

from kafka_pg_pipeline.adapters.postgres.connection import Primary, Statements, rows_of
from kafka_pg_pipeline.adapters.postgres.positions import fetch_pause
from kafka_pg_pipeline.domain.offsets import TopicIdentity
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.domain.windows import (
    EpochSpan,
    Uncovered,
    Window,
    WindowStatus,
    find_uncovered,
)
from kafka_pg_pipeline.errors import (
    ConfigurationError,
    IncarnationChangedError,
    TargetError,
)

# The migration that brings their table.
BACKFILLS_SINCE = 3


class PostgresBackfills:
    """Windows of one stream on one topic, over a connection that the caller owns."""

    def __init__(self, primary: Primary, *, stream: str, topic: str) -> None:
        self._primary = primary
        self._backfills = Statements("backfills", primary.settings.schema_name)
        self._positions = Statements("positions", primary.settings.schema_name)
        self._key = {"stream": stream, "topic": topic}

    def fetch_incarnation(self) -> int:
        """The topic's, which a window that is new belongs to."""
        with self._primary.look("read the topic's incarnation") as cursor:
            cursor.execute(self._backfills["incarnation"], self._key)
            return int((cursor.fetchone() or (1,))[0])

    def register(self, window: Window, table: str) -> Pause | None:
        """Note a window before its first record; the stream's pause, where nothing was noted.

        Raises:
            ConfigurationError: it overlaps another window into the same table.
            TargetError: it was loaded into another table before.

        """
        arguments = {
            **self._key,
            "name": window.name,
            "incarnation": window.incarnation,
            "table": table,
            "window_start": window.start,
            "window_end": window.end,
        }
        with self._primary.transaction("note the window", statements=4) as cursor:
            cursor.execute(self._positions["lock_stream"], self._key)
            pause = fetch_pause(cursor, self._positions, self._key)
            if pause is not None:
                return pause
            cursor.execute(self._backfills["overlapping"], arguments)
            for (other,) in cursor.fetchall():
                raise ConfigurationError(
                    f"{window.name} overlaps {other}, which was loaded into {table} before: their "
                    "common records would be loaded twice. Choose times that do not overlap, or "
                    "exactly the same; `kafka-pg backfill "
                    f"{self._key['stream']} --list` lists all windows"
                )
            cursor.execute(self._backfills["register"], arguments)
            cursor.execute(self._backfills["table_of"], arguments)
            for (known,) in cursor.fetchall():
                if known != table:
                    raise TargetError(
                        f"{window.name} was loaded into {known}, and `table` is {table} now: name "
                        f"the table by --into, which makes it another window"
                    )
        return None

    def forget(self, name: str, *, rehearsal: bool) -> bool:
        """Remove a window and its books, with an audit row; False where there is none."""
        arguments = {**self._key, "name": name}
        with self._primary.transaction(
            "forget the window", rehearsal=rehearsal, statements=3
        ) as cursor:
            cursor.execute(self._positions["lock_stream"], self._key)
            cursor.execute(self._backfills["lock_window"], arguments)
            cursor.execute(self._backfills["forget"], arguments)
            was_known = bool(cursor.rowcount)
            if was_known:
                detail = Json({"window": name})
                cursor.execute(
                    self._positions["insert_audit"],
                    {**self._key, "action": "forget-window", "detail": detail},
                )
            return was_known

    def complete(self, name: str) -> None:
        """Note that a run has come to the window's end."""
        with self._primary.transaction("note that the window is complete") as cursor:
            cursor.execute(self._backfills["complete"], {"name": name})

    def check_incarnation(self, window: Window) -> None:
        """Insist that the window is of the topic as the stream has it now.

        Raises:
            IncarnationChangedError: the topic was accepted anew meanwhile.
        """
        found = self.fetch_incarnation()
        if found != window.incarnation:
            raise IncarnationChangedError(
                f"{self._key['topic']} was accepted anew while {window.name} was loaded: the "
                "window is that of the topic before, and ends where it is. Ask for the same time "
                "again, which is another window now"
            )

    def check_registered(self, window: Window) -> None:
        """Insist that nobody has let the window begin anew since this run began.

        Raises:
            ConfigurationError: somebody has.
        """
        with self._primary.look("look for the window") as cursor:
            cursor.execute(self._backfills["table_of"], {"name": window.name})
            if cursor.fetchone() is None:
                raise ConfigurationError(
                    f"{window.name} was forgotten while it was loaded: load it again"
                )

    def fetch_uncovered(self, incarnation: int) -> Uncovered:
        """Offsets that the live position never covered, or gave back; see ``find_uncovered``.

        Ask after the window's positions were read: a move of the live position that changes it
        raises their epoch.
        """
        arguments = {**self._key, "incarnation": incarnation}
        with self._primary.transaction("read what was loaded", statements=2) as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute(self._backfills["spans"], arguments)
            spans = [EpochSpan(**row) for row in rows_of(cursor)]
            cursor.execute(self._backfills["gaps"], arguments)
            gaps = [EpochSpan(**row) for row in rows_of(cursor)]
        return find_uncovered(spans, gaps)

    def fetch_identities(self) -> set[TopicIdentity]:
        """Of which topic the newest windows are; none where there are no windows."""
        with self._primary.look("read the topic of the windows") as cursor:
            cursor.execute(self._backfills["identities"], self._key)
            return {TopicIdentity(*row) for row in cursor.fetchall()}

    def fetch_partitions(self) -> tuple[int, ...]:
        """Partitions of which any window has books."""
        with self._primary.look("list the partitions of the windows") as cursor:
            cursor.execute(self._backfills["partitions"], self._key)
            return tuple(partition for (partition,) in cursor.fetchall())

    def has_deleted(self) -> bool:
        """Whether a record of the stream has ever deleted a row."""
        with self._primary.look("look for deletes") as cursor:
            cursor.execute(self._backfills["has_deleted"], self._key)
            return bool((cursor.fetchone() or (False,))[0])

    def fetch_windows(self) -> tuple[WindowStatus, ...]:
        """All windows of the stream, by table and time."""
        with self._primary.look("list the windows") as cursor:
            cursor.execute(self._backfills["windows"], self._key)
            return tuple(WindowStatus(**row) for row in rows_of(cursor))
