"""Insert-ignore and upsert: a batch is staged, reduced to one line a key, and merged as a set.

Ahead of the lock the lines are copied into temporary tables, those that write and those that
delete apart, and reduced to the line of each key that counts. Behind it a statement for each list
of columns merges them. The server compares keys, by the types of the table's columns, so that
``1`` and ``1.0`` are one key where the column is numeric.

Rows are locked in the order of their keys, or else by one session at a time, so that streams that
merge into one table cannot deadlock.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from psycopg2 import sql

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.adapters.postgres.append import expect_rows
from kafka_pg_pipeline.adapters.postgres.connection import Cursor
from kafka_pg_pipeline.adapters.postgres.rejects import (
    Rejection,
    Tries,
    copy_context,
    search_chunks,
)
from kafka_pg_pipeline.adapters.postgres.staging import (
    NumberedChunk,
    all_columns,
    copy_lines,
    free_name,
    names_of,
    number_chunks,
    target_identifier,
)
from kafka_pg_pipeline.domain.batches import BatchCounts, CopyChunk, EncodedBatch, LedgerEntry
from kafka_pg_pipeline.domain.documents import Change
from kafka_pg_pipeline.domain.ledger import merge_entries
from kafka_pg_pipeline.domain.modes import Mode, WriteMode
from kafka_pg_pipeline.domain.tables import TargetTable

# With more column lists than this, the reduced lines are read by an index.
_FEW_CHUNKS = 8
_fetch_partition = attrgetter("partition")


class Merge:
    """The row path of the modes that have a key."""

    def __init__(self, target: TargetTable, mode: WriteMode) -> None:
        self._target = target
        self._mode = mode
        self._table = target_identifier(target.name)
        self._keys = names_of(mode.key)
        self._key_list = sql.SQL(", ").join(self._keys)

    def send(self, cursor: Cursor, batch: EncodedBatch) -> None:
        """Stage the lines and reduce them to one a key."""
        # Deferred constraints would otherwise speak up at COMMIT only.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        failpoints.reach("before_copy")
        sides = _Sides.of(batch.chunks)
        for side in sides:
            self._create_stage(cursor, side)
            for numbered in side.chunks:
                side.copy(cursor, numbered, 0, len(numbered.chunk.lines))
        self._reduce(cursor, sides)
        failpoints.reach("after_copy")

    def land(self, cursor: Cursor, batch: EncodedBatch) -> tuple[LedgerEntry, ...]:
        """Merge the reduced lines."""
        sides = _Sides.of(batch.chunks)
        self._take_turns(cursor, batch, sides)
        if batch.truncates:
            cursor.execute(sql.SQL("DELETE FROM {}").format(self._table))
        tally = _Tally()
        for side in sides:
            for numbered in side.chunks:
                lines = side.range(numbered, 0, len(numbered.chunk.lines))
                standing = _count_by_partition(cursor, side.standing(lines))
                applied = self._merge(cursor, side, numbered.chunk, lines, standing)
                tally.add(numbered.chunk, standing, applied, self._mode.mode)
        return merge_entries(batch, tally.counts)

    def find_rejections(
        self, tries: Tries, chunks: Sequence[CopyChunk], most: int
    ) -> list[list[Rejection]]:
        """Rejected lines of each chunk: COPY's by their number, the merge's by halving.

        Only lines that count are merged; what an older line of a key would do is not asked.
        """
        cursor, sides = tries.cursor, _Sides.of(chunks)
        for side in sides:
            with tries.limited():
                self._create_stage(cursor, side)

        def search_copy(numbered: NumberedChunk, left: int) -> list[Rejection]:
            side = sides.of_change(numbered.chunk.change)

            def copy(start: int, end: int) -> None:
                side.copy(cursor, numbered, start, end)

            context = copy_context(side.stage, numbered.chunk.columns)
            return tries.step_over(copy, context, len(numbered.chunk.lines), left)

        def search_merge(numbered: NumberedChunk, left: int) -> list[Rejection]:
            side = sides.of_change(numbered.chunk.change)

            def merge(start: int, end: int) -> object:
                lines = side.range(numbered, start, end)
                standing = _count_by_partition(cursor, side.standing(lines))
                return self._merge(cursor, side, numbered.chunk, lines, standing)

            return tries.halve_all(merge, len(numbered.chunk.lines), left)

        numbered_chunks = number_chunks(chunks)
        copied = search_chunks(numbered_chunks, most, search_copy)
        if any(copied):
            return copied
        with tries.limited():
            self._reduce(cursor, sides)
        return search_chunks(numbered_chunks, most, search_merge)

    # -- ahead of the lock ----------------------------------------------------------------------

    def _create_stage(self, cursor: Cursor, side: "_Side") -> None:
        cursor.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE {stage} ON COMMIT DROP AS SELECT NULL::bigint AS {line},"
                " NULL::integer AS {partition}, NULL::bigint AS {offset}, {columns}"
                " FROM {target} WITH NO DATA"
            ).format(
                stage=side.stage,
                target=self._table,
                columns=sql.SQL(", ").join(names_of(side.columns)),
                **side.marks,
            )
        )

    def _reduce(self, cursor: Cursor, sides: "_Sides") -> None:
        """Leave one line a key: the last, or of insert-ignore the first."""
        order = sql.SQL("ASC" if self._mode.mode is Mode.INSERT_IGNORE else "DESC")
        for side in sides:
            cursor.execute(
                sql.SQL(
                    "CREATE TEMPORARY TABLE {last} ON COMMIT DROP AS"
                    " SELECT DISTINCT ON ({keys}) * FROM {stage}"
                    " ORDER BY {keys}, {offset} {order}, {partition} {order}"
                ).format(
                    last=side.last, stage=side.stage, keys=self._key_list, order=order, **side.marks
                )
            )
            if len(side.chunks) > _FEW_CHUNKS:
                cursor.execute(
                    sql.SQL("CREATE INDEX ON {} ({})").format(side.last, side.marks["line"])
                )
        if sides.writes and sides.deletes:
            self._drop_deleted(cursor, sides.writes, sides.deletes)

    def _drop_deleted(self, cursor: Cursor, writes: "_Side", deletes: "_Side") -> None:
        """Leave out what a later line deletes.

        A delete before a write stays: the write makes a new row, that begins with its defaults.
        """
        same_key = self._same_key("w", "d")
        names = {"w": writes.last, "d": deletes.last, "same_key": same_key}
        offsets = {"w_offset": writes.marks["offset"], "d_offset": deletes.marks["offset"]}
        cursor.execute(
            sql.SQL(
                "DELETE FROM {w} AS w USING {d} AS d"
                " WHERE {same_key} AND d.{d_offset} > w.{w_offset}"
            ).format(**names, **offsets)
        )

    # -- behind the lock ------------------------------------------------------------------------

    def _take_turns(self, cursor: Cursor, batch: EncodedBatch, sides: "_Sides") -> None:
        """Let merges that lock rows in the order of their keys go together, others alone."""
        in_order = (
            not sides.deletes
            and not batch.truncates
            and len(batch.chunks) <= 1
            and not any(map(self._lacks_required, batch.chunks))
        )
        function = "pg_advisory_xact_lock_shared" if in_order else "pg_advisory_xact_lock"
        cursor.execute(
            sql.SQL("SELECT {}(hashtextextended({}, 0))").format(
                sql.Identifier(function), sql.Literal(f"kafka_pg merge into {self._target.oid}")
            )
        )

    def _merge(
        self,
        cursor: Cursor,
        side: "_Side",
        chunk: CopyChunk,
        lines: sql.Composed,
        standing: Mapping[int, int],
    ) -> Mapping[int, int]:
        """Merge those ``lines`` of a chunk that stand; by partition how many had an effect."""
        if chunk.change is Change.DELETE:
            return _count_by_partition(cursor, self._delete(side, lines))
        if not self._overwrites(chunk):
            return _count_by_partition(cursor, *self._insert_new(side, chunk, lines))
        if self._lacks_required(chunk):
            return self._update(cursor, side, chunk, lines)
        upsert = self._upsert(side, chunk, lines)
        if self._mode.newest_wins:
            return _count_by_partition(cursor, self._unless_stale(upsert))
        cursor.execute(upsert)
        expect_rows(self._target, cursor.rowcount, sum(standing.values()))
        return standing

    def _overwrites(self, chunk: CopyChunk) -> bool:
        """Whether a row that is there already is updated: there is something to set."""
        return self._mode.mode is Mode.UPSERT and bool(set(chunk.columns) - set(self._mode.key))

    def _lacks_required(self, chunk: CopyChunk) -> bool:
        """Whether lines leave out what a new row needs, since they know that there is a row."""
        return any(
            not (column.nullable or column.has_default) and column.name not in chunk.columns
            for column in self._target.columns
            if chunk.change is Change.WRITE
        )

    def _update(
        self, cursor: Cursor, side: "_Side", chunk: CopyChunk, lines: sql.Composed
    ) -> Mapping[int, int]:
        """Set what the lines say; where there is no row after all, PostgreSQL says what it lacks.

        An INSERT … ON CONFLICT would be refused whether there is a row or not.
        """
        settings = [
            sql.SQL("{name} = l.{name}").format(name=sql.Identifier(column))
            for column in chunk.columns
            if column not in self._mode.key
        ]
        names = {"target": self._table, "last": side.last, "lines": lines}
        applied = _count_by_partition(
            cursor,
            sql.SQL(
                "UPDATE {target} AS t SET {settings} FROM {last} AS l"
                " WHERE {lines} AND {same_key}{unless_stale} RETURNING l.{partition} AS partition"
            ).format(
                **names,
                settings=sql.SQL(", ").join(settings),
                same_key=self._same_key("t", "l"),
                unless_stale=self._and_older(),
                partition=side.marks["partition"],
            ),
        )
        cursor.execute(
            sql.SQL(
                "INSERT INTO {target} ({columns}) SELECT {columns} FROM {last} AS l"
                " WHERE {lines} AND NOT EXISTS (SELECT FROM {target} AS t WHERE {same_key})"
            ).format(
                **names,
                columns=sql.SQL(", ").join(names_of(chunk.columns)),
                same_key=self._same_key("t", "l"),
            )
        )
        return applied

    def _insert(self, side: "_Side", chunk: CopyChunk, lines: sql.Composed) -> sql.Composed:
        return sql.SQL(
            "INSERT INTO {target} AS t ({columns}) SELECT {columns} FROM {last}"
            " WHERE {lines} ORDER BY {keys} ON CONFLICT ({keys}) DO"
        ).format(
            target=self._table,
            columns=sql.SQL(", ").join(names_of(chunk.columns)),
            last=side.last,
            lines=lines,
            keys=self._key_list,
        )

    def _upsert(self, side: "_Side", chunk: CopyChunk, lines: sql.Composed) -> sql.Composed:
        settings = [
            sql.SQL("{name} = excluded.{name}").format(name=sql.Identifier(column))
            for column in chunk.columns
            if column not in self._mode.key
        ]
        return sql.SQL("{} UPDATE SET {}").format(
            self._insert(side, chunk, lines), sql.SQL(", ").join(settings)
        )

    def _unless_stale(self, upsert: sql.Composed) -> sql.Composed:
        return sql.SQL("{} WHERE {} RETURNING t.{} AS partition").format(
            upsert,
            self._is_older("t", "excluded"),
            sql.Identifier(self._target.version_columns[0]),
        )

    def _insert_new(
        self, side: "_Side", chunk: CopyChunk, lines: sql.Composed
    ) -> tuple[sql.Composed, sql.Composed]:
        """Insert what has no row yet. A row tells no partition, but the line of its key does."""
        applied = sql.SQL("{} NOTHING RETURNING {}").format(
            self._insert(side, chunk, lines),
            sql.SQL(", ").join(sql.SQL("t.{}").format(key) for key in self._keys),
        )
        told = sql.SQL(
            "SELECT l.{partition} AS partition FROM {last} AS l JOIN applied ON {same_key}"
            " WHERE {lines}"
        ).format(
            last=side.last,
            same_key=self._same_key("l", "applied"),
            lines=lines,
            partition=side.marks["partition"],
        )
        return told, applied

    def _delete(self, side: "_Side", lines: sql.Composed) -> sql.Composed:
        statement = sql.SQL(
            "DELETE FROM {target} AS t USING {last} AS l WHERE {lines} AND {same_key}{unless_stale}"
            " RETURNING l.{partition} AS partition"
        )
        return statement.format(
            target=self._table,
            last=side.last,
            lines=lines,
            same_key=self._same_key("t", "l"),
            unless_stale=self._and_older(),
            partition=side.marks["partition"],
        )

    def _same_key(self, left: str, right: str) -> sql.Composed:
        return sql.SQL(" AND ").join(
            sql.SQL("{}.{} = {}.{}").format(sql.Identifier(left), key, sql.Identifier(right), key)
            for key in self._keys
        )

    def _and_older(self) -> sql.Composable:
        """The condition that a row is older than its line, where the newest wins."""
        if not self._mode.newest_wins:
            return sql.SQL("")
        return sql.SQL(" AND ({})").format(self._is_older("t", "l"))

    def _is_older(self, row: str, line: str) -> sql.Composed:
        """Whether a row was written by an earlier record than a line.

        Offsets of two partitions cannot be compared: there the line that arrives later wins.
        """
        partition, offset, incarnation = map(sql.Identifier, self._target.version_columns)
        return sql.SQL(
            "{row}.{partition} IS DISTINCT FROM {line}.{partition}"
            " OR {row}.{offset} IS NULL OR {row}.{incarnation} IS NULL"
            " OR ({row}.{incarnation}, {row}.{offset}) < ({line}.{incarnation}, {line}.{offset})"
        ).format(
            row=sql.Identifier(row),
            line=sql.Identifier(line),
            partition=partition,
            offset=offset,
            incarnation=incarnation,
        )


@dataclass(frozen=True)
class _Side:
    """The lines of one kind of change: as they came (``stage``), and one a key (``last``).

    ``marks`` are the columns that hold each line's number, partition and offset.
    """

    stage: sql.Identifier
    last: sql.Identifier
    chunks: tuple[NumberedChunk, ...]
    columns: tuple[str, ...]
    marks: Mapping[str, sql.Identifier]

    def copy(self, cursor: Cursor, numbered: NumberedChunk, start: int, end: int) -> None:
        """COPY the lines [start, end) of a chunk into the stage."""
        chunk, first = numbered.chunk, numbered.first
        records = chunk.records[start:end]
        marks = zip(
            range(first + start, first + end),
            records.column("partition"),
            records.column("offset"),
            strict=True,
        )
        lines = chunk.lines[start:end].prefix(marks)
        copy_lines(cursor, self.stage, (*self.marks.values(), *names_of(chunk.columns)), lines)

    def range(self, numbered: NumberedChunk, start: int, end: int) -> sql.Composed:
        """Whether a line is one of [start, end) of a chunk."""
        # Literals, since with arguments psycopg2 would read the % of a name as one more of them.
        return sql.SQL("{line} >= {start} AND {line} < {end}").format(
            line=self.marks["line"],
            start=sql.Literal(numbered.first + start),
            end=sql.Literal(numbered.first + end),
        )

    def standing(self, lines: sql.Composed) -> sql.Composed:
        """The partition of each of these lines that counts."""
        return sql.SQL("SELECT {} AS partition FROM {} WHERE {}").format(
            self.marks["partition"], self.last, lines
        )


@dataclass(frozen=True)
class _Sides:
    """The two kinds of change of a batch; None where it has none of a kind."""

    deletes: _Side | None
    writes: _Side | None

    @classmethod
    def of(cls, chunks: Sequence[CopyChunk]) -> "_Sides":
        marks = {
            name: free_name(f"kafka_pg_{name}", chunks) for name in ("line", "partition", "offset")
        }

        def side(change: Change, name: str) -> _Side | None:
            chosen = tuple(n for n in number_chunks(chunks) if n.chunk.change is change)
            if not chosen:
                return None
            return _Side(
                stage=sql.Identifier("pg_temp", f"kafka_pg_{name}"),
                last=sql.Identifier("pg_temp", f"kafka_pg_last_{name}"),
                chunks=chosen,
                columns=tuple(all_columns([numbered.chunk for numbered in chosen])),
                marks=marks,
            )

        return cls(side(Change.DELETE, "deletes"), side(Change.WRITE, "writes"))

    def __iter__(self) -> Iterator[_Side]:
        return iter([side for side in (self.deletes, self.writes) if side is not None])

    def of_change(self, change: Change) -> _Side:
        """The side of a chunk that is in the batch."""
        side = self.deletes if change is Change.DELETE else self.writes
        if side is None:
            raise LookupError(change)
        return side


class _Tally:
    """What became of the lines of each partition."""

    def __init__(self) -> None:
        self.counts: dict[int, BatchCounts] = {}

    def add(
        self,
        chunk: CopyChunk,
        standing: Mapping[int, int],
        applied: Mapping[int, int],
        mode: Mode,
    ) -> None:
        """Account for a chunk: of all its lines some stood, and of these some had an effect."""
        for partition, lines in Counter(chunk.records.column("partition")).items():
            stood, effective = standing.get(partition, 0), applied.get(partition, 0)
            beaten = lines - stood
            ignores = mode is Mode.INSERT_IGNORE
            is_delete = chunk.change is Change.DELETE
            self.counts[partition] = self.counts.get(partition, BatchCounts()) + BatchCounts(
                rows=0 if is_delete else effective,
                deleted=effective if is_delete else 0,
                superseded=0 if ignores else beaten,
                ignored=stood - effective + (beaten if ignores else 0),
            )


def _count_by_partition(
    cursor: Cursor, told: sql.Composed, applied: sql.Composed | None = None
) -> Mapping[int, int]:
    """How many rows of each partition a statement returns, which may read what ``applied`` did."""
    parts = [sql.SQL("applied AS ({})").format(applied)] if applied else []
    parts.append(sql.SQL("told AS ({})").format(told))
    cursor.execute(
        sql.SQL("WITH {} SELECT partition, count(*) FROM told GROUP BY partition").format(
            sql.SQL(", ").join(parts)
        )
    )
    return dict(cursor.fetchall())
