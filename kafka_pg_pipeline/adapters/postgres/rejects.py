"""Finds the rows of a chunk that only PostgreSQL rejects, without trying them one by one.

Everything happens inside a transaction that the caller rolls back. COPY names the line it failed
at, so the next try starts behind that line: the cost is linear in the chunk, however many lines
are bad. What COPY into a stage cannot see (unique indexes, foreign keys, triggers) is found by
halving the staged range.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import psycopg2

from kafka_pg_pipeline.adapters.postgres.connection import Cursor
from kafka_pg_pipeline.adapters.postgres.errors import is_record_fault
from kafka_pg_pipeline.adapters.postgres.staging import (
    copy_lines,
    copy_to_stage,
    create_stage,
    insert_staged,
    savepoint,
    target_identifier,
)
from kafka_pg_pipeline.domain.batches import CopyChunk
from kafka_pg_pipeline.domain.records import DeadLetter, Reason, Stage
from kafka_pg_pipeline.domain.tables import TargetTable

# The head of COPY's own context line. Text of the row stands behind it, never before.
_COPY_CONTEXT = re.compile(r"^COPY [^\n]*?, line (\d+)(?:, column ([^\n:]+))?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Line ``index`` (from 0) of a chunk, refused by PostgreSQL."""

    index: int
    sqlstate: str
    column: str | None
    constraint: str | None


def find_rejections(
    cursor: Cursor, target: TargetTable, chunk: CopyChunk, *, most: int
) -> list[Rejection]:
    """Rejected lines, ascending; stops early once there are more than ``most``.

    Raises:
        psycopg2.Error: an error that is no row's fault.

    """
    lines = range(len(chunk.lines))
    if target.plain:
        table = target_identifier(target.name)

        def copy(start: int, end: int) -> None:
            copy_lines(cursor, table, chunk.columns, chunk.lines[start:end])

        return _step_over(cursor, copy, lines, most)

    stage = create_stage(cursor, target.name, chunk.columns, 0)

    def copy_staged(start: int, end: int) -> None:
        copy_to_stage(cursor, stage, chunk, start, end)

    def insert(start: int, end: int) -> None:
        insert_staged(cursor, target.name, stage, start, end)

    rejected = _step_over(cursor, copy_staged, lines, most)
    rejected += _halve(cursor, insert, lines, most - len(rejected))
    return sorted(rejected, key=lambda rejection: rejection.index)


def dead_letter(chunk: CopyChunk, rejection: Rejection) -> DeadLetter:
    """The record of a rejected line, with what PostgreSQL held against it."""
    return DeadLetter(
        record=chunk.records[rejection.index],
        stage=Stage.WRITE,
        reason=Reason.REJECTED_BY_POSTGRESQL,
        column=rejection.column or rejection.constraint,
        sqlstate=rejection.sqlstate,
    )


def without_rejections(chunk: CopyChunk, rejections: list[Rejection]) -> CopyChunk:
    """The chunk without its rejected lines."""
    bad = {rejection.index for rejection in rejections}
    kept = [index for index in range(len(chunk.lines)) if index not in bad]
    return CopyChunk(
        chunk.columns,
        tuple(chunk.lines[index] for index in kept),
        tuple(chunk.records[index] for index in kept),
    )


_Attempt = Callable[[int, int], None]


def _step_over(cursor: Cursor, copy: _Attempt, lines: range, most: int) -> list[Rejection]:
    rejected: list[Rejection] = []
    start = lines.start
    while start < lines.stop and len(rejected) <= most:
        rejection = _first_rejection(cursor, copy, start, lines.stop)
        if rejection is None:
            break
        rejected.append(rejection)
        if rejection.index > start:
            copy(start, rejection.index)  # the failed COPY took these good lines along
        start = rejection.index + 1
    return rejected


def _first_rejection(cursor: Cursor, copy: _Attempt, start: int, end: int) -> Rejection | None:
    try:
        with savepoint(cursor):
            copy(start, end)
    except psycopg2.Error as error:
        if not is_record_fault(error):
            raise
        match = _COPY_CONTEXT.search(error.diag.context or "")
        if match and 1 <= int(match[1]) <= end - start:
            return _rejection(error, start + int(match[1]) - 1, match[2])
        if end - start == 1:
            return _rejection(error, start, None)
    else:
        return None
    # A server whose messages are not English names no line that we can read.
    middle = (start + end) // 2
    return _first_rejection(cursor, copy, start, middle) or _first_rejection(
        cursor, copy, middle, end
    )


def _halve(cursor: Cursor, insert: _Attempt, lines: range, most: int) -> list[Rejection]:
    if not lines or most < 0:
        return []
    try:
        with savepoint(cursor):
            insert(lines.start, lines.stop)
    except psycopg2.Error as error:
        if not is_record_fault(error):
            raise
        if len(lines) == 1:
            return [_rejection(error, lines.start, None)]
    else:
        return []
    middle = (lines.start + lines.stop) // 2
    first = _halve(cursor, insert, range(lines.start, middle), most)
    return first + _halve(cursor, insert, range(middle, lines.stop), most - len(first))


def _rejection(error: psycopg2.Error, index: int, column: str | None) -> Rejection:
    return Rejection(
        index=index,
        sqlstate=error.pgcode or "",
        column=column or error.diag.column_name,
        constraint=error.diag.constraint_name,
    )
