"""The lines of a merge on their way: staged as they came, and one line a key of them.

The lines that write and those that delete are two sides with a stage each. A line is known by its
number in the batch, and older or newer than another by its record's offset and partition: the
marks. What the target's own columns tell of these is not sent again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from psycopg2 import sql

from kafka_pg_pipeline.adapters.postgres.connection import Cursor
from kafka_pg_pipeline.adapters.postgres.staging import (
    NumberedChunk,
    all_columns,
    copy_lines,
    free_name,
    names_of,
    number_chunks,
)
from kafka_pg_pipeline.domain.batches import CopyChunk
from kafka_pg_pipeline.domain.copy_text import CopyLines
from kafka_pg_pipeline.domain.documents import Change
from kafka_pg_pipeline.domain.modes import Mode, WriteMode
from kafka_pg_pipeline.domain.record_runs import RecordRun
from kafka_pg_pipeline.domain.tables import ColumnKind, TargetTable

_TYPES = {"line": "bigint", "partition": "integer", "offset": "bigint"}


@dataclass(frozen=True)
class Side:
    """The lines of one kind of change: as they came (``stage``), and one a key (``last``).

    ``reduced`` is the query that leaves one line a key, and ``last`` the table of its result where
    there is one, else the query itself. ``marks`` are the columns that tell each line's number,
    partition and offset, of which the stage has those that are ``sent`` beside the target's own;
    nobody asks for the number of a line where it is not sent.
    """

    stage: sql.Identifier
    last: sql.Composable
    reduced: sql.Composed
    chunks: tuple[NumberedChunk, ...]
    columns: tuple[str, ...]
    marks: Mapping[str, sql.Identifier]
    sent: tuple[str, ...]

    def create_stage(self, table: sql.Identifier) -> sql.Composed:
        """The statement that makes the stage, with columns as those of the target ``table``."""
        marks = [
            sql.SQL("NULL::{} AS {}").format(sql.SQL(_TYPES[name]), self.marks[name])
            for name in self.sent
        ]
        return sql.SQL(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA"
        ).format(self.stage, sql.SQL(", ").join([*marks, *names_of(self.columns)]), table)

    def copy(self, cursor: Cursor, part: "Part") -> None:
        """COPY lines into the stage."""
        columns = [*(self.marks[name] for name in self.sent), *names_of(part.chunk.columns)]
        copy_lines(cursor, self.stage, columns, self._marked_lines(part))

    def _marked_lines(self, part: "Part") -> CopyLines:
        if not self.sent:
            return part.lines
        told: Mapping[str, Callable[[], Iterable[int]]] = {
            "line": lambda: range(part.first, part.first + part.count),
            "partition": lambda: part.records.column("partition"),
            "offset": lambda: part.records.column("offset"),
        }
        return part.lines.prefix(*(told[name]() for name in self.sent))


@dataclass(frozen=True)
class Part:
    """The lines [start, end) of a chunk of a side."""

    side: Side
    numbered: NumberedChunk
    start: int
    end: int

    @classmethod
    def whole(cls, side: Side, numbered: NumberedChunk) -> "Part":
        """All lines of a chunk."""
        return cls(side, numbered, 0, len(numbered.chunk.lines))

    @property
    def chunk(self) -> CopyChunk:
        """The chunk that the lines are of."""
        return self.numbered.chunk

    @property
    def first(self) -> int:
        """The number of the first line in the batch."""
        return self.numbered.first + self.start

    @property
    def count(self) -> int:
        """How many lines these are."""
        return self.end - self.start

    @property
    def lines(self) -> CopyLines:
        """The lines, as they stand in the chunk."""
        is_whole = self.count == len(self.chunk.lines)
        return self.chunk.lines if is_whole else self.chunk.lines[self.start : self.end]

    @property
    def records(self) -> RecordRun:
        """The record of each line."""
        is_whole = self.count == len(self.chunk.lines)
        return self.chunk.records if is_whole else self.chunk.records[self.start : self.end]

    @property
    def condition(self) -> sql.Composable:
        """Whether a line of the side is one of these."""
        if "line" not in self.side.sent:
            return sql.SQL("true")
        # Literals, since with arguments psycopg2 would read the % of a name as one more of them.
        return sql.SQL("{line} >= {start} AND {line} < {end}").format(
            line=self.side.marks["line"],
            start=sql.Literal(self.first),
            end=sql.Literal(self.first + self.count),
        )

    @property
    def standing(self) -> sql.Composed:
        """The query for the partition of each of these lines that is the one of its key."""
        return sql.SQL("SELECT {} AS partition FROM {} AS l WHERE {}").format(
            self.side.marks["partition"], self.side.last, self.condition
        )

    @cached_property
    def count_by_partition(self) -> Mapping[int, int]:
        """How many lines each partition has here, whatever their keys."""
        return Counter(self.records.column("partition"))


@dataclass(frozen=True)
class Sides:
    """The two kinds of change of a batch; None where it has none of a kind."""

    deletes: Side | None
    writes: Side | None

    @classmethod
    def of(
        cls, chunks: Sequence[CopyChunk], target: TargetTable, mode: WriteMode, *, in_one: bool
    ) -> "Sides":
        """The sides of a batch.

        ``in_one``: one statement reduces and merges all lines, so that they need no numbers, and
        those that stand no table.
        """
        free = {name: free_name(f"kafka_pg_{name}", chunks) for name in _TYPES}

        def side(change: Change, name: str) -> Side | None:
            chosen = tuple(n for n in number_chunks(chunks) if n.chunk.change is change)
            if not chosen:
                return None
            known = _known_marks(target, [numbered.chunk for numbered in chosen])
            marks = {name: sql.Identifier(known.get(name, free[name])) for name in _TYPES}
            # The sort looks at the marks wherever keys are equal: fast while no text is in front.
            columns = all_columns([numbered.chunk for numbered in chosen])
            columns.sort(key=lambda column: column not in known.values())
            stage = sql.Identifier("pg_temp", f"kafka_pg_{name}")
            reduced = _reduce(stage, marks, mode)
            table = sql.Identifier("pg_temp", f"kafka_pg_last_{name}")
            return Side(
                stage=stage,
                last=sql.SQL("({})").format(reduced) if in_one else table,
                reduced=reduced,
                chunks=chosen,
                columns=tuple(columns),
                marks=marks,
                sent=tuple(n for n in _TYPES if n not in known and not (in_one and n == "line")),
            )

        return cls(side(Change.DELETE, "deletes"), side(Change.WRITE, "writes"))

    def __iter__(self) -> Iterator[Side]:
        return iter([side for side in (self.deletes, self.writes) if side is not None])

    def of_change(self, change: Change) -> Side:
        """The side of a chunk that is in the batch."""
        side = self.deletes if change is Change.DELETE else self.writes
        if side is None:
            raise LookupError(change)
        return side


def _known_marks(target: TargetTable, chunks: Sequence[CopyChunk]) -> Mapping[str, str]:
    """The target's own columns of partition and offset, where all lines fill them as numbers."""
    names = target.offset_columns
    if names is None or not all(set(names) <= set(chunk.columns) for chunk in chunks):
        return {}
    kinds = {column.kind for column in target.columns if column.name in names}
    if kinds != {ColumnKind.INTEGER}:
        return {}
    return dict(zip(("partition", "offset"), names, strict=True))


def _reduce(
    stage: sql.Identifier, marks: Mapping[str, sql.Identifier], mode: WriteMode
) -> sql.Composed:
    """One line a key, in the order of the keys: the last, or of insert-ignore the first."""
    return sql.SQL(
        "SELECT DISTINCT ON ({keys}) * FROM {stage}"
        " ORDER BY {keys}, {offset} {order}, {partition} {order}"
    ).format(
        keys=sql.SQL(", ").join(names_of(mode.key)),
        stage=stage,
        order=sql.SQL("ASC" if mode.mode is Mode.INSERT_IGNORE else "DESC"),
        offset=marks["offset"],
        partition=marks["partition"],
    )
