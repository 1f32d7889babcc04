"""What is in a table, compared with what clients that are not ours have read from Kafka."""

import json
from collections.abc import Mapping

from psycopg2 import sql

from kafka_pg_pipeline_tests.fix_servers import connect
from kafka_pg_pipeline_tests.fix_streams import Bench

Records = Mapping[tuple[int, int], bytes | None]


def ids_of(records: Records) -> list[int]:
    """The ids that the records carry, ascending."""
    return sorted(json.loads(value or b"")["id"] for value in records.values())


def landed(bench: Bench) -> list[int]:
    """The ids of all rows, ascending; one that is there twice is listed twice."""
    return [row[0] for row in bench.query("SELECT id FROM {table} ORDER BY id")]


def in_database(bench: Bench, name: str) -> Bench:
    """The bench in a database of its own, which a test may throw away."""
    run_on_server(bench, "CREATE DATABASE {}", name)
    moved = bench.with_postgres(dbname=name)
    moved.query(f"CREATE SCHEMA {bench.stream.table.partition('.')[0]}")
    return moved


def run_on_server(bench: Bench, statement: str, *databases: str) -> None:
    """A statement about databases, from outside of them."""
    settings = bench.endpoints.postgres.model_copy(update={"dbname": "postgres"})
    connection = connect(settings)
    try:
        connection.cursor().execute(
            sql.SQL(statement).format(*(sql.Identifier(name) for name in databases))
        )
    finally:
        connection.close()
