"""Stored dead letters: looked at, opened, discarded."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from psycopg2 import sql
from psycopg2.extras import Json

from kafka_pg_pipeline.adapters.postgres.connection import (
    Cursor,
    Primary,
    Statements,
    rows_of,
)
from kafka_pg_pipeline.domain.letters import (
    ChunkLimits,
    Letter,
    LetterFilter,
    LetterPage,
    OpenedLetter,
    Resolution,
    StoredRecord,
)


class PostgresLetters:
    """Dead letters of one stream on one topic, over a connection that the caller owns."""

    def __init__(self, primary: Primary, *, stream: str, topic: str) -> None:
        self._primary = primary
        self._statements = Statements("letters", primary.settings.schema_name)
        self._positions = Statements("positions", primary.settings.schema_name)
        self._key = {"stream": stream, "topic": topic}

    def fetch_page(self, wanted: LetterFilter, *, resolved: bool = False, most: int) -> LetterPage:
        """The newest ``most`` of the letters that are meant, and the count of all by reason."""
        arguments = {**self._key, **arguments_of(wanted), "resolved": resolved, "most": most}
        with self._primary.look("read the dead letters", statements=2) as cursor:
            cursor.execute(self._matching("list"), arguments)
            letters = tuple(map(_letter, rows_of(cursor)))
            cursor.execute(self._matching("count_by_reason"), arguments)
            return LetterPage(letters, dict(cursor.fetchall()))

    def open_letters(self, wanted: LetterFilter) -> tuple[OpenedLetter, ...]:
        """The letters that are meant, resolved or not, with what their records hold."""
        with self._primary.look("open dead letters") as cursor:
            return self._open(cursor, wanted)

    def fetch_uncopied(self, after_id: int, limits: ChunkLimits) -> tuple[OpenedLetter, ...]:
        """The next unresolved letters that were never copied, ascending by id."""
        arguments = {
            **self._key,
            **arguments_of(LetterFilter()),
            "resolved": False,
            "after_id": after_id,
            "max_rows": limits.max_rows,
            "max_bytes": limits.max_bytes,
        }
        with self._primary.transaction("read dead letters to copy", statements=2) as cursor:
            cursor.execute(self._matching("choose_uncopied"), arguments)
            ids = tuple(number for (number,) in cursor.fetchall())
            return self._open(cursor, LetterFilter(ids=ids)) if ids else ()

    def mark_copied(self, ids: Sequence[int]) -> None:
        """Remember that the broker has acknowledged them."""
        with self._primary.transaction("mark dead letters as copied") as cursor:
            cursor.execute(self._statements["mark_copied"], {"ids": list(ids)})

    def discard(
        self, wanted: LetterFilter, *, run_id: str, rehearsal: bool = False
    ) -> Mapping[str, int]:
        """Resolve the unresolved letters that are meant without a row; the count by reason."""
        arguments = {**self._key, **arguments_of(wanted), "resolved": False, "run_id": run_id}
        with self._primary.transaction(
            "discard dead letters", rehearsal=rehearsal, statements=2
        ) as cursor:
            cursor.execute(self._matching("discard"), arguments)
            by_reason = Counter(reason for (reason,) in cursor.fetchall())
            detail = {"run_id": run_id, "discarded": dict(by_reason), **described(wanted)}
            self._audit(cursor, "discard-dead-letters", detail)
            return dict(by_reason.most_common())

    def _open(self, cursor: Cursor, wanted: LetterFilter) -> tuple[OpenedLetter, ...]:
        arguments = {**self._key, **arguments_of(wanted), "resolved": None}
        cursor.execute(self._matching("open"), arguments)
        return tuple(
            OpenedLetter(_letter(row), record_of({**row, "letter_id": row["id"]}))
            for row in rows_of(cursor)
        )

    def _matching(self, name: str) -> sql.Composed:
        return self._statements["matching"] + self._statements[name]

    def _audit(self, cursor: Cursor, action: str, detail: Mapping[str, Any]) -> None:
        cursor.execute(
            self._positions["insert_audit"], {**self._key, "action": action, "detail": Json(detail)}
        )


def arguments_of(wanted: LetterFilter) -> dict[str, Any]:
    """A filter as arguments of the query ``matching``."""
    arguments = asdict(wanted)
    arguments["ids"] = None if wanted.ids is None else list(wanted.ids)
    arguments["reason"] = wanted.reason.value if wanted.reason else None
    return arguments


def described(wanted: LetterFilter) -> dict[str, Any]:
    """A filter for the audit table."""
    given = {name: value for name, value in arguments_of(wanted).items() if value is not None}
    for name in ("since", "until"):
        if name in given:
            given[name] = given[name].isoformat()
    return {"filter": given}


def record_of(row: Mapping[str, Any]) -> StoredRecord:
    """The record that a letter holds."""
    names = [bytes(name).decode() for name in row["header_keys"]]
    values = [_bytes(value) for value in row["header_values"]]
    return StoredRecord(
        letter_id=row["letter_id"],
        partition=row["partition"],
        incarnation=row["incarnation"],
        offset=row["offset"],
        timestamp=row["timestamp"],
        timestamp_type=row["timestamp_type"],
        key=_bytes(row["key"]),
        value=_bytes(row["value"]),
        headers=tuple(zip(names, values, strict=True)),
    )


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


_LETTER_COLUMNS = tuple(Letter.__slots__)


def _letter(row: Mapping[str, Any]) -> Letter:
    known = {name: row[name] for name in _LETTER_COLUMNS}
    resolution = known["resolution"]
    known["resolution"] = Resolution(resolution) if resolution else None
    return Letter(**known)
