"""Reads of the pipeline's own tables: status, and the invariants as SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from psycopg2 import sql

from kafka_pg_pipeline.adapters.postgres.connection import (
    Primary,
    Statements,
    rows_of,
)
from kafka_pg_pipeline.adapters.postgres.staging import target_identifier
from kafka_pg_pipeline.domain.batches import BatchCounts
from kafka_pg_pipeline.domain.checks import LetterAccount
from kafka_pg_pipeline.domain.findings import Finding, Verification
from kafka_pg_pipeline.domain.modes import Mode, WriteMode
from kafka_pg_pipeline.domain.offsets import OffsetRange
from kafka_pg_pipeline.domain.reports import PartitionTotals
from kafka_pg_pipeline.domain.status import CommittedBatch, StoredPartition
from kafka_pg_pipeline.domain.tables import TargetTable
from kafka_pg_pipeline.sql import load_queries

_COUNTS = tuple(field.name for field in fields(BatchCounts))


class PostgresInspection:
    """One stream's account, over a connection that the caller owns; changes nothing."""

    def __init__(self, primary: Primary, *, stream: str, topic: str, mode: WriteMode) -> None:
        self._primary = primary
        self._mode = mode
        self._key = {"stream": stream, "topic": topic}

    def fetch_partitions(self) -> tuple[StoredPartition, ...]:
        """What is stored of each partition, ascending."""
        statement = Statements("status", self._primary.settings.schema_name)["status"]
        with self._primary.look("read the stream's status") as cursor:
            cursor.execute(statement, self._key)
            return tuple(StoredPartition(**row) for row in rows_of(cursor))

    def fetch_last_batches(self, most: int) -> tuple[CommittedBatch, ...]:
        """The newest ``most`` batches of the ledger, newest first."""
        statement = Statements("status", self._primary.settings.schema_name)["last_batches"]
        with self._primary.look("read the ledger") as cursor:
            cursor.execute(statement, {**self._key, "most": most})
            return tuple(CommittedBatch(**row) for row in rows_of(cursor))

    def fetch_newest_rows(self, target: TargetTable, most: int) -> tuple[Mapping[str, str], ...]:
        """The last ``most`` rows by partition and offset as text; any rows without such columns."""
        names = [column.name for column in target.columns]
        offset_columns = target.offset_columns
        order: sql.Composable = sql.SQL("")
        if offset_columns is not None:
            partition, offset = map(sql.Identifier, offset_columns)
            order = sql.SQL("ORDER BY target.{} DESC, target.{}").format(offset, partition)
        statement = sql.SQL("SELECT {} FROM {} AS target {} LIMIT {}").format(
            sql.SQL(", ").join(
                sql.SQL("{}::text AS {}").format(sql.Identifier(name), sql.Identifier(name))
                for name in names
            ),
            target_identifier(target.name),
            order,
            sql.Literal(most),
        )
        with self._primary.look("read the newest rows") as cursor:
            cursor.execute(statement)
            return tuple(rows_of(cursor))

    def fetch_last_rows(
        self, target: TargetTable, most: int
    ) -> tuple[Mapping[str, str | None], ...]:
        """Some ``most`` rows from the end of the table's file, as text: those written last.

        Costs the same however large the table is (PostgreSQL 14 and later); none of a partitioned
        table.
        """
        name = target_identifier(target.name)
        statement = sql.SQL(
            "SELECT {columns} FROM {table} AS target WHERE ctid >= ("
            "'(' || greatest(pg_relation_size({text}::regclass)"
            " / current_setting('block_size')::bigint - 2, 0) || ',0)')::tid"
            " ORDER BY ctid DESC LIMIT {most}"
        ).format(
            columns=sql.SQL(", ").join(
                sql.SQL("{}::text AS {}").format(*[sql.Identifier(column.name)] * 2)
                for column in target.columns
            ),
            table=name,
            text=sql.Literal(name.as_string(self._primary.connection())),
            most=sql.Literal(most),
        )
        with self._primary.look("read the last rows") as cursor:
            cursor.execute(statement)
            return tuple(rows_of(cursor))

    def fetch_seconds_since_commit(self, run_id: str) -> float | None:
        """Seconds since a run's newest ledger line; None where it has none."""
        statement = Statements("status", self._primary.settings.schema_name)["seconds_since_commit"]
        with self._primary.look("read the ledger") as cursor:
            cursor.execute(statement, {**self._key, "run_id": run_id})
            row = cursor.fetchone()
            return None if row is None else row[0]

    def fetch_run_totals(self, run_id: str) -> tuple[tuple[PartitionTotals, ...], int]:
        """What a run has loaded by the ledger, in all its attempts; totals and transactions."""
        statements = Statements("status", self._primary.settings.schema_name)
        with self._primary.look("read the ledger") as cursor:
            cursor.execute(statements["run_totals"], {**self._key, "run_id": run_id})
            totals = tuple(_totals(row) for row in rows_of(cursor))
            cursor.execute(statements["run_batches"], {**self._key, "run_id": run_id})
            row = cursor.fetchone()
            return totals, int(row[0]) if row else 0

    def count_rejected(self, run_ids: Sequence[str]) -> int:
        """Dead letters that these runs have made, by the ledger."""
        statement = Statements("positions", self._primary.settings.schema_name)["runs_rejected"]
        with self._primary.look("read the ledger") as cursor:
            cursor.execute(statement, {**self._key, "run_ids": list(run_ids)})
            return int((cursor.fetchone() or (0,))[0])

    def count_letters(self, hours: int) -> LetterAccount:
        """Unresolved dead letters, and the records read in the last ``hours``."""
        statements = Statements("checks", self._primary.settings.schema_name)
        wanted = {**self._key, "hours": hours}
        with self._primary.look("count the dead letters", statements=2) as cursor:
            cursor.execute(statements["recent_records"], wanted)
            [(records,)] = cursor.fetchall()
            cursor.execute(statements["unresolved_letters"], wanted)
            [(unresolved, recent)] = cursor.fetchall()
        return LetterAccount(int(unresolved), int(recent), int(records), hours)

    def verify(self, target: TargetTable | None) -> Verification:
        """Check the invariants of the protocol (delivery.md 7.2); all in one snapshot.

        What needs the offset columns of the table is left unchecked, by name, where it has none,
        and where it holds rows of another topic or stream too. So are the number of rows, and the
        rows of replayed dead letters, where records overwrite or delete each other's.
        """
        queries, unchecked = self._queries_of_table(target)
        return self._check({**self._queries_of_ledger(), **queries}, self._key, unchecked)

    def verify_ledger(self) -> Verification:
        """As ``verify``, those invariants that the pipeline's own tables tell."""
        return self._check(self._queries_of_ledger(), self._key)

    def verify_table(self, target: TargetTable | None) -> Verification:
        """As ``verify``, those invariants for which all rows of the table are read."""
        queries, unchecked = self._queries_of_table(target)
        return self._check(queries, self._key, unchecked)

    def verify_window(self, name: str, target: TargetTable | None) -> Verification:
        """As ``verify``, for the books of one window; ``target`` is the table that it fills.

        How many rows there are is asked of all windows of a table at once.
        """
        # Where rows have a key, the live position and windows may both have had an offset.
        bound = self._bind("verify_table", target) if self._mode.mode is Mode.APPEND else {}
        queries = {known: bound[known] for known in ("twice", "replayed") if known in bound}
        found = self._check({**self._queries_of_ledger(), **queries}, {**self._key, "stream": name})
        return replace(
            found,
            findings=tuple(
                replace(finding, description=f"window {name}: {finding.description}")
                for finding in found.findings
            ),
        )

    def verify_windows(self, target: TargetTable, uncovered: Sequence[OffsetRange]) -> Verification:
        """Check the rows of all windows of a table, in the offsets that are theirs alone."""
        bound = self._bind("verify_windows", target) if self._mode.mode is Mode.APPEND else {}
        arguments = {
            **self._key,
            "table": str(target.name),
            "partitions": [piece.partition for piece in uncovered],
            "start_offsets": [piece.start_offset for piece in uncovered],
            "end_offsets": [piece.end_offset for piece in uncovered],
        }
        unchecked = () if bound else tuple(load_queries("verify_windows"))
        return self._check(bound, arguments, unchecked)

    def _queries_of_ledger(self) -> Mapping[str, sql.Composed]:
        return dict(_named("verify", Statements("verify", self._primary.settings.schema_name)))

    def _queries_of_table(
        self, target: TargetTable | None
    ) -> tuple[Mapping[str, sql.Composed], tuple[str, ...]]:
        """What can be asked of the table, and the names of what cannot."""
        queries = self._bind("verify_table", target)
        if not queries:
            return {}, tuple(load_queries("verify_table"))
        unchecked = () if self._mode.mode is Mode.APPEND else ("row_counts", "replayed")
        return {name: queries[name] for name in queries if name not in unchecked}, unchecked

    def _bind(self, file: str, target: TargetTable | None) -> Mapping[str, sql.Composed]:
        """The file's queries for the table; none where its rows do not tell whose they are."""
        offset_columns = target.offset_columns if target else None
        if target is None or offset_columns is None or self._is_shared(target):
            return {}
        partition, offset = offset_columns
        statements = Statements(
            file,
            self._primary.settings.schema_name,
            target=target_identifier(target.name),
            partition=sql.Identifier(partition),
            offset=sql.Identifier(offset),
        )
        return dict(_named(file, statements))

    def _is_shared(self, target: TargetTable) -> bool:
        """Whether another topic or stream has filled the table too."""
        statements = Statements("positions", self._primary.settings.schema_name)
        with self._primary.look("look who fills the table") as cursor:
            cursor.execute(statements["other_fillers"], {**self._key, "target_oid": target.oid})
            return cursor.fetchone() is not None

    def _check(
        self,
        queries: Mapping[str, sql.Composed],
        arguments: Mapping[str, Any],
        unchecked: tuple[str, ...] = (),
    ) -> Verification:
        findings: list[Finding] = []
        arguments = {**arguments, "has_keys": self._mode.mode is not Mode.APPEND}
        with self._primary.transaction("verify the stream", statements=1 + len(queries)) as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for name, query in queries.items():
                cursor.execute(query, arguments)
                findings += [
                    Finding(name, self._key["topic"], row["partition"], row["at"], row["finding"])
                    for row in rows_of(cursor)
                ]
        return Verification(tuple(queries), unchecked, tuple(findings))


def _named(file: str, statements: Statements) -> list[tuple[str, sql.Composed]]:
    return [(name, statements[name]) for name in load_queries(file)]


def _totals(row: Mapping[str, Any]) -> PartitionTotals:
    counts = {name: row[name] for name in _COUNTS}
    return PartitionTotals(
        OffsetRange(row["partition"], row["start_offset"], row["next_offset"]),
        BatchCounts(**counts),
        row["record_bytes"],
    )
