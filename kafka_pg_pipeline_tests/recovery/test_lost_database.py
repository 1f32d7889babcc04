"""Somebody dropped the table, or restored yesterday's database, or only a part of it."""

import uuid
from collections.abc import Iterator

import pytest

from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.recovery.oracle import ids_of, in_database, landed, run_on_server
from kafka_pg_pipeline_tests.topics import delete_before


def events(first: int, count: int = 30) -> list[dict[str, int]]:
    return [{"id": number} for number in range(first, first + count)]


@pytest.fixture
def loaded(bench: Bench, command_line: CommandLine) -> Bench:
    bench.create_topic()
    bench.produce(events(0))
    command_line.use(bench)
    assert command_line.run("load").code == 0
    return bench


@pytest.fixture
def database(bench: Bench) -> Iterator[Bench]:
    """The bench in a database that is restored as a whole, loaded until yesterday."""
    name = f"own_{uuid.uuid4().hex[:12]}"
    moved = in_database(bench, name)
    try:
        moved.create_topic()
        moved.produce(events(0))
        moved.load()
        yield moved
    finally:
        for database in (name, f"{name}_backup"):
            run_on_server(bench, "DROP DATABASE IF EXISTS {} WITH (FORCE)", database)


def back_up(database: Bench) -> None:
    name = database.endpoints.postgres.dbname
    run_on_server(database, "CREATE DATABASE {} TEMPLATE {}", f"{name}_backup", name)


def restore(database: Bench) -> None:
    name = database.endpoints.postgres.dbname
    run_on_server(database, "DROP DATABASE {} WITH (FORCE)", name)
    run_on_server(database, "ALTER DATABASE {} RENAME TO {}", f"{name}_backup", name)


def test_a_dropped_table_is_loaded_anew(command_line: CommandLine, loaded: Bench) -> None:
    loaded.query("DROP TABLE {table}")
    loaded.produce(events(30))
    stopped = command_line.run("load")
    assert stopped.code == 1
    assert "does not exist, though rows were loaded: it was dropped" in stopped.err
    assert f"`kafka-pg reset {loaded.name} --to earliest`" in stopped.err
    for look in ("status", "lag", "doctor"):
        told = command_line.run(look)
        assert (told.code, "it was dropped" in told.out) == (1, True), look
    reset = ("reset", loaded.name, "--to", "earliest")
    assert command_line.run(*reset, "--dry-run").code == 0
    assert command_line.run("load").code == 1
    assert command_line.run(*reset).code == 0
    assert command_line.run("load").code == 0
    loaded.assert_exactly_once()
    assert command_line.run("verify").code == 0


def test_yesterdays_database_goes_on_by_itself(command_line: CommandLine, database: Bench) -> None:
    back_up(database)
    database.produce(events(30))
    database.load()
    database.produce(events(60))
    restore(database)
    command_line.use(database)
    assert command_line.run("verify").code == 0
    assert command_line.run("load").code == 0
    database.assert_exactly_once()
    assert landed(database) == list(range(90))


def test_of_yesterdays_database_only_what_kafka_has_removed_is_a_gap(
    command_line: CommandLine, database: Bench
) -> None:
    back_up(database)
    database.produce(events(30))
    database.load()
    database.produce(events(60))
    delete_before(database, 0, 15)
    restore(database)
    command_line.use(database)
    stopped = command_line.run("load")
    assert stopped.code == 1
    assert "[10,15) (5 lost)" in stopped.err
    assert command_line.run("accept-gap", database.name).code == 0
    assert command_line.run("load").code == 0
    there = {o: value for o, value in database.read_all().items() if o[1] >= 10}
    assert landed(database) == sorted([*range(30), *ids_of(there)])
    assert command_line.run("verify").code == 0


def test_a_table_of_yesterday_under_todays_positions_is_loaded_up(
    command_line: CommandLine, loaded: Bench
) -> None:
    """Positions say that the rows are there; the count of them says that they are not."""
    loaded.query("CREATE TABLE {schema}.copy AS TABLE {table}")
    loaded.produce(events(30))
    command_line.run("load")
    loaded.query("TRUNCATE {table}; INSERT INTO {table} TABLE {schema}.copy")
    told = command_line.run("verify")
    assert told.code == 1
    assert "the ledger counts 20 rows and 0 replayed, the table holds 10" in told.out
    ends = loaded.query(
        "SELECT string_agg(kafka_partition || '=' || next, ',') FROM"
        " (SELECT kafka_partition, max(kafka_offset) + 1 AS next FROM {table} GROUP BY 1) AS ends"
    )
    assert command_line.run("reset", loaded.name, "--to", ends[0][0]).code == 0
    assert command_line.run("load").code == 0
    loaded.assert_exactly_once()
    assert command_line.run("verify").code == 0


def test_a_table_that_was_made_anew_is_told_and_verified(
    command_line: CommandLine, loaded: Bench
) -> None:
    """As `pg_restore --clean` does: the same name, another table."""
    loaded.query("CREATE TABLE {schema}.copy AS TABLE {table}")
    loaded.produce(events(30))
    command_line.run("load")
    loaded.query("DROP TABLE {table}; CREATE TABLE {table} AS TABLE {schema}.copy")
    loaded.produce(events(60))
    told = command_line.run("load")
    assert told.code == 0
    assert "is not the one filled before" in told.err
    assert f"`kafka-pg verify {loaded.name}`" in told.err
    assert command_line.run("verify").code == 1
    assert command_line.run("reset", loaded.name, "--to", "10").code == 0
    assert command_line.run("load").code == 0
    loaded.assert_exactly_once()


@pytest.mark.parametrize("loads_before_anybody_looks", [0, 1])
def test_positions_of_yesterday_over_a_table_of_today(
    command_line: CommandLine, loaded: Bench, loads_before_anybody_looks: int
) -> None:
    """Loaders do not see it. Forward and back again deletes the rows of the range, each copy."""
    names = ("state", "epoch", "ledger", "dead_letter", "gap", "audit")
    for name in names:
        loaded.query(f"CREATE TABLE {{schema}}.old_{name} AS TABLE {{schema}}.{name}")
    loaded.produce(events(30))
    command_line.run("load")
    for name in names:
        loaded.query(
            f"TRUNCATE {{schema}}.{name};"
            f" INSERT INTO {{schema}}.{name} OVERRIDING SYSTEM VALUE TABLE {{schema}}.old_{name}"
        )
    for _ in range(loads_before_anybody_looks):
        command_line.run("load")
    told = command_line.run("verify")
    assert told.code == 1
    assert "the table holds" in told.out
    assert command_line.run("pause", loaded.name, "--reason", "kafka_pg restored").code == 0
    assert command_line.run("reset", loaded.name, "--to", "latest").code == 0
    back = command_line.run("reset", loaded.name, "--to", "0=10,1=10,2=10", "--json")
    copies = 1 + loads_before_anybody_looks
    assert sum(move["deleted_rows"] for move in back.json["moves"]) == 30 * copies
    assert command_line.run("resume", loaded.name).code == 0
    assert command_line.run("load").code == 0
    loaded.assert_exactly_once()
    assert command_line.run("verify").code == 0


def test_a_pause_hides_nothing_from_verify(command_line: CommandLine, loaded: Bench) -> None:
    command_line.run("pause", loaded.name, "--reason", "a look")
    command_line.run("resume", loaded.name)
    loaded.produce(events(30))
    command_line.run("load")
    assert command_line.run("verify").code == 0
    loaded.query("DELETE FROM {table} WHERE id = 3")
    told = command_line.run("verify")
    assert (told.code, "the table holds 19" in told.out) == (1, True)
