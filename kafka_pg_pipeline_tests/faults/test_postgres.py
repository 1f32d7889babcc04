"""PostgreSQL restarted, crashed, read-only, contended; COMMIT lost either way (rows 6-8, 13-16)."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Literal

import psycopg2
import pytest

from kafka_pg_pipeline.errors import OutcomeUnknownError
from kafka_pg_pipeline.local.postgres_server import PostgresServer
from kafka_pg_pipeline.pipeline.load import RETRIES
from kafka_pg_pipeline.settings.models import BatchSettings, KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.content.writing import open_writing
from kafka_pg_pipeline_tests.faults.conftest import STAGED, MakeLoaders, fill
from kafka_pg_pipeline_tests.faults.loaders import count_idle_in_transaction
from kafka_pg_pipeline_tests.fix_proxy import Loss
from kafka_pg_pipeline_tests.fix_servers import connect
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.waiting import wait_until

pytestmark = pytest.mark.faults

EVERY_STEP = [
    "after_read",
    "before_copy",
    "in_copy@2",
    "after_copy",
    "before_lock",
    "after_landing",
    "before_commit",
    "after_commit",
]
RETRY = "trying again"
CANARY = "canary-7b1e09"
WAITING_COPY = (
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%COPY%%FROM STDIN%%'"
    " AND wait_event_type = 'Lock' AND application_name LIKE %s"
)


# -- restarts and crashes -------------------------------------------------------------------------


@pytest.mark.parametrize("failpoint", EVERY_STEP)
def test_a_restart_at_any_step_is_retried_to_success(
    frail_bench: Bench, frail_postgres: PostgresServer, make_loaders: MakeLoaders, failpoint: str
) -> None:
    """Row 13."""
    restart_at(failpoint, "fast", frail_bench, frail_postgres, make_loaders)


@pytest.mark.parametrize("failpoint", ["in_copy@2", "before_commit"])
def test_a_crash_in_the_middle_is_retried_to_success(
    frail_bench: Bench, frail_postgres: PostgresServer, make_loaders: MakeLoaders, failpoint: str
) -> None:
    """Row 14."""
    restart_at(failpoint, "immediate", frail_bench, frail_postgres, make_loaders)


@pytest.mark.parametrize("failpoint", ["in_copy@2", "after_landing"])
def test_a_restart_is_retried_on_the_staged_path(
    kafka: KafkaSettings,
    frail_bench: Bench,
    frail_postgres: PostgresServer,
    bench_maker: BenchMaker,
    make_loaders: MakeLoaders,
    failpoint: str,
) -> None:
    bench = fill(bench_maker.make(kafka, frail_bench.endpoints.postgres), STAGED)
    restart_at(failpoint, "fast", bench, frail_postgres, make_loaders)


def restart_at(
    failpoint: str,
    mode: Literal["fast", "immediate"],
    bench: Bench,
    server: PostgresServer,
    make_loaders: MakeLoaders,
) -> None:
    place, _, turn = failpoint.partition("@")
    loaders = make_loaders(bench)
    loader, gate = loaders.hold(f"{place}@{turn or 1}")
    server.restart(mode)
    gate.open()
    assert loader.finish()["rows"] == 1000
    # The connection of the positions was idle: its loss is no fault of its own.
    assert loader.said().count(RETRY) <= 1
    bench.assert_exactly_once()


def test_a_batch_that_was_acknowledged_survives_a_crash(
    frail_bench: Bench, frail_postgres: PostgresServer, make_loaders: MakeLoaders
) -> None:
    """Row 14, right after the acknowledgement."""
    loaders = make_loaders(frail_bench)
    loaders.start("after_commit:kill").wait_killed()
    frail_postgres.restart("immediate")
    assert frail_bench.count() == 2000
    assert loaders.load()["rows"] == 0
    frail_bench.assert_exactly_once()


def test_ended_backends_are_retried_for_as_long_as_batches_are_committed_between(
    frail_bench: Bench, make_loaders: MakeLoaders
) -> None:
    """Ends all of the loader's connections, until that was noticed oftener than a run may fail.

    It is not noticed where they are idle, or where a COMMIT turns out to have arrived.
    """
    bench = frail_bench.with_stream(batch=BatchSettings(max_rows=8))
    loader = make_loaders(bench).start("after_copy:sleep:0.05")
    while loader.said().count(RETRY) <= RETRIES:
        before = bench.count()
        wait_until(lambda: bench.count() > before)  # noqa: B023 - called in this round only
        assert bench.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s",
            f"%{bench.name}%",
        )
    assert loader.finish()["rows"] == 1000
    bench.assert_exactly_once()


def test_a_copy_cut_by_the_server_prints_no_row(
    frail_bench: Bench, make_loaders: MakeLoaders
) -> None:
    """libpq is known to print a COPY's context, row text and all, when the backend is ended."""
    bench = frail_bench
    bench.query("ALTER TABLE {table} ADD t text CHECK (t IS NULL OR pg_sleep(0.02) IS NOT NULL)")
    bench.produce([{"id": n, "t": f"{CANARY} {n}"} for n in range(2000, 2050)])
    loader = make_loaders(bench).start()
    with session_of(bench) as cursor:

        def end_a_copy() -> bool:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE '%%COPY%%FROM STDIN%%' AND state = 'active'"
                " AND application_name LIKE %s"
                " AND query_start < clock_timestamp() - interval '0.3 s'",
                (f"%{bench.name}%",),
            )
            return cursor.rowcount > 0

        wait_until(end_a_copy)
    assert loader.finish()["rows"] == 1050
    assert RETRY in loader.said()
    assert CANARY not in loader.said() + loader.output.read_text()
    bench.assert_exactly_once()


def test_a_termination_in_the_middle_of_copy_is_heard(frail_bench: Bench) -> None:
    """Dagster ends a run by an exception in its main thread, which may be deep in the driver."""

    class TerminatedError(BaseException):
        pass

    def terminate(*_: object) -> None:
        raise TerminatedError

    bench = frail_bench
    before = signal.signal(signal.SIGUSR1, terminate)
    with session_of(bench) as cursor:
        cursor.execute(f"BEGIN; LOCK TABLE {bench.stream.table} IN SHARE MODE")

        def end_it() -> None:
            wait_until(lambda: bench.query(WAITING_COPY, f"%{bench.name}%") == [(1,)])
            os.kill(os.getpid(), signal.SIGUSR1)
            cursor.execute("ROLLBACK")

        ending = threading.Thread(target=end_it)
        ending.start()
        try:
            with pytest.raises(TerminatedError):
                bench.load()
        finally:
            ending.join()
            signal.signal(signal.SIGUSR1, before)
    assert bench.count() == 1000
    assert bench.load().counts.rows == 1000
    bench.assert_exactly_once()


def test_a_backend_that_freezes_while_rejected_rows_are_searched_is_given_up(
    frail_bench: Bench, frail_postgres: PostgresServer, make_loaders: MakeLoaders
) -> None:
    bench = frail_bench.with_postgres(statement_timeout_seconds=1.0)
    bench.query("ALTER TABLE {table} ADD CHECK (id <> 1500)")
    loaders = make_loaders(bench).impatient()
    loader, gate = loaders.hold("before_search@1")
    backends = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s"
    frozen = bench.query(backends, f"%{bench.name}%")
    for (pid,) in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        gate.open()
        assert loader.wait() in (0, 1), loader.said()
        assert "the connection was lost" in loader.said()
    finally:
        for (pid,) in frozen:
            os.kill(pid, signal.SIGCONT)
    assert loaders.start().wait() == 0
    assert bench.count() == 1999
    bench.assert_exactly_once()


def test_closing_does_not_wait_for_a_backend_that_is_frozen_while_it_lands(
    kafka: KafkaSettings, frail_bench: Bench, bench_maker: BenchMaker
) -> None:
    bench = bench_maker.make(kafka, frail_bench.endpoints.postgres)
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    bench.trigger_before_inserts("PERFORM pg_sleep(NEW.id); RETURN NEW;")
    sleeping = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with open_writing(bench) as writing:
        first, second = writing.make([b'{"id": 0}']), writing.make([b'{"id": 60}'])
        writing.writer.send(first)
        writing.writer.send(second)
        writing.writer.write(first)
        wait_until(lambda: bench.query(sleeping))
        [(pid,)] = bench.query(sleeping)
        os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        try:
            writing.writer.close()
            assert time.monotonic() - started < 30
        finally:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not bench.query(sleeping))
    assert (bench.count(), bench.positions()) == (1, {0: 1})


# -- the outcome of COMMIT ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["direct", "pooled"])
def test_a_lost_answer_to_commit_is_resolved_to_committed(
    kind: str,
    kafka: KafkaSettings,
    postgres: PostgresSettings,
    bench_maker: BenchMaker,
    make_loaders: MakeLoaders,
    make_proxy: Any,
    request: pytest.FixtureRequest,
) -> None:
    """Row 6: no reload, the right counts."""
    server = postgres if kind == "direct" else request.getfixturevalue("pooled_postgres")
    bench = fill(bench_maker.make(kafka, server), STAGED)
    proxy = make_proxy(server.host, server.port)
    proxy.lose(Loss.ANSWER)
    loader = make_loaders(through(bench, proxy)).start()
    report = loader.finish()
    assert (report["rows"], proxy.losses) == (1000, 1)
    assert "UNKNOWN resolved to committed" in loader.said()
    assert RETRY not in loader.said()
    assert batches(bench) == 2
    bench.assert_exactly_once()


@pytest.mark.parametrize("kind", ["direct", "pooled"])
def test_a_commit_that_never_arrives_is_loaded_once_more(
    kind: str,
    kafka: KafkaSettings,
    postgres: PostgresSettings,
    bench_maker: BenchMaker,
    make_loaders: MakeLoaders,
    make_proxy: Any,
    request: pytest.FixtureRequest,
) -> None:
    """Row 8: the server does not hear that the client is gone and waits for it, positions locked.

    Only the idle timeout of the old transaction (10 s) ends it; the resolver waits that long.
    """
    server = postgres if kind == "direct" else request.getfixturevalue("pooled_postgres")
    bench = fill(bench_maker.make(kafka, server), STAGED)
    proxy = make_proxy(server.host, server.port)
    proxy.lose(Loss.COMMIT)
    loader = make_loaders(through(bench, proxy)).start()
    report = loader.finish()
    assert (report["rows"], proxy.losses) == (1000, 1)
    assert "UNKNOWN resolved to not committed" in loader.said()
    assert batches(bench) == 2
    bench.assert_exactly_once()


def test_a_stuck_commit_is_waited_for_by_the_lock_not_by_a_look(
    frail_bench: Bench, frail_postgres: PostgresServer, make_loaders: MakeLoaders
) -> None:
    """Row 7: a plain SELECT would read the old position while the commit is on its way."""
    bench = frail_bench.with_postgres(lock_timeout_seconds=0.5)
    loaders = make_loaders(bench)
    loader, gate = loaders.hold("before_commit@1")
    log = frail_postgres.log_path
    log_start = log.stat().st_size
    with session_of(bench) as cursor, no_standby_answers(cursor):
        gate.open()

        def stuck() -> list[int]:
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                " AND application_name LIKE %s",
                (f"%{bench.name}%",),
            )
            return [row[0] for row in cursor.fetchall()]

        def lock_timeouts() -> int:
            return log.read_bytes()[log_start:].count(b"due to lock timeout")

        wait_until(lambda: bool(stuck()))
        wait_until(lambda: lock_timeouts() > 1)  # 55P03, tried again
        assert loader.process.poll() is None
        assert "UNKNOWN resolved" not in loader.said()
        for pid in stuck():
            cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
    report = loader.finish()
    assert "UNKNOWN resolved to committed" in loader.said()
    assert (report["rows"], batches(bench)) == (1000, 2)
    bench.assert_exactly_once()


def test_an_operator_whose_commit_got_no_answer_is_told_to_look(
    frail_bench: Bench, make_proxy: Any
) -> None:
    server = frail_bench.endpoints.postgres
    proxy = make_proxy(server.host, server.port)
    bench = through(frail_bench, proxy).with_postgres(statement_timeout_seconds=1.0)
    with bench.session() as session:
        target = session.catalog.fetch_target()
        proxy.lose(Loss.ANSWER, mark=b"DELETE FROM")
        with pytest.raises(OutcomeUnknownError, match="look before you do it again"):
            session.moves.reset({0: 100}, target, allow_duplicates=False)
    assert frail_bench.positions()[0] == 100
    frail_bench.load()
    frail_bench.assert_exactly_once()


@contextlib.contextmanager
def no_standby_answers(cursor: Any) -> Iterator[None]:
    """COMMIT writes and then waits for a standby that does not exist; not for this session."""
    cursor.execute("SET synchronous_commit = off")
    with changed_setting(cursor, "synchronous_standby_names", "nobody"):
        yield


# -- a server that refuses ------------------------------------------------------------------------


def test_a_read_only_node_moves_nothing_and_says_so(
    frail_bench: Bench, make_loaders: MakeLoaders
) -> None:
    """Row 15."""
    loaders = make_loaders(frail_bench)
    with session_of(frail_bench) as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        with changed_setting(cursor, "default_transaction_read_only", "on"):
            assert "read-only" in loaders.start().fail()
    assert frail_bench.count() == 1000
    assert loaders.load()["rows"] == 1000
    frail_bench.assert_exactly_once()


def test_a_full_disk_moves_nothing(frail_bench: Bench, make_loaders: MakeLoaders) -> None:
    """Row 17 without a disk: the server says 53100 through a trigger."""
    frail_bench.trigger_before_inserts("RAISE EXCEPTION 'no space' USING ERRCODE = 'disk_full';")
    loaders = make_loaders(frail_bench).impatient()
    positions = frail_bench.positions()
    assert "53100" in loaders.start().fail()
    assert (frail_bench.count(), frail_bench.positions()) == (1000, positions)
    assert frail_bench.query("SELECT count(*) FROM {schema}.dead_letter") == [(0,)]
    frail_bench.query("DROP TRIGGER before_insert ON {table}")
    assert loaders.load()["rows"] == 1000
    frail_bench.assert_exactly_once()


# -- row 16: lock waits, deadlocks, serialization failures ----------------------------------------


def test_a_held_position_is_waited_for_and_tried_again(
    frail_bench: Bench, frail_postgres: PostgresServer, make_loaders: MakeLoaders
) -> None:
    bench = frail_bench.with_postgres(lock_timeout_seconds=0.3)
    with session_of(bench) as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT FROM {bench.endpoints.postgres.schema_name}.state FOR UPDATE")
        loader = make_loaders(bench).start()
        wait_until(lambda: "55P03" in loader.said())
        cursor.execute("ROLLBACK")
    assert loader.finish()["rows"] == 1000
    assert loader.said().count(RETRY) <= RETRIES
    bench.assert_exactly_once()


def test_a_position_held_for_good_fails_the_run_in_time(
    frail_bench: Bench, make_loaders: MakeLoaders
) -> None:
    bench = frail_bench.with_postgres(lock_timeout_seconds=0.3)
    with session_of(bench) as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT FROM {bench.endpoints.postgres.schema_name}.state FOR UPDATE")
        loader = make_loaders(bench).impatient().start()
        said = loader.fail()
        cursor.execute("ROLLBACK")
    assert said.count(RETRY) >= RETRIES
    assert "another session held a lock" in said
    assert bench.count() == 1000


@pytest.mark.parametrize("loaded_bench", ["plain", "staged"], indirect=True)
def test_a_deadlock_is_tried_again(loaded_bench: Bench, make_loaders: MakeLoaders) -> None:
    """The loader holds the table and wants the positions, the rival the other way round."""
    loaders = make_loaders(loaded_bench)
    loader, gate = loaders.hold("after_copy@1")
    schema = loaded_bench.endpoints.postgres.schema_name
    with session_of(loaded_bench) as cursor:
        cursor.execute("SET deadlock_timeout = '20s'")  # the loader is to be the victim
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT FROM {schema}.state FOR UPDATE")
        gate.open()
        time.sleep(0.3)
        with contextlib.suppress(psycopg2.errors.DeadlockDetected):
            cursor.execute(f"LOCK TABLE {loaded_bench.stream.table} IN ACCESS EXCLUSIVE MODE")
        cursor.execute("ROLLBACK")
    assert loader.finish()["rows"] == 1000
    assert "40P01" in loader.said()
    loaded_bench.assert_exactly_once()


def test_a_serialization_failure_is_tried_again(
    frail_bench: Bench, make_loaders: MakeLoaders
) -> None:
    frail_bench.query("CREATE SEQUENCE {schema}.failures")
    frail_bench.query(
        "CREATE FUNCTION {schema}.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('{frail_bench.endpoints.postgres.schema_name}.failures') < 3 THEN"
        " RAISE EXCEPTION 'busy' USING ERRCODE = 'serialization_failure'; END IF;"
        " RETURN NULL; END $$"
    )
    frail_bench.query(
        "CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION {schema}.fail()"
    )
    loader = make_loaders(frail_bench).start()
    assert loader.finish()["rows"] == 1000
    assert loader.said().count("40001") == 2
    frail_bench.assert_exactly_once()


def test_a_role_that_defaults_to_repeatable_read_changes_nothing(
    frail_bench: Bench, make_loaders: MakeLoaders
) -> None:
    """The loader names its isolation level itself, and so waits for a rival and is fenced."""
    loaders = make_loaders(frail_bench)
    gate = loaders.gate()
    with (
        session_of(frail_bench) as cursor,
        changed_setting(cursor, "default_transaction_isolation", "repeatable read"),
    ):
        started = [loaders.start(f"after_copy@1:{gate}") for _ in range(2)]
        wait_until(lambda: count_idle_in_transaction(frail_bench) == 2)
        gate.open()
        assert sorted(loader.finish()["rows"] for loader in started) == [0, 1000]
    assert all("40001" not in loader.said() for loader in started)
    frail_bench.assert_exactly_once()


# -- tools ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def session_of(bench: Bench) -> Iterator[Any]:
    """A cursor of a rival's session."""
    with closing(connect(bench.endpoints.postgres)) as connection:
        yield connection.cursor()


@contextlib.contextmanager
def changed_setting(cursor: Any, name: str, value: str) -> Iterator[None]:
    """A setting of the whole server, for sessions present and to come."""
    cursor.execute(f"ALTER SYSTEM SET {name} = %s", (value,))
    reload_settings(cursor)
    try:
        yield
    finally:
        cursor.execute(f"ALTER SYSTEM RESET {name}")
        reload_settings(cursor)


def reload_settings(cursor: Any) -> None:
    def loaded_at() -> Any:
        cursor.execute("SELECT pg_conf_load_time()")
        return cursor.fetchone()

    before = loaded_at()
    cursor.execute("SELECT pg_reload_conf()")
    wait_until(lambda: loaded_at() != before)


def through(bench: Bench, proxy: Any) -> Bench:
    """The bench as its loaders see it behind the proxy, impatient with COMMIT."""
    return bench.with_postgres(host="127.0.0.1", port=proxy.port, commit_timeout_seconds=1.0)


def batches(bench: Bench) -> int:
    return int(bench.query("SELECT count(DISTINCT batch_id) FROM {schema}.ledger")[0][0])
