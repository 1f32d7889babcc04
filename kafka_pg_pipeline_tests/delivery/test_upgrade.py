"""The pipeline's own tables as older versions left them, brought up to date by today's code."""

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import pytest
from pydantic import SecretStr

from kafka_pg_pipeline.adapters.postgres.connection import Primary
from kafka_pg_pipeline.adapters.postgres.migrations import fetch_pending, migrate
from kafka_pg_pipeline.assembly.measure import Meter
from kafka_pg_pipeline.assembly.overview import fetch_overview
from kafka_pg_pipeline.assembly.session import open_session
from kafka_pg_pipeline.domain.letters import LetterFilter
from kafka_pg_pipeline.errors import AuthenticationError, ConfigurationError
from kafka_pg_pipeline.sql import load_migrations
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.older_schemas import TABLES, older_schema
from kafka_pg_pipeline_tests.topics import delete_before

CURRENT = load_migrations()[-1].version
OLDER = [migration.version for migration in load_migrations()[:-1]]


@pytest.fixture
def used(bench: Bench) -> Bench:
    """A stream with rows, dead letters, a gap, a second epoch and audit rows; more in its topic."""
    bench = bench.with_stream(on_data_loss="continue")
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    bench.produce([{"id": number} for number in range(60)])
    bench.load()
    for partition in range(3):
        delete_before(bench, partition, 20)
    bench.produce([{"id": number} for number in range(60)])
    for partition in range(3):
        delete_before(bench, partition, 30)
    bench.load()
    with bench.session() as session:
        target = session.catalog.fetch_target()
        session.moves.reset({0: 35}, target, allow_duplicates=False)
    bench.produce([{"id": 2**40}, b"broken", {"id": 7}])
    bench.load()
    bench.produce([{"id": 8}] * 3)
    assert bench.findings() == []
    return bench


@pytest.fixture
def make_older(used: Bench) -> Iterator[Callable[[int], Bench]]:
    """The bench with a schema as a version made and filled it; version 0 made none."""
    with ExitStack() as made:
        yield lambda version: made.enter_context(older_schema(used, version))


@pytest.mark.parametrize("version", OLDER)
def test_an_older_schema_is_brought_up_to_date_and_loading_goes_on(
    make_older: Callable[[int], Bench], version: int
) -> None:
    older = make_older(version)
    before = {table: older.query(f"SELECT count(*) FROM {{schema}}.{table}") for table in TABLES}
    assert all(count[0][0] for count in before.values()), before
    rows = older.count()
    assert older.load().counts.rows == 3
    assert older.query("SELECT max(version) FROM {schema}.migration") == [(CURRENT,)]
    assert older.count() == rows + 3
    assert older.findings() == []
    older.query("ALTER TABLE {table} ALTER id TYPE bigint")
    with older.session() as session:
        report = session.replay.replay(LetterFilter())
    assert (report.counts.replayed, report.counts.still_rejected) == (1, 1)
    assert older.findings() == []
    for table in ("epoch", "gap"):
        assert older.query(f"SELECT count(*) FROM {{schema}}.{table}") == before[table]


@pytest.mark.parametrize("version", [0, *OLDER])
def test_what_only_looks_works_on_an_older_schema_and_leaves_it(
    make_older: Callable[[int], Bench], version: int
) -> None:
    older = make_older(version)
    with open_session(
        older.name, older.stream, older.endpoints, run_id="look", read_only=True
    ) as session:
        assert [one.version for one in session.pending_migrations] == list(
            range(version + 1, CURRENT + 1)
        )
        overview = fetch_overview(session)
    assert len(overview.stored) == (3 if version else 0)
    [measure] = Meter(older.endpoints, {older.name: older.stream}).measure()
    assert measure.is_up
    assert (measure.account is None) == bool(version)  # it would have totals that fall
    if version:
        assert older.query("SELECT max(version) FROM {schema}.migration") == [(version,)]


@pytest.mark.parametrize("version", [0, *OLDER])
def test_those_who_migrate_at_once_do_it_once(
    make_older: Callable[[int], Bench], version: int
) -> None:
    older = make_older(version)
    together = threading.Barrier(4)

    def bring_up_to_date() -> int:
        with closing(Primary(older.endpoints.postgres, application_name="test")) as primary:
            primary.connection()
            together.wait(30)
            return len(migrate(primary))

    with ThreadPoolExecutor(4) as pool:
        migrating = [pool.submit(bring_up_to_date) for _ in range(4)]
        applied = sorted(task.result(60) for task in migrating)
    assert applied == [0, 0, 0, CURRENT - version]
    assert older.query("SELECT count(*)::int FROM {schema}.migration") == [(CURRENT,)]


def test_a_schema_of_a_newer_version_is_refused_by_all(used: Bench) -> None:
    used.query("INSERT INTO {schema}.migration VALUES (999, 'future', 'x')")
    for open_it in (used.load, used.findings, lambda: look(used)):
        with pytest.raises(ConfigurationError, match=r"is at version 999.*upgrade this"):
            open_it()


def test_an_edited_migration_is_refused(used: Bench) -> None:
    used.query("UPDATE {schema}.migration SET checksum = 'x' WHERE version = 1")
    with pytest.raises(ConfigurationError, match=r"migration 1 .* is not the one that was applied"):
        used.load()


def look(bench: Bench) -> Any:
    with open_session(
        bench.name, bench.stream, bench.endpoints, run_id="look", read_only=True
    ) as session:
        return fetch_overview(session)


# -- rights -----------------------------------------------------------------------------------


@pytest.fixture
def role(bench: Bench) -> Iterator[Bench]:
    """A role without any right, on the bench's servers."""
    name, password = f"low_{bench.name}", uuid.uuid4().hex
    bench.query(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    yield bench.with_postgres(user=name, password=SecretStr(password))
    bench.query(f"DROP OWNED BY {name}")
    bench.query(f"DROP ROLE {name}")


def test_a_role_that_may_not_create_the_schema_is_told_the_grant(role: Bench) -> None:
    dbname, user = role.endpoints.postgres.dbname, role.endpoints.postgres.user
    with pytest.raises(AuthenticationError) as raised:
        role.load()
    schema = role.endpoints.postgres.schema_name
    assert f"create the tables of the pipeline in schema '{schema}'" in str(raised.value)
    assert f"GRANT CREATE ON DATABASE {dbname} TO {user}" in str(raised.value)


def test_a_role_that_does_not_own_an_older_schema_is_told_who_must(
    make_older: Callable[[int], Bench], role: Bench
) -> None:
    older = make_older(OLDER[-1])
    schema, user = older.endpoints.postgres.schema_name, role.endpoints.postgres.user
    older.query(f"GRANT USAGE ON SCHEMA {schema} TO {user}")
    older.query(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user}")
    low = role.with_postgres(schema_name=schema)
    with closing(Primary(low.endpoints.postgres, application_name="test")) as primary:
        with pytest.raises(AuthenticationError, match="the owner of the schema's tables, "):
            migrate(primary)
        assert len(fetch_pending(primary)) == 1
    assert older.load().counts.rows == 3


def test_a_current_schema_needs_no_right_to_create(used: Bench, role: Bench) -> None:
    schema, user = used.endpoints.postgres.schema_name, role.endpoints.postgres.user
    used.query(f"GRANT USAGE ON SCHEMA {schema} TO {user}")
    used.query(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {user}")
    with closing(Primary(role.endpoints.postgres, application_name="test")) as primary:
        assert migrate(primary) == ()
