"""COPY into a table, and the temporary stage for tables that rows must not be copied into directly.

A transaction has one stage: a temporary table with the target's columns, and before them the
number of each line. Lines are numbered through the whole batch, chunk after chunk.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.adapters.postgres.connection import Cursor, Transaction
from kafka_pg_pipeline.adapters.postgres.discretion import unprinted_driver_errors
from kafka_pg_pipeline.domain.batches import CopyChunk
from kafka_pg_pipeline.domain.copy_text import CopyFormat, CopyLines
from kafka_pg_pipeline.domain.tables import TableName

# Qualified: a table of that name elsewhere in the role's search path is none of ours.
STAGE = sql.Identifier("pg_temp", "kafka_pg_stage")
# psycopg2 asks for this much at a time, and waits for Python's lock each time.
_COPY_PIECE_BYTES = 1 << 18
_FAILPOINT = "in_copy"
_FORMATS = {
    CopyFormat.TEXT: sql.SQL("FORMAT text"),
    CopyFormat.CSV: sql.SQL("FORMAT csv, QUOTE '\"', ESCAPE '\\', NULL 'null'"),
}


@dataclass(frozen=True, slots=True)
class NumberedChunk:
    """A chunk, the number of its first line in the stage, and the stage's column for numbers."""

    chunk: CopyChunk
    first: int
    line: sql.Identifier


def number_chunks(chunks: Sequence[CopyChunk]) -> list[NumberedChunk]:
    """Number the lines of a batch through all its chunks."""
    numbered = []
    first, line = 0, _line_column(chunks)
    for chunk in chunks:
        numbered.append(NumberedChunk(chunk, first, line))
        first += len(chunk.lines)
    return numbered


def _line_column(chunks: Sequence[CopyChunk]) -> sql.Identifier:
    return sql.Identifier(free_name("kafka_pg_line", chunks))


def free_name(name: str, chunks: Sequence[CopyChunk]) -> str:
    """A column's name that no column of the chunks has."""
    taken = set(all_columns(chunks))
    while name in taken:
        name += "_"
    return name


def all_columns(chunks: Sequence[CopyChunk]) -> list[str]:
    """The columns of all chunks together."""
    return list(dict.fromkeys(column for chunk in chunks for column in chunk.columns))


def target_identifier(name: TableName) -> sql.Identifier:
    """The table's quoted, schema-qualified name."""
    return sql.Identifier(name.schema, name.name)


def copy_lines(
    cursor: Cursor,
    table: sql.Identifier,
    columns: Sequence[sql.Identifier],
    lines: CopyLines,
) -> int:
    """COPY lines into a table; return how many rows arrived."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN ({})").format(
        table, sql.SQL(", ").join(columns), _FORMATS[lines.format]
    )
    payload = lines.payload()
    # No Python code of ours may run inside: psycopg2 swallows what a signal raises there.
    is_armed = failpoints.is_armed(_FAILPOINT)
    source = _Failing(payload) if is_armed else io.BytesIO(payload)
    with unprinted_driver_errors():
        cursor.copy_expert(statement, source, size=_COPY_PIECE_BYTES)
    return cursor.rowcount


class _Failing(io.BytesIO):
    """COPY's input under a failpoint. Its second read comes when the server takes rows already."""

    def read(self, size: int | None = -1, /) -> bytes:
        failpoints.reach(_FAILPOINT)
        return super().read(size)


def names_of(columns: Sequence[str]) -> list[sql.Identifier]:
    """The columns' quoted names."""
    return [sql.Identifier(column) for column in columns]


def create_stage(cursor: Transaction, target: TableName, chunks: Sequence[CopyChunk]) -> None:
    """Create an empty stage for these chunks; it vanishes with the transaction."""
    cursor.defer(
        sql.SQL(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS"
            " SELECT NULL::bigint AS {}, {} FROM {} WITH NO DATA"
        ).format(
            STAGE,
            _line_column(chunks),
            sql.SQL(", ").join(names_of(all_columns(chunks))),
            target_identifier(target),
        )
    )


def index_stage(cursor: Cursor, chunks: Sequence[CopyChunk]) -> None:
    """Let many small ranges be read without reading the whole stage for each."""
    cursor.execute(sql.SQL("CREATE INDEX ON {} ({})").format(STAGE, _line_column(chunks)))


def copy_to_stage(cursor: Cursor, numbered: NumberedChunk, start: int, end: int) -> None:
    """COPY the lines [start, end) of a chunk into the stage."""
    chunk = numbered.chunk
    numbers = range(numbered.first + start, numbered.first + end)
    lines = chunk.lines[start:end].prefix(numbers)
    copy_lines(cursor, STAGE, (numbered.line, *names_of(chunk.columns)), lines)


def insert_staged(
    cursor: Cursor, target: TableName, numbered: NumberedChunk, start: int, end: int
) -> int:
    """Insert the staged lines [start, end) of a chunk; return how many rows arrived."""
    # Literals, since with arguments psycopg2 would read the % of a name as one more of them.
    cursor.execute(
        sql.SQL(
            "INSERT INTO {target} ({names}) SELECT {names} FROM {stage}"
            " WHERE {line} >= {start} AND {line} < {end} ORDER BY {line}"
        ).format(
            target=target_identifier(target),
            names=sql.SQL(", ").join(names_of(numbered.chunk.columns)),
            stage=STAGE,
            line=numbered.line,
            start=sql.Literal(numbered.first + start),
            end=sql.Literal(numbered.first + end),
        )
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
