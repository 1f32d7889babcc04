"""Retention of the pipeline's own tables: old ledger lines are merged, resolved letters removed.

Every transaction is short, and leaves books that ``verify`` finds in order: a purge that dies half
way is taken up by the next one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.extras import Json

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.adapters.postgres.connection import Primary, Statements, rows_of
from kafka_pg_pipeline.domain.purging import PurgeReport
from kafka_pg_pipeline.errors import InvariantError

_MOST_LINES = 5_000
_MOST_LETTERS = 1_000


@dataclass(frozen=True, slots=True)
class PurgeLimits:
    """How many days lines and resolved letters stay, and how many one transaction takes.

    ``most_lines`` is at least 2: a line alone cannot be merged.
    """

    ledger_days: int
    letter_days: int
    most_lines: int = _MOST_LINES
    most_letters: int = _MOST_LETTERS


class PostgresPurge:
    """Purges streams by the names that the tables know, over a connection that the caller owns."""

    def __init__(self, primary: Primary, limits: PurgeLimits) -> None:
        self._primary = primary
        self._limits = limits
        self._purge = Statements("purge", primary.settings.schema_name)
        self._positions = Statements("positions", primary.settings.schema_name)

    def fetch_streams(self, name: str) -> tuple[str, ...]:
        """The stream and the windows of its backfills, as far as anything was loaded."""
        with self._primary.look("look for the stream in the ledger") as cursor:
            cursor.execute(self._purge["streams"], {"name": name})
            return tuple(row["stream"] for row in rows_of(cursor))

    def purge(self, stream: str, *, rehearsal: bool = False) -> PurgeReport:
        """Remove the stream's old letters, then merge its old lines; or say what would go.

        Raises:
            InvariantError: a letter belongs to no line of the ledger; nothing of its transaction
                was removed.
            PipelineError: what the server said; what was done until then stays.

        """
        letters = self._count_letters(stream) if rehearsal else self._remove_letters(stream)
        with self._primary.look("list the epochs of the ledger") as cursor:
            cursor.execute(self._purge["epochs"], {"stream": stream})
            epochs = rows_of(cursor)
        lines = sum(
            self._compact({"stream": stream, **epoch}, rehearsal=rehearsal) for epoch in epochs
        )
        return PurgeReport(stream, lines, letters)

    def _count_letters(self, stream: str) -> int:
        with self._primary.look("count old dead letters") as cursor:
            arguments = {"stream": stream, "days": self._limits.letter_days}
            cursor.execute(self._purge["count_letters"], arguments)
            return int(rows_of(cursor)[0]["count"])

    def _remove_letters(self, stream: str) -> int:
        removed = 0
        while True:
            taken = self._remove_some_letters(stream)
            removed += taken
            if taken < self._limits.most_letters:
                return removed

    def _remove_some_letters(self, stream: str) -> int:
        """One transaction: letters, their counts in the ledger, and an audit row."""
        limits = self._limits
        with self._primary.transaction("remove old dead letters", statements=3) as cursor:
            cursor.execute(self._purge["lock"], {"stream": stream})
            cursor.execute(
                self._purge["remove_letters"],
                {"stream": stream, "days": limits.letter_days, "most": limits.most_letters},
            )
            [row] = rows_of(cursor)
            removed, noted = int(row["removed"]), int(row["noted"])
            if removed != noted:
                raise InvariantError(
                    f"stream {stream!r}: {removed - noted} of {removed} dead letters to purge "
                    "belong to no line of the ledger, and none was removed: look with "
                    "`kafka-pg verify`"
                )
            if removed:
                detail = {"dead_letters": removed, "resolved_days_ago": limits.letter_days}
                arguments = {"stream": stream, "action": "purge", "detail": Json(detail)}
                cursor.execute(self._positions["insert_audit"], arguments)
            failpoints.reach("purge_letters")
        return removed

    def _compact(self, epoch: Mapping[str, Any], *, rehearsal: bool) -> int:
        """Lines by which one epoch's part of the ledger becomes shorter."""
        merged = from_offset = 0
        while True:
            row = self._compact_some(epoch, from_offset, rehearsal=rehearsal)
            merged += int(row["removed"])
            if row["looked_at"] < self._limits.most_lines:
                return merged
            # What was merged goes on to grow; a rehearsal has left the last line where it was.
            from_offset = row["last_line"] if rehearsal else row["last_run"]

    def _compact_some(
        self, epoch: Mapping[str, Any], from_offset: int, *, rehearsal: bool
    ) -> Mapping[str, Any]:
        arguments = {
            **epoch,
            "from_offset": from_offset,
            "days": self._limits.ledger_days,
            "most": self._limits.most_lines,
        }
        with self._primary.transaction(
            "merge old ledger lines", rehearsal=rehearsal, statements=2
        ) as cursor:
            cursor.execute(self._purge["lock"], {"stream": epoch["stream"]})
            cursor.execute(self._purge["compact"], arguments)
            [row] = rows_of(cursor)
            failpoints.reach("purge_lines")
        return row
