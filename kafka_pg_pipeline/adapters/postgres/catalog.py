"""The target table in PostgreSQL's catalog, behind the port TargetCatalog."""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2 import sql
from psycopg2.extras import Json

from kafka_pg_pipeline.adapters.postgres.connection import (
    Cursor,
    Primary,
    Statements,
    rows_of,
)
from kafka_pg_pipeline.adapters.postgres.staging import target_identifier
from kafka_pg_pipeline.domain.column_types import describe_type
from kafka_pg_pipeline.domain.modes import APPEND, Mode, WriteMode
from kafka_pg_pipeline.domain.tables import (
    NAME_BYTES,
    Column,
    ColumnRule,
    TableName,
    TargetTable,
    ValueField,
)
from kafka_pg_pipeline.errors import TargetError

# A row's next version then finds room in its page, and no index has to learn of it (HOT).
_ROOM_FOR_UPDATES = " WITH (fillfactor = 90)"
_TABLE_KINDS = {"r": "table", "p": "partitioned table"}


class PostgresCatalog:
    """One stream's target table, over a connection that the caller owns.

    A table that is created has the key of ``mode`` as its primary key.
    """

    def __init__(
        self,
        primary: Primary,
        *,
        stream: str,
        table: TableName,
        rules: Mapping[str, ColumnRule],
        mode: WriteMode = APPEND,
    ) -> None:
        self._primary = primary
        self._stream = stream
        self.table = table
        self._rules = rules
        self._key = mode.key
        self._is_updated = mode.mode is Mode.UPSERT
        self._catalog = Statements("catalog", primary.settings.schema_name)
        self._positions = Statements("positions", primary.settings.schema_name)

    def fetch_target(self) -> TargetTable | None:
        """The table with the columns that the loader fills, None where there is none.

        Raises:
            TargetError: there is no such schema, or the name belongs to a view or another thing
                that takes no COPY, to a table that a crash empties, or is longer than
                PostgreSQL's names.

        """
        with self._primary.look(f"look up table {self.table}") as cursor:
            return self.fetch(cursor)

    def create_target(self, columns: Sequence[Column]) -> TargetTable:
        """Create the table unless a rival just did; one short transaction with an audit row."""
        statement = self.create_statement(columns)
        with self._primary.transaction(f"create table {self.table}") as cursor:
            self.lock(cursor)
            target = self.fetch(cursor)
            if target is None:
                cursor.execute(statement)
                self.note(cursor, "create-table", statement.as_string(cursor))
                target = self.fetch(cursor)
        if target is None:
            raise TargetError(f"table {self.table} vanished while it was created")
        return target

    def create_statement(self, columns: Sequence[Column]) -> sql.Composed:
        """CREATE TABLE for these columns; the types come from our inference or the file."""
        lines = [
            sql.SQL("{} {}{}").format(
                sql.Identifier(column.name),
                sql.SQL(column.type_name),
                sql.SQL("" if column.nullable else " NOT NULL"),
            )
            for column in columns
        ]
        if self._key:
            lines.append(
                sql.SQL("PRIMARY KEY ({})").format(
                    sql.SQL(", ").join(map(sql.Identifier, self._key))
                )
            )
        return sql.SQL("CREATE TABLE {} (\n    {}\n){}").format(
            target_identifier(self.table),
            sql.SQL(",\n    ").join(lines),
            sql.SQL(_ROOM_FOR_UPDATES if self._is_updated else ""),
        )

    def text_of(self, statement: sql.Composed) -> str:
        """The statement as it would be executed."""
        return str(statement.as_string(self._primary.connection()))

    def lock(self, cursor: Cursor) -> None:
        """Be the only loader that makes or changes the table, until the transaction ends."""
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('kafka_pg ' || %s, 0))",
            (str(self.table),),
        )

    def note(self, cursor: Cursor, action: str, statement: str) -> None:
        """Tell the audit what was executed."""
        cursor.execute(
            self._positions["insert_audit"],
            {"stream": self._stream, "action": action, "detail": Json({"ddl": statement})},
        )

    def find_holders(self, cursor: Cursor) -> list[str]:
        """The pids of the sessions that hold a lock on the table."""
        cursor.execute(
            self._catalog["lock_holders"],
            {"schema_name": self.table.schema, "table_name": self.table.name},
        )
        return [str(pid) for (pid,) in cursor.fetchall()]

    def fetch(self, cursor: Cursor) -> TargetTable | None:
        """The table as ``fetch_target`` returns it, inside of a transaction that is open."""
        if any(len(name.encode()) > NAME_BYTES for name in (self.table.schema, self.table.name)):
            # It would be cut without a word, and two streams' tables could become one.
            raise TargetError(
                f"{self.table} cannot be a table: PostgreSQL's names have at most {NAME_BYTES} "
                "bytes. Give the stream's `table` a shorter name"
            )
        cursor.execute(
            self._catalog["find_table"],
            {"schema_name": self.table.schema, "table_name": self.table.name},
        )
        found = rows_of(cursor)
        if not found:
            self._check_schema(cursor)
            return None
        table = found[0]
        if table["relkind"] not in _TABLE_KINDS:
            raise TargetError(f"{self.table} is not a table: a stream fills tables only")
        if not table["is_durable"]:
            raise TargetError(
                f"{self.table} is an unlogged or temporary table: a crash would empty it while "
                "the positions stay, and its rows would be lost. "
                f"`ALTER TABLE {self.table} SET LOGGED` makes it last"
            )
        columns = tuple(map(self._column, table["columns"]))
        keys = tuple(map(frozenset, table["unique_keys"]))
        return TargetTable(self.table, table["oid"], columns, table["plain"], keys)

    def _check_schema(self, cursor: Cursor) -> None:
        schema = self.table.schema
        cursor.execute(self._catalog["schema_exists"], {"schema_name": schema})
        if not (cursor.fetchone() or (False,))[0]:
            raise TargetError(
                f"there is no schema {schema!r} for table {self.table}: CREATE SCHEMA {schema}, "
                "or correct the stream's `table`"
            )

    def _column(self, row: Mapping[str, Any]) -> Column:
        described = describe_type(row["base_type"], is_array=row["is_array"])
        rule = self._rules.get(row["name"], ColumnRule())
        # A default does not tell one row from another, and NULL equals nothing.
        is_key = row["name"] in self._key
        return Column(
            name=row["name"],
            type_name=row["type_name"],
            kind=described.kind,
            nullable=not row["not_null"] and not is_key,
            has_default=row["has_default"] and not is_key,
            minimum=described.minimum,
            maximum=described.maximum,
            source=rule.source or ValueField(row["name"]),
            unit=rule.unit,
        )
