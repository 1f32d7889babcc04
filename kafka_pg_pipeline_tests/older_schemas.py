"""The pipeline's own schema as an older version made it, with what a stream left in it."""

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager

from psycopg2 import sql

from kafka_pg_pipeline.sql import load_migrations
from kafka_pg_pipeline_tests.fix_servers import connect
from kafka_pg_pipeline_tests.fix_streams import Bench

TABLES = ("state", "epoch", "ledger", "dead_letter", "gap", "audit")


@contextmanager
def older_schema(used: Bench, version: int) -> Iterator[Bench]:
    """The bench with a schema as a version made and filled it; version 0 made none."""
    older = used.with_postgres(schema_name=f"kpg_old_{uuid.uuid4().hex[:12]}")
    try:
        if version:
            apply_migrations(older, version)
            for table in TABLES:
                copy_table(used, older, table)
        yield older
    finally:
        older.query("DROP SCHEMA IF EXISTS {schema} CASCADE")


def apply_migrations(bench: Bench, version: int) -> None:
    """Make the schema as the version's own code did: its migrations, one after the other."""
    bench.query("CREATE SCHEMA {schema}")
    bench.query(
        "CREATE TABLE {schema}.migration (version integer PRIMARY KEY, name text NOT NULL,"
        " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
    for migration in load_migrations()[:version]:
        bench.query(migration.statements)
        bench.query(
            "INSERT INTO {schema}.migration (version, name, checksum) VALUES (%s, %s, %s)",
            migration.version,
            migration.name,
            migration.checksum,
        )


def copy_table(source: Bench, destination: Bench, table: str) -> None:
    """Copy rows as far as the older table has columns."""
    columns = sql.SQL(", ").join(
        sql.Identifier(name)
        for (name,) in destination.query(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            destination.endpoints.postgres.schema_name,
            table,
        )
    )
    names = [
        sql.Identifier(one.endpoints.postgres.schema_name, table) for one in (destination, source)
    ]
    with (
        closing(connect(source.endpoints.postgres)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}").format(
                names[0], columns, columns, names[1]
            )
        )
        if table in ("dead_letter", "audit"):
            cursor.execute(
                sql.SQL("SELECT setval(pg_get_serial_sequence(%s, 'id'), max(id)) FROM {}").format(
                    names[0]
                ),
                [f"{destination.endpoints.postgres.schema_name}.{table}"],
            )
