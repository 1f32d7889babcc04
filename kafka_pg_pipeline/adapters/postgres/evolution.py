"""Changes to the target table while it is loaded, behind the port TargetEvolution.

Each is one short transaction of its own: an advisory lock, so that of several loaders one makes the
change; another look at the catalog; the ALTER TABLE, if it is still needed; its line in the audit.
"""

from collections.abc import Callable, Sequence

import psycopg2
from psycopg2 import sql
from psycopg2.errorcodes import (
    DEPENDENT_OBJECTS_STILL_EXIST,
    DUPLICATE_COLUMN,
    FEATURE_NOT_SUPPORTED,
    INSUFFICIENT_PRIVILEGE,
    PROGRAM_LIMIT_EXCEEDED,
    TOO_MANY_COLUMNS,
    UNDEFINED_OBJECT,
)

from kafka_pg_pipeline.adapters.postgres import errors
from kafka_pg_pipeline.adapters.postgres.catalog import PostgresCatalog
from kafka_pg_pipeline.adapters.postgres.connection import Cursor, Primary
from kafka_pg_pipeline.adapters.postgres.staging import target_identifier
from kafka_pg_pipeline.domain.column_types import is_wider
from kafka_pg_pipeline.domain.tables import Column, Evolved, TableName, TargetTable
from kafka_pg_pipeline.errors import ContentionError, TargetError

_REFUSED = {
    FEATURE_NOT_SUPPORTED: "a view, a rule, a policy or a partition key stands on it",
    DEPENDENT_OBJECTS_STILL_EXIST: "something depends on it",
    DUPLICATE_COLUMN: "a partition or a child has a column of that name and another type",
    INSUFFICIENT_PRIVILEGE: "only the table's owner may change it",
    PROGRAM_LIMIT_EXCEEDED: "the table has as many columns as PostgreSQL allows",
    TOO_MANY_COLUMNS: "the table has as many columns as PostgreSQL allows",
    UNDEFINED_OBJECT: "there is no such type",
}


class PostgresEvolution:
    """Over a connection that nobody else uses; it is opened when a change is first needed."""

    def __init__(self, primary: Primary, catalog: PostgresCatalog) -> None:
        self._primary = primary
        self._catalog = catalog

    def add_columns(self, columns: Sequence[Column]) -> Evolved:
        """Add those of the columns that the table lacks."""

        def find_missing(target: TargetTable) -> sql.Composed | None:
            present = {column.name for column in target.columns}
            missing = [column for column in columns if column.name not in present]
            return add_statement(target.name, missing) if missing else None

        return self._change("add-columns", find_missing)

    def widen_column(self, name: str, type_name: str) -> Evolved:
        """Give the column that type, unless it has it or a wider one."""

        def find_narrow(target: TargetTable) -> sql.Composed | None:
            types = {column.name: column.type_name for column in target.columns}
            if not is_wider(type_name, than=types.get(name, "")):
                return None
            return widen_statement(target.name, name, type_name)

        return self._change("alter-type", find_narrow)

    def _change(
        self, action: str, find_statement: Callable[[TargetTable], sql.Composed | None]
    ) -> Evolved:
        table = self._catalog.table
        try:
            with self._primary.transaction(f"change table {table}") as cursor:
                self._catalog.lock(cursor)
                target = self._existing(cursor)
                statement = find_statement(target)
                if statement is None:
                    return Evolved(target, ())
                text = statement.as_string(cursor)
                self._execute(cursor, statement, text)
                self._catalog.note(cursor, action, text)
                return Evolved(self._existing(cursor), (text,))
        except ContentionError as failure:
            holders = self._find_holders()
            if not holders:
                raise
            raise ContentionError(
                f"{failure}. Sessions with a lock on {table}: pid {', '.join(holders)}; "
                "pg_stat_activity tells what they do"
            ) from None

    def _existing(self, cursor: Cursor) -> TargetTable:
        target = self._catalog.fetch(cursor)
        if target is None:
            raise TargetError(f"table {self._catalog.table} vanished while it was filled")
        return target

    def _execute(self, cursor: Cursor, statement: sql.Composed, text: str) -> None:
        try:
            cursor.execute(statement)
        except psycopg2.Error as error:
            cause = _REFUSED.get(error.pgcode or "")
            if cause is None:
                raise
            errors.raise_alone(
                TargetError(
                    f"PostgreSQL refuses {text!r} (SQLSTATE {error.pgcode}): {cause}. Make the "
                    "change by hand, or set the stream's `evolution: freeze`"
                )
            )

    def _find_holders(self) -> list[str]:
        with self._primary.transaction(f"look for locks on {self._catalog.table}") as cursor:
            return self._catalog.find_holders(cursor)


def add_statement(table: TableName, columns: Sequence[Column]) -> sql.Composed:
    """ALTER TABLE that adds the columns, those aside that are there by then."""
    added = [
        sql.SQL("ADD COLUMN IF NOT EXISTS {} {}").format(
            sql.Identifier(column.name), sql.SQL(column.type_name)
        )
        for column in columns
    ]
    return sql.SQL("ALTER TABLE {} {}").format(target_identifier(table), sql.SQL(", ").join(added))


def widen_statement(table: TableName, name: str, type_name: str) -> sql.Composed:
    """ALTER TABLE that gives a column another type."""
    return sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}").format(
        target_identifier(table), sql.Identifier(name), sql.SQL(type_name)
    )
