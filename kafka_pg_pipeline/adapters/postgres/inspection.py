"""Reads of the pipeline's own tables: status, and the invariants as SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
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
        with self._primary.transaction("read the stream's status") as cursor:
            cursor.execute(statement, self._key)
            return tuple(StoredPartition(**row) for row in rows_of(cursor))

    def fetch_last_batches(self, most: int) -> tuple[CommittedBatch, ...]:
        """The newest ``most`` batches of the ledger, newest first."""
        statement = Statements("status", self._primary.settings.schema_name)["last_batches"]
        with self._primary.transaction("read the ledger") as cursor:
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
        with self._primary.transaction("read the newest rows") as cursor:
            cursor.execute(statement)
            return tuple(rows_of(cursor))

    def fetch_seconds_since_commit(self, run_id: str) -> float | None:
        """Seconds since a run's newest ledger line; None where it has none."""
        statement = Statements("status", self._primary.settings.schema_name)["seconds_since_commit"]
        with self._primary.transaction("read the ledger") as cursor:
            cursor.execute(statement, {**self._key, "run_id": run_id})
            row = cursor.fetchone()
            return None if row is None else row[0]

    def fetch_run_totals(self, run_id: str) -> tuple[tuple[PartitionTotals, ...], int]:
        """What a run has loaded by the ledger, in all its attempts; totals and transactions."""
        statements = Statements("status", self._primary.settings.schema_name)
        with self._primary.transaction("read the ledger") as cursor:
            cursor.execute(statements["run_totals"], {**self._key, "run_id": run_id})
            totals = tuple(_totals(row) for row in rows_of(cursor))
            cursor.execute(statements["run_batches"], {**self._key, "run_id": run_id})
            row = cursor.fetchone()
            return totals, int(row[0]) if row else 0

    def count_rejected(self, run_ids: Sequence[str]) -> int:
        """Dead letters that these runs have made, by the ledger."""
        statement = Statements("status", self._primary.settings.schema_name)["runs_rejected"]
        with self._primary.transaction("read the ledger") as cursor:
            cursor.execute(statement, {**self._key, "run_ids": list(run_ids)})
            return int((cursor.fetchone() or (0,))[0])

    def _is_shared(self, target: TargetTable) -> bool:
        """Whether another topic or stream has filled the table too."""
        statements = Statements("positions", self._primary.settings.schema_name)
        with self._primary.transaction("look who fills the table") as cursor:
            cursor.execute(statements["other_fillers"], {**self._key, "target_oid": target.oid})
            return cursor.fetchone() is not None

    def count_letters(self, hours: int) -> LetterAccount:
        """Unresolved dead letters, and the records read in the last ``hours``."""
        statements = Statements("checks", self._primary.settings.schema_name)
        wanted = {**self._key, "hours": hours}
        with self._primary.transaction("count the dead letters", statements=2) as cursor:
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
        return self._check({**self._queries_of_ledger(), **queries}, unchecked)

    def verify_ledger(self) -> Verification:
        """As ``verify``, those invariants that the pipeline's own tables tell."""
        return self._check(self._queries_of_ledger(), ())

    def verify_table(self, target: TargetTable | None) -> Verification:
        """As ``verify``, those invariants for which all rows of the table are read."""
        return self._check(*self._queries_of_table(target))

    def _queries_of_ledger(self) -> Mapping[str, sql.Composed]:
        return dict(_named("verify", Statements("verify", self._primary.settings.schema_name)))

    def _queries_of_table(
        self, target: TargetTable | None
    ) -> tuple[Mapping[str, sql.Composed], tuple[str, ...]]:
        """What can be asked of the table, and the names of what cannot."""
        offset_columns = target.offset_columns if target else None
        if target is None or offset_columns is None or self._is_shared(target):
            return {}, tuple(load_queries("verify_table"))
        partition, offset = offset_columns
        bound = Statements(
            "verify_table",
            self._primary.settings.schema_name,
            target=target_identifier(target.name),
            partition=sql.Identifier(partition),
            offset=sql.Identifier(offset),
        )
        unchecked = () if self._mode.mode is Mode.APPEND else ("row_counts", "replayed")
        queries = dict(_named("verify_table", bound))
        return {name: queries[name] for name in queries if name not in unchecked}, unchecked

    def _check(
        self, queries: Mapping[str, sql.Composed], unchecked: tuple[str, ...]
    ) -> Verification:
        findings: list[Finding] = []
        with self._primary.transaction("verify the stream", statements=len(queries)) as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for name, query in queries.items():
                cursor.execute(query, self._key)
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
