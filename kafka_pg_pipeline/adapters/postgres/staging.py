"""COPY into a table, and the temporary stage for tables that rows must not be copied into directly.

A stage is one temporary table a chunk: its columns, and before them the number of each line.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.adapters.postgres.connection import Cursor
from kafka_pg_pipeline.adapters.postgres.discretion import unprinted_driver_errors
from kafka_pg_pipeline.domain.batches import CopyChunk
from kafka_pg_pipeline.domain.tables import TableName

_LINE = "kafka_pg_line"
# psycopg2 asks for this much text at a time; its default of 8 KiB costs a call into Python each.
_COPY_PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Stage:
    """A temporary table that holds one chunk until its rows are inserted."""

    table: sql.Identifier
    columns: tuple[str, ...]


def target_identifier(name: TableName) -> sql.Identifier:
    """The table's quoted, schema-qualified name."""
    return sql.Identifier(name.schema, name.name)


def copy_lines(
    cursor: Cursor, table: sql.Identifier, columns: Sequence[str], lines: Sequence[str]
) -> int:
    """COPY text lines into a table; return how many rows arrived."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT text)").format(table, _names(columns))
    payload = "".join(f"{line}\n" for line in lines).encode()
    with unprinted_driver_errors():
        cursor.copy_expert(statement, _Payload(payload), size=_COPY_PIECE_BYTES)
    return cursor.rowcount


class _Payload(io.BytesIO):
    """COPY's input. Its second read comes when the server has begun to take rows."""

    def read(self, size: int | None = -1, /) -> bytes:
        failpoints.reach("in_copy")
        return super().read(size)


def stage_of(columns: tuple[str, ...], number: int) -> Stage:
    """The stage of a batch's chunk by its number."""
    return Stage(sql.Identifier(f"kafka_pg_stage_{number}"), columns)


def create_stage(cursor: Cursor, target: TableName, columns: tuple[str, ...], number: int) -> Stage:
    """Create an empty stage for a chunk of these columns; it vanishes with the transaction."""
    stage = stage_of(columns, number)
    cursor.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS"
            " SELECT NULL::bigint AS {}, {} FROM {} WITH NO DATA"
        ).format(stage.table, sql.Identifier(_LINE), _names(columns), target_identifier(target))
    )
    return stage


def copy_to_stage(cursor: Cursor, stage: Stage, chunk: CopyChunk, start: int, end: int) -> None:
    """COPY the lines [start, end) of a chunk, numbered, into its stage."""
    lines = [f"{number}\t{chunk.lines[number]}" for number in range(start, end)]
    copy_lines(cursor, stage.table, (_LINE, *stage.columns), lines)


def insert_staged(cursor: Cursor, target: TableName, stage: Stage, start: int, end: int) -> int:
    """Insert the staged lines [start, end) into the target; return how many rows arrived."""
    cursor.execute(
        sql.SQL(
            "INSERT INTO {target} ({names}) SELECT {names} FROM {stage}"
            " WHERE {line} >= %s AND {line} < %s ORDER BY {line}"
        ).format(
            target=target_identifier(target),
            names=_names(stage.columns),
            stage=stage.table,
            line=sql.Identifier(_LINE),
        ),
        (start, end),
    )
    return cursor.rowcount


@contextmanager
def savepoint(cursor: Cursor) -> Iterator[None]:
    """Keep what the body did, or undo just that when the server refuses it."""
    cursor.execute("SAVEPOINT kafka_pg_try")
    try:
        yield
    except psycopg2.Error:
        if not cursor.connection.closed:
            cursor.execute("ROLLBACK TO SAVEPOINT kafka_pg_try; RELEASE SAVEPOINT kafka_pg_try")
        raise
    cursor.execute("RELEASE SAVEPOINT kafka_pg_try")


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
