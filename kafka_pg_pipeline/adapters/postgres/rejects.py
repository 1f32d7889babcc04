"""Finds the rows of a batch that only PostgreSQL rejects, without trying them one by one.

Everything happens inside a transaction that the caller rolls back. COPY names the line it failed
at, so the next try starts behind that line. What COPY into a stage cannot see (unique indexes,
foreign keys, triggers) is found by halving staged ranges. A try begins small behind each rejected
line and doubles while all goes well: the driver sends all of a COPY, however early it fails, so
that tries of the whole rest would cost the square of the batch.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql

from kafka_pg_pipeline.adapters.postgres.connection import Transaction
from kafka_pg_pipeline.adapters.postgres.errors import is_record_fault
from kafka_pg_pipeline.adapters.postgres.staging import NumberedChunk, savepoint
from kafka_pg_pipeline.domain.batches import CopyChunk
from kafka_pg_pipeline.domain.record_runs import JoinedRecords
from kafka_pg_pipeline.domain.records import DeadLetter, Reason, Stage

_FIRST_WIDTH = 256

_Attempt = Callable[[int, int], object]
TimeLimit = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Line ``index`` (from 0) of a chunk, refused by PostgreSQL."""

    index: int
    sqlstate: str
    column: str | None
    constraint: str | None


def search_chunks(
    numbered_chunks: Sequence[NumberedChunk],
    most: int,
    search: Callable[[NumberedChunk, int], list[Rejection]],
) -> list[list[Rejection]]:
    """Rejected lines of each chunk, ascending; stops early once there are more than ``most``.

    ``search`` finds those of one chunk, and is told how many are left of ``most``.
    """
    found: list[list[Rejection]] = []
    for numbered in numbered_chunks:
        left = most - sum(map(len, found))
        rejected = search(numbered, left) if left >= 0 else []
        found.append(sorted(rejected, key=lambda rejection: rejection.index))
    return found


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
    bad = [rejection.index for rejection in rejections]
    stretches = zip([0, *(index + 1 for index in bad)], [*bad, len(chunk.lines)], strict=True)
    kept = [slice(start, end) for start, end in stretches]
    return CopyChunk(
        chunk.columns,
        chunk.lines.pick(index for places in kept for index in range(places.start, places.stop)),
        JoinedRecords(chunk.records[places] for places in kept),
        chunk.change,
    )


def copy_context(table: sql.Identifier, columns: Sequence[str]) -> re.Pattern[str]:
    """The head of COPY's own context line. Text of the row stands behind it, never before.

    Names stand in it unquoted, with whatever they hold.
    """
    relation = re.escape(table.strings[-1])
    names = "|".join(map(re.escape, sorted(columns, key=len, reverse=True)))
    return re.compile(rf"^COPY {relation}, line (\d+)(?:, column ({names}): )?", re.MULTILINE)


@dataclass(frozen=True)
class Tries:
    """Tries ranges of lines, each in a savepoint and within its time."""

    cursor: Transaction
    limited: TimeLimit

    def step_over(
        self, copy: _Attempt, context: re.Pattern[str], count: int, most: int
    ) -> list[Rejection]:
        """Rejected lines by the number that COPY gives."""
        rejected: list[Rejection] = []
        start, width = 0, _FIRST_WIDTH
        while start < count and len(rejected) <= most:
            end = min(start + width, count)
            rejection = self._first_rejection(copy, context, start, end)
            if rejection is None:
                start, width = end, 2 * width
                continue
            rejected.append(rejection)
            if rejection.index > start:
                with self.limited():
                    copy(start, rejection.index)  # the failed COPY took these good lines along
            start, width = rejection.index + 1, _FIRST_WIDTH
        return rejected

    def halve_all(self, insert: _Attempt, count: int, most: int) -> list[Rejection]:
        """Rejected lines by halving the ranges that are refused."""
        rejected: list[Rejection] = []
        start, width = 0, _FIRST_WIDTH
        while start < count and len(rejected) <= most:
            end = min(start + width, count)
            found = self._halve(insert, range(start, end), most - len(rejected))
            rejected += found
            start, width = end, _FIRST_WIDTH if found else 2 * width
        return rejected

    def _first_rejection(
        self, copy: _Attempt, context: re.Pattern[str], start: int, end: int
    ) -> Rejection | None:
        error = self._refusal(copy, start, end)
        if error is None:
            return None
        match = context.search(error.diag.context or "")
        if match and 1 <= int(match[1]) <= end - start:
            return _rejection(error, start + int(match[1]) - 1, match[2])
        if end - start == 1:
            return _rejection(error, start, None)
        # A server whose messages are not English names no line that we can read.
        middle = (start + end) // 2
        return self._first_rejection(copy, context, start, middle) or self._first_rejection(
            copy, context, middle, end
        )

    def _halve(self, insert: _Attempt, lines: range, most: int) -> list[Rejection]:
        if not lines or most < 0:
            return []
        error = self._refusal(insert, lines.start, lines.stop)
        if error is None:
            return []
        if len(lines) == 1:
            return [_rejection(error, lines.start, None)]
        middle = (lines.start + lines.stop) // 2
        first = self._halve(insert, range(lines.start, middle), most)
        return first + self._halve(insert, range(middle, lines.stop), most - len(first))

    def _refusal(self, attempt: _Attempt, start: int, end: int) -> psycopg2.Error | None:
        """What the server holds against a row of the range; None where it took them all."""
        try:
            with self.limited(), savepoint(self.cursor):
                attempt(start, end)
        except psycopg2.Error as error:
            if not is_record_fault(error):
                raise
            return error
        return None


def _rejection(error: psycopg2.Error, index: int, column: str | None) -> Rejection:
    return Rejection(
        index=index,
        sqlstate=error.pgcode or "",
        column=column or error.diag.column_name,
        constraint=error.diag.constraint_name,
    )
