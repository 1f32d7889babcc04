"""The roles of docs/security.md: each can do its part, and no more."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from pydantic import SecretStr

from kafka_pg_pipeline.adapters.postgres.connection import Primary
from kafka_pg_pipeline.adapters.postgres.health import PostgresHealth
from kafka_pg_pipeline.assembly.doctor import fetch_stuck_backends, terminate_backend
from kafka_pg_pipeline.assembly.overview import fetch_overview
from kafka_pg_pipeline.assembly.session import open_session
from kafka_pg_pipeline.errors import AuthenticationError
from kafka_pg_pipeline_tests.docs.blocks import ROOT, read_blocks
from kafka_pg_pipeline_tests.fix_servers import connect
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.waiting import wait_until

ROLES = ("kafka_pg_loader", "kafka_pg_operator", "kafka_pg_reader")
PASSWORD = uuid.uuid4().hex


@pytest.fixture
def granted(bench: Bench) -> Iterator[Bench]:
    """A table of somebody else's, and the document's statements with the bench's names in them."""
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id bigint, kafka_partition integer, kafka_offset bigint)")
    [block] = [b for b in read_blocks(ROOT / "docs" / "security.md") if b.language == "sql"]
    statements = block.text.replace("…", PASSWORD)
    for role in ROLES:
        statements = statements.replace(role, name_of(role, bench))
    schema = bench.stream.table.partition(".")[0]
    statements = statements.replace("sales.orders", bench.stream.table).replace("sales", schema)
    pipeline = bench.endpoints.postgres.schema_name
    statements = statements.replace("SCHEMA kafka_pg ", f"SCHEMA {pipeline} ")
    statements = statements.replace("SCHEMA kafka_pg\n", f"SCHEMA {pipeline}\n")
    assert "sales" not in statements
    with closing(connect(bench.endpoints.postgres)) as connection:
        connection.cursor().execute(statements)
    yield bench
    for role in reversed(ROLES):
        bench.query(f"DROP OWNED BY {name_of(role, bench)} CASCADE")
        bench.query(f"DROP ROLE {name_of(role, bench)}")


def name_of(role: str, bench: Bench) -> str:
    return f"{role}_{bench.name}"


def log_in(bench: Bench, role: str) -> Bench:
    return bench.with_postgres(user=name_of(role, bench), password=SecretStr(PASSWORD))


def test_the_loader_loads_and_writes_dead_letters(granted: Bench) -> None:
    granted.produce([{"id": 1}, b"no json", {"id": 2}])
    report = log_in(granted, "kafka_pg_loader").load()
    assert (report.counts.rows, report.counts.dead) == (2, 1)
    granted.query("ALTER TABLE {table} ADD UNIQUE (id)")
    granted.produce([{"id": 3}, {"id": 3}])
    report = log_in(granted, "kafka_pg_loader").load()
    assert (report.counts.rows, report.counts.dead) == (1, 1)
    granted.assert_exactly_once()


def test_the_loader_can_take_no_row_away(granted: Bench) -> None:
    granted.produce([{"id": 1}])
    loader = log_in(granted, "kafka_pg_loader")
    loader.load()
    with loader.session() as session:
        target = session.catalog.fetch_target()
        with pytest.raises(AuthenticationError, match="42501"):
            session.moves.reset({0: 0}, target, allow_duplicates=False)
    assert granted.count() == 1


def test_the_operator_moves_a_stream(granted: Bench) -> None:
    granted.produce([{"id": 1}, {"id": 2}, {"id": 3}])
    log_in(granted, "kafka_pg_loader").load()
    operator = log_in(granted, "kafka_pg_operator")
    with operator.session() as session:
        target = session.catalog.fetch_target()
        [move] = session.moves.reset({0: 0}, target, allow_duplicates=False)
    assert move.deleted_rows == 1
    assert granted.count() == 2
    assert operator.load().counts.rows == 1
    granted.assert_exactly_once()


def test_the_operator_ends_a_silent_loader(granted: Bench) -> None:
    log_in(granted, "kafka_pg_loader").load()
    lock = f"SELECT partition FROM {granted.endpoints.postgres.schema_name}.state FOR UPDATE"
    operator = log_in(granted, "kafka_pg_operator").endpoints
    with closing(connect(log_in(granted, "kafka_pg_loader").endpoints.postgres)) as silent:
        silent.cursor().execute("SET application_name = 'kafka-pg silent'")
        silent.cursor().execute(f"BEGIN; {lock}")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(granted.query, lock)
            try:
                wait_until(lambda: fetch_stuck_backends(operator))
                [stuck] = fetch_stuck_backends(operator)
                assert terminate_backend(operator, stuck)
                assert len(waiting.result(30)) == 3
            finally:
                silent.close()


def test_the_reader_sees_the_state_and_changes_nothing(granted: Bench) -> None:
    granted.produce([{"id": 1}])
    log_in(granted, "kafka_pg_loader").load()
    reader = log_in(granted, "kafka_pg_reader")
    with open_session(
        reader.name, reader.stream, reader.endpoints, run_id="test", read_only=True
    ) as session:
        overview = fetch_overview(session)
        verification = session.inspection.verify(session.catalog.fetch_target())
    assert sum(partition.next_offset for partition in overview.stored) == 1
    assert (overview.problem, verification.findings, verification.unchecked) == (None, (), ())
    granted.produce([{"id": 2}])
    with pytest.raises(AuthenticationError, match="a right is missing"):
        reader.load()
    assert granted.count() == 1


@pytest.mark.parametrize(
    "right",
    [
        *(f"INSERT ON {table}" for table in ("state", "epoch", "ledger", "dead_letter", "gap")),
        "SELECT ON migration",
        "UPDATE ON state",
    ],
)
def test_each_right_that_the_loader_lacks_is_noticed(granted: Bench, right: str) -> None:
    """Where another role owns the pipeline's tables and the loader was granted all but one."""
    granted.load()
    loader = log_in(granted, "kafka_pg_loader").endpoints.postgres
    granted.query(
        f"GRANT USAGE ON SCHEMA {loader.schema_name} TO {loader.user};"
        f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {loader.schema_name}"
        f" TO {loader.user}"
    )
    with closing(Primary(loader, application_name="test")) as primary:
        assert PostgresHealth(primary).fetch_rights().write_pipeline_tables
        privilege, table = right.split(" ON ")
        granted.query(f"REVOKE {privilege} ON {loader.schema_name}.{table} FROM {loader.user}")
        assert PostgresHealth(primary).fetch_rights().write_pipeline_tables is False
