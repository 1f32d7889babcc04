"""Insert-ignore and upsert: a batch is staged, reduced to one line a key, and merged as a set.

Ahead of the lock the lines are copied into temporary tables, those that write and those that
delete apart. Behind it a statement for each list of columns merges the line of each key that
counts. The server compares keys, by the types of the table's columns, so that ``1`` and ``1.0``
are one key where the column is numeric.

Most batches only write, and write the same columns in each line: then one statement sorts, reduces
and merges them. For any other batch the reduced lines are put into tables of their own first; so
are they behind a batch that had keys several times, since such lines have to be counted too.

Rows are locked in the order of their keys, or else by one session at a time, so that streams that
merge into one table cannot deadlock.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from psycopg2 import sql

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.adapters.postgres.append import expect_rows
from kafka_pg_pipeline.adapters.postgres.connection import Cursor, Transaction
from kafka_pg_pipeline.adapters.postgres.new_rows import NewRows
from kafka_pg_pipeline.adapters.postgres.rejects import (
    Rejection,
    Tries,
    copy_context,
    search_chunks,
)
from kafka_pg_pipeline.adapters.postgres.sides import Part, Side, Sides
from kafka_pg_pipeline.adapters.postgres.staging import (
    NumberedChunk,
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


class Merge:
    """The row path of the modes that have a key."""

    def __init__(self, target: TargetTable, mode: WriteMode) -> None:
        self._target = target
        self._mode = mode
        self._table = target_identifier(target.name)
        self._keys = names_of(mode.key)
        self._key_list = sql.SQL(", ").join(self._keys)
        self._new_rows = NewRows()
        self._repeats = False
        # How batches were sent that are still to land; the one before may change it for the next.
        self._in_one: dict[UUID, bool] = {}

    def send(self, cursor: Transaction, batch: EncodedBatch) -> None:
        """Stage the lines."""
        failpoints.reach("before_copy")
        in_one = self._in_one[batch.batch_id] = self._is_merged_in_one(batch.chunks)
        sides = self._sides(batch.chunks, in_one=in_one)
        # Deferred constraints would otherwise speak up at COMMIT only.
        statements: list[sql.Composable] = [sql.SQL("SET CONSTRAINTS ALL IMMEDIATE")]
        statements += [side.create_stage(self._table) for side in sides]
        cursor.defer(sql.SQL("; ").join(statements))
        for side in sides:
            for numbered in side.chunks:
                side.copy(cursor, Part.whole(side, numbered))
        if not in_one:
            self._reduce(cursor, sides)
        failpoints.reach("after_copy")

    def land(self, cursor: Transaction, batch: EncodedBatch) -> tuple[LedgerEntry, ...]:
        """Merge the lines that count."""
        self._take_turns(cursor, batch)
        if batch.truncates:
            cursor.execute(sql.SQL("DELETE FROM {}").format(self._table))
        tally = _Tally()
        sides = self._sides(batch.chunks, in_one=self._in_one.pop(batch.batch_id))
        for side in sides:
            for numbered in side.chunks:
                part = Part.whole(side, numbered)
                standing, applied = self._merge(cursor, part, bets=True)
                tally.add(part, standing, applied, self._mode.mode)
        self._repeats = tally.repeats
        return merge_entries(batch, tally.counts)

    def find_rejections(
        self, tries: Tries, chunks: Sequence[CopyChunk], most: int
    ) -> list[list[Rejection]]:
        """Rejected lines of each chunk: COPY's by their number, the merge's by halving.

        Only lines that count are merged; what an older line of a key would do is not asked.
        """
        cursor, sides = tries.cursor, self._sides(chunks, in_one=False)
        for side in sides:
            with tries.limited():
                cursor.execute(side.create_stage(self._table))

        def search_copy(numbered: NumberedChunk, left: int) -> list[Rejection]:
            side = sides.of_change(numbered.chunk.change)

            def copy(start: int, end: int) -> None:
                side.copy(cursor, Part(side, numbered, start, end))

            context = copy_context(side.stage, numbered.chunk.columns)
            return tries.step_over(copy, context, len(numbered.chunk.lines), left)

        def search_merge(numbered: NumberedChunk, left: int) -> list[Rejection]:
            side = sides.of_change(numbered.chunk.change)

            def merge(start: int, end: int) -> object:
                return self._merge(cursor, Part(side, numbered, start, end))

            return tries.halve_all(merge, len(numbered.chunk.lines), left)

        numbered_chunks = number_chunks(chunks)
        copied = search_chunks(numbered_chunks, most, search_copy)
        if any(copied):
            return copied
        with tries.limited():
            self._reduce(cursor, sides)
        return search_chunks(numbered_chunks, most, search_merge)

    def _sides(self, chunks: Sequence[CopyChunk], *, in_one: bool) -> Sides:
        return Sides.of(chunks, self._target, self._mode, in_one=in_one)

    def _is_merged_in_one(self, chunks: Sequence[CopyChunk]) -> bool:
        """Whether one statement does it all, without tables of the reduced lines."""
        return self._is_one_write(chunks) and not self._repeats

    def _is_one_write(self, chunks: Sequence[CopyChunk]) -> bool:
        """Whether one INSERT writes it all, which locks rows in the order of their keys."""
        return len(chunks) <= 1 and not any(
            chunk.change is Change.DELETE or self._lacks_required(chunk) for chunk in chunks
        )

    # -- ahead of the lock ----------------------------------------------------------------------

    def _reduce(self, cursor: Cursor, sides: Sides) -> None:
        """Leave one line a key, in tables."""
        for side in sides:
            cursor.execute(
                sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS {}").format(
                    side.last, side.reduced
                )
            )
            if len(side.chunks) > _FEW_CHUNKS:
                cursor.execute(
                    sql.SQL("CREATE INDEX ON {} ({})").format(side.last, side.marks["line"])
                )
        if sides.writes and sides.deletes:
            self._drop_deleted(cursor, sides.writes, sides.deletes)

    def _drop_deleted(self, cursor: Cursor, writes: Side, deletes: Side) -> None:
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

    def _take_turns(self, cursor: Transaction, batch: EncodedBatch) -> None:
        """Let merges that lock rows in the order of their keys go together, others alone."""
        together = self._is_one_write(batch.chunks) and not batch.truncates
        function = "pg_advisory_xact_lock_shared" if together else "pg_advisory_xact_lock"
        cursor.defer(
            sql.SQL("SELECT {}(hashtextextended({}, 0))").format(
                sql.Identifier(function), sql.Literal(f"kafka_pg merge into {self._target.oid}")
            )
        )

    def _merge(self, cursor: Cursor, part: Part, *, bets: bool = False) -> "_Effect":
        """Merge those lines that stand: by partition how many stood, and how many had an effect.

        ``bets`` that no key has a row yet.
        """
        if part.chunk.change is Change.DELETE:
            return self._told(cursor, part, self._delete(part))
        if self._lacks_required(part.chunk) and self._overwrites(part.chunk):
            return self._update(cursor, part)
        if bets:
            arrived = self._new_rows.insert(cursor, self._insert(part), part)
            if arrived is not None:
                standing = _count_standing(cursor, part, arrived)
                return standing, standing
        if not self._overwrites(part.chunk):
            return self._told(cursor, part, *self._insert_new(part))
        if self._mode.newest_wins:
            return self._told(cursor, part, self._unless_stale(part))
        cursor.execute(self._upsert(part))
        arrived = cursor.rowcount
        standing = _count_standing(cursor, part, arrived)
        expect_rows(self._target, arrived, sum(standing.values()))
        return standing, standing

    def _told(self, cursor: Cursor, part: Part, *statements: sql.Composed) -> "_Effect":
        """The effect of statements that return the partition of each line that had one."""
        applied = _count_by_partition(cursor, *statements)
        return _count_standing(cursor, part, sum(applied.values())), applied

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

    def _update(self, cursor: Cursor, part: Part) -> "_Effect":
        """Set what the lines say; where there is no row after all, PostgreSQL says what it lacks.

        An INSERT … ON CONFLICT would be refused whether there is a row or not.
        """
        settings = [
            sql.SQL("{name} = l.{name}").format(name=sql.Identifier(column))
            for column in part.chunk.columns
            if column not in self._mode.key
        ]
        names = {"target": self._table, "last": part.side.last, "lines": part.condition}
        effect = self._told(
            cursor,
            part,
            sql.SQL(
                "UPDATE {target} AS t SET {settings} FROM {last} AS l"
                " WHERE {lines} AND {same_key}{unless_stale} RETURNING l.{partition} AS partition"
            ).format(
                **names,
                settings=sql.SQL(", ").join(settings),
                same_key=self._same_key("t", "l"),
                unless_stale=self._and_older(),
                partition=part.side.marks["partition"],
            ),
        )
        cursor.execute(
            sql.SQL(
                "INSERT INTO {target} ({columns}) SELECT {columns} FROM {last} AS l"
                " WHERE {lines} AND NOT EXISTS (SELECT FROM {target} AS t WHERE {same_key})"
            ).format(
                **names,
                columns=sql.SQL(", ").join(names_of(part.chunk.columns)),
                same_key=self._same_key("t", "l"),
            )
        )
        return effect

    def _insert(self, part: Part) -> sql.Composed:
        return sql.SQL(
            "INSERT INTO {target} AS t ({columns}) SELECT {columns} FROM {last} AS l"
            " WHERE {lines} ORDER BY {keys}"
        ).format(
            target=self._table,
            columns=sql.SQL(", ").join(names_of(part.chunk.columns)),
            last=part.side.last,
            lines=part.condition,
            keys=self._key_list,
        )

    def _upsert(self, part: Part) -> sql.Composed:
        settings = [
            sql.SQL("{name} = excluded.{name}").format(name=sql.Identifier(column))
            for column in part.chunk.columns
            if column not in self._mode.key
        ]
        return sql.SQL("{} ON CONFLICT ({}) DO UPDATE SET {}").format(
            self._insert(part), self._key_list, sql.SQL(", ").join(settings)
        )

    def _unless_stale(self, part: Part) -> sql.Composed:
        return sql.SQL("{} WHERE {} RETURNING t.{} AS partition").format(
            self._upsert(part),
            self._is_older("t", "excluded"),
            sql.Identifier(self._target.version_columns[0]),
        )

    def _insert_new(self, part: Part) -> tuple[sql.Composed, sql.Composed]:
        """Insert what has no row yet. A row tells no partition, but the line of its key does."""
        applied = sql.SQL("{} ON CONFLICT ({}) DO NOTHING RETURNING {}").format(
            self._insert(part),
            self._key_list,
            sql.SQL(", ").join(sql.SQL("t.{}").format(key) for key in self._keys),
        )
        told = sql.SQL(
            "SELECT l.{partition} AS partition FROM {last} AS l JOIN applied ON {same_key}"
            " WHERE {lines}"
        ).format(
            last=part.side.last,
            same_key=self._same_key("l", "applied"),
            lines=part.condition,
            partition=part.side.marks["partition"],
        )
        return told, applied

    def _delete(self, part: Part) -> sql.Composed:
        statement = sql.SQL(
            "DELETE FROM {target} AS t USING {last} AS l WHERE {lines} AND {same_key}{unless_stale}"
            " RETURNING l.{partition} AS partition"
        )
        return statement.format(
            target=self._table,
            last=part.side.last,
            lines=part.condition,
            same_key=self._same_key("t", "l"),
            unless_stale=self._and_older(),
            partition=part.side.marks["partition"],
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


# By partition: how many lines stood, and how many of these had an effect.
_Effect = tuple[Mapping[int, int], Mapping[int, int]]


class _Tally:
    """What became of the lines of each partition."""

    def __init__(self) -> None:
        self.counts: dict[int, BatchCounts] = {}
        self.repeats = False

    def add(
        self, part: Part, standing: Mapping[int, int], applied: Mapping[int, int], mode: Mode
    ) -> None:
        """Account for a chunk: of all its lines some stood, and of these some had an effect."""
        for partition, lines in part.count_by_partition.items():
            stood, effective = standing.get(partition, 0), applied.get(partition, 0)
            beaten = lines - stood
            self.repeats = self.repeats or beaten > 0
            ignores = mode is Mode.INSERT_IGNORE
            is_delete = part.chunk.change is Change.DELETE
            self.counts[partition] = self.counts.get(partition, BatchCounts()) + BatchCounts(
                rows=0 if is_delete else effective,
                deleted=effective if is_delete else 0,
                superseded=0 if ignores else beaten,
                ignored=stood - effective + (beaten if ignores else 0),
            )


def _count_standing(cursor: Cursor, part: Part, affected: int) -> Mapping[int, int]:
    """By partition the lines that are the one of their key: all, where all had an effect."""
    if affected == part.count:
        return part.count_by_partition
    return _count_by_partition(cursor, part.standing)


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
