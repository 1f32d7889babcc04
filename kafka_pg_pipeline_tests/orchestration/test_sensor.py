"""Ticks of the sensor: when it asks for a run, when it does not, and what it then says."""

import os
import re
import threading
import time
from typing import Any

import dagster as dg
import psutil
import pytest
from confluent_kafka import Producer

from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.orchestration import sensors
from kafka_pg_pipeline.orchestration.streams import STREAM_TAG
from kafka_pg_pipeline.settings.models import KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.orchestration.conftest import Location


def requested(tick: Any) -> list[str]:
    return [request.job_name for request in tick.run_requests or []]


def add_run(
    instance: dg.DagsterInstance, location: Location, bench: Bench, status: dg.DagsterRunStatus
) -> str:
    job = location.job(f"load_{bench.name}")
    run = instance.create_run_for_job(job, tags={STREAM_TAG: bench.name}, status=status)
    return run.run_id


def test_new_records_ask_for_one_run_without_a_run_key(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    tick = make_location(bench).tick(instance)
    assert requested(tick) == [f"load_{bench.name}"]
    assert tick.run_requests[0].run_key is None
    assert tick.run_requests[0].tags[STREAM_TAG] == bench.name


def test_a_look_creates_neither_tables_nor_positions(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    make_location(bench).tick(instance)
    schemas = [bench.endpoints.postgres.schema_name, bench.stream.table.partition(".")[0]]
    found = bench.query("SELECT count(*) FROM pg_tables WHERE schemaname = ANY (%s)", schemas)
    assert found == [(0,)]


def test_a_loaded_stream_is_skipped_with_its_numbers(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    bench.load()
    tick = make_location(bench).tick(instance)
    assert requested(tick) == []
    assert tick.skip_message == f"{bench.name}: up to date at 1 (3 partitions)"


def test_an_open_transaction_alone_starts_no_run(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    producer = Producer(
        {"bootstrap.servers": bench.bootstrap_servers, "transactional.id": bench.name}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(12):
        producer.produce(bench.stream.topic, b'{"id": %d}' % number, partition=0)
    producer.flush(30)
    location = make_location(bench)
    for _ in range(3):
        tick = location.tick(instance)
        assert requested(tick) == []
        assert "12 records blocked by an open transaction" in tick.skip_message
    producer.commit_transaction(30)
    assert requested(location.tick(instance)) == [f"load_{bench.name}"]


@pytest.mark.parametrize(
    "status",
    [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED],
)
def test_a_run_in_flight_is_not_doubled(
    bench: Bench,
    make_location: Any,
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus,
) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    location = make_location(bench)
    run_id = add_run(instance, location, bench, status)
    tick = location.tick(instance)
    assert requested(tick) == []
    assert f"run {run_id[:8]} is at it" in tick.skip_message


def test_an_orphaned_run_without_progress_silences_nothing(
    bench: Bench,
    make_location: Any,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    location = make_location(bench)
    run_id = add_run(instance, location, bench, dg.DagsterRunStatus.STARTED)
    monkeypatch.setattr(sensors, "ORPHAN_SECONDS", 0.0)
    assert requested(location.tick(instance)) == [f"load_{bench.name}"]
    bench.load(run_id=run_id)
    bench.produce([{"id": 2}])
    monkeypatch.setattr(sensors, "ORPHAN_SECONDS", 60.0)
    assert requested(location.tick(instance)) == []


def test_a_stream_whose_runs_fail_is_tried_again_later_and_later(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    location = make_location(bench)
    for expected in (30, 60):
        add_run(instance, location, bench, dg.DagsterRunStatus.FAILURE)
        tick = location.tick(instance)
        assert requested(tick) == []
        [waits] = re.findall(r"the last run failed; trying again in (\d+) s", tick.skip_message)
        assert expected - 10 < int(waits) <= expected
    add_run(instance, location, bench, dg.DagsterRunStatus.SUCCESS)
    assert requested(location.tick(instance)) == [f"load_{bench.name}"]


def test_a_missing_topic_does_not_hold_the_other_streams(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    other = bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres)
    bench.create_topic()
    bench.produce([{"id": 1}])
    tick = make_location(other, bench).tick(instance)
    assert requested(tick) == [f"load_{bench.name}"]


def test_a_closed_port_is_a_reason_to_skip_and_leaks_nothing(
    postgres: PostgresSettings,
    bench_maker: BenchMaker,
    make_location: Any,
    instance: dg.DagsterInstance,
) -> None:
    closed = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    benches = [bench_maker.make(closed, postgres) for _ in range(2)]
    location = make_location(*benches)
    location.tick(instance)
    before = (threading.active_count(), psutil.Process(os.getpid()).num_fds())
    for _ in range(5):
        tick = location.tick(instance)
        assert requested(tick) == []
        assert tick.skip_message.count("127.0.0.1:1 refuses connections") == 2
        assert not any(bench.stream.topic in tick.skip_message for bench in benches)
    after = (threading.active_count(), psutil.Process(os.getpid()).num_fds())
    assert after[0] - before[0] <= 2
    assert after[1] - before[1] <= 5


def test_a_silent_broker_costs_a_tick_less_than_twenty_seconds(
    own_kafka: KafkaServer,
    postgres: PostgresSettings,
    bench_maker: BenchMaker,
    make_location: Any,
    instance: dg.DagsterInstance,
) -> None:
    kafka = KafkaSettings(bootstrap_servers=own_kafka.bootstrap_servers)
    benches = [bench_maker.make(kafka, postgres) for _ in range(3)]
    location = make_location(*benches)
    own_kafka.pause()
    try:
        started = time.monotonic()
        tick = location.tick(instance)
        assert time.monotonic() - started < 20
        assert requested(tick) == []
        assert own_kafka.bootstrap_servers in tick.skip_message
    finally:
        own_kafka.resume()
