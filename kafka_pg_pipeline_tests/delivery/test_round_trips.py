"""How often a load waits for PostgreSQL, which may be far away."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg2
import pytest

from kafka_pg_pipeline.adapters.postgres.connection import Primary
from kafka_pg_pipeline.domain.policies import Evolution
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.fix_proxy import Proxy
from kafka_pg_pipeline_tests.fix_streams import Bench

ROWS = 20


@pytest.fixture
def proxy(bench: Bench, make_proxy: Callable[[str, int], Proxy]) -> Proxy:
    server = bench.endpoints.postgres
    return make_proxy(str(server.host), server.port)


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """What one loader waits for; to look whether lanes pay is one round trip more."""
    return replace(bench, lanes=1)


def count_round_trips(bench: Bench, proxy: Proxy, batches: int) -> int:
    """Load so many batches of as many records, from a position that is there already."""
    bench.produce([{"id": number} for number in range(ROWS * batches)], partition=lambda _: 0)
    limits = BatchSettings(max_rows=ROWS)
    far = bench.with_stream(batch=limits).with_postgres(host="127.0.0.1", port=proxy.port)
    before = proxy.round_trips
    report = far.load()
    assert (report.batches, report.counts.rows) == (batches, ROWS * batches)
    return proxy.round_trips - before


@pytest.mark.parametrize("mode", [{}, {"mode": "upsert", "key": ["id"]}], ids=["append", "upsert"])
def test_each_batch_waits_four_times(bench: Bench, proxy: Proxy, mode: dict[str, Any]) -> None:
    """COPY begins with the transaction and is answered twice; then what lands, and COMMIT."""
    bench = bench.with_stream(evolution=Evolution.FREEZE, **mode)
    bench.create_topic(partitions=1)
    count_round_trips(bench, proxy, 1)
    three = count_round_trips(bench, proxy, 3)
    assert count_round_trips(bench, proxy, 8) - three == 5 * 4


def test_a_load_with_nothing_to_do_waits_seldom(bench: Bench, proxy: Proxy) -> None:
    bench.create_topic(partitions=1)
    count_round_trips(bench, proxy, 1)
    before = proxy.round_trips
    assert bench.with_postgres(host="127.0.0.1", port=proxy.port).load().batches == 0
    assert proxy.round_trips - before <= 9


def test_a_first_load_waits_a_few_times_more(bench: Bench, proxy: Proxy) -> None:
    bench.create_topic(partitions=1)
    assert count_round_trips(bench, proxy, 1) <= 33


def test_a_look_waits_once_for_each_statement(bench: Bench, proxy: Proxy) -> None:
    settings = bench.with_postgres(host="127.0.0.1", port=proxy.port).endpoints.postgres
    primary = Primary(settings, application_name="test")
    try:
        with primary.look("look") as cursor:
            cursor.execute("SELECT 1")
            before = proxy.round_trips
            cursor.execute("SHOW transaction_isolation")
            assert cursor.fetchall() == [("read committed",)]
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchall() != [("0",)]
            assert proxy.round_trips - before == 2
        connection = primary.connection()
        assert connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE
        with connection.cursor() as plain:
            plain.execute("SHOW statement_timeout")
            assert plain.fetchall() == [("0",)]
    finally:
        primary.close()


def test_a_look_cannot_write(bench: Bench) -> None:
    primary = Primary(bench.endpoints.postgres, application_name="test")
    try:
        with (
            pytest.raises(PipelineError, match="SQLSTATE 25006"),
            primary.look("look") as cursor,
        ):
            cursor.execute(f"CREATE TABLE {bench.stream.table} (id integer)")
    finally:
        primary.close()
