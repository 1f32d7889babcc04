"""What a doctor asks PostgreSQL: version, clock, rights, and backends that hold others up."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kafka_pg_pipeline.adapters.postgres.connection import Primary, Statements, rows_of
from kafka_pg_pipeline.domain.tables import TableName


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server behind a connection; ``now`` is its clock."""

    version: str
    version_number: int
    role: str
    database: str
    now: datetime


@dataclass(frozen=True, slots=True)
class PipelineRights:
    """What the role may do in the database; None where the schema does not exist yet."""

    create_schema: bool
    create_temporary: bool
    use_pipeline_schema: bool | None
    write_pipeline_tables: bool | None


@dataclass(frozen=True, slots=True)
class TableRights:
    """What the role may do with one target table; None where there is none."""

    schema_exists: bool
    use_schema: bool | None
    create_table: bool | None
    table_exists: bool
    insert_rows: bool | None


@dataclass(frozen=True, slots=True)
class StuckBackend:
    """A backend of the pipeline that waits for its client while ``waiters`` wait for its locks."""

    pid: int
    application_name: str
    state: str
    transaction_seconds: float
    waiters: int


class PostgresHealth:
    """Questions over a connection that the caller owns; changes nothing but on request."""

    def __init__(self, primary: Primary) -> None:
        self._primary = primary
        self._statements = Statements("doctor", primary.settings.schema_name)

    def fetch_server(self) -> ServerFacts:
        """Version, role and clock."""
        return ServerFacts(**self._ask("server", {})[0])

    def fetch_rights(self) -> PipelineRights:
        """Rights on the database and on the pipeline's own schema."""
        schema = self._primary.settings.schema_name
        return PipelineRights(**self._ask("rights", {"pipeline_schema": schema})[0])

    def fetch_table_rights(self, table: TableName) -> TableRights:
        """Rights on one target table and its schema."""
        names = {"schema_name": table.schema, "table_name": table.name}
        return TableRights(**self._ask("table_rights", names)[0])

    def fetch_stuck_backends(self) -> tuple[StuckBackend, ...]:
        """Backends of ours that wait for their client and hold locks that others wait for."""
        return tuple(StuckBackend(**row) for row in self._ask("stuck_backends", {}))

    def terminate(self, backend: StuckBackend) -> bool:
        """End a stuck backend; False where it had moved on. Its transaction is rolled back."""
        arguments = {"pid": backend.pid, "application_name": backend.application_name}
        return any(row["pg_terminate_backend"] for row in self._ask("terminate_backend", arguments))

    def _ask(self, query: str, arguments: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        with self._primary.look("examine the database") as cursor:
            cursor.execute(self._statements[query], arguments)
            return rows_of(cursor)
