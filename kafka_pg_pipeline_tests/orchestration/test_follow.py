"""``follow_streams``: one run for minutes in place of one for each look that finds records."""

import threading
import time
from typing import Any

import dagster as dg

from kafka_pg_pipeline.orchestration import sensors
from kafka_pg_pipeline.orchestration.assets import table_key
from kafka_pg_pipeline.orchestration.follow import follow_config
from kafka_pg_pipeline.orchestration.streams import (
    FAILED_TAG,
    FOLLOW_JOB,
    STREAM_TAG,
    STREAMS_TAG,
    join_names,
)
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.orchestration.conftest import Location

FOLLOWING = {"sensor": {"follow_seconds": 60}}


def neighbour(bench: Bench, bench_maker: BenchMaker) -> Bench:
    return bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres)


def requests_of(tick: Any) -> dict[str, Any]:
    return {request.job_name: request for request in tick.run_requests or []}


def test_a_run_loads_what_arrives_and_tells_it_once_for_each_stream(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    idle, missing = neighbour(bench, bench_maker), neighbour(bench, bench_maker)
    bench.create_topic(), idle.create_topic()
    location = make_location(bench, idle, missing)
    arriving = threading.Thread(target=produce_in_turns, args=(bench,))
    arriving.start()
    result = location.job(FOLLOW_JOB).execute_in_process(
        instance=instance, run_config=follow_config([], 6), raise_on_error=False
    )
    arriving.join()
    assert bench.count() == 30
    bench.assert_exactly_once()
    assert bench.query("SELECT count(DISTINCT batch_id) > 1 FROM {schema}.ledger") == [(True,)]
    assert not result.success
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[FAILED_TAG] == missing.name
    [record] = instance.fetch_materializations(table_key(bench.stream), limit=5).records
    told = record.asset_materialization
    assert told is not None
    assert not instance.fetch_materializations(table_key(idle.stream), limit=5).records
    assert told.metadata["kafka/rows"].value == 30


def produce_in_turns(bench: Bench) -> None:
    for turn in range(3):
        bench.produce([{"id": 10 * turn + number} for number in range(10)])
        time.sleep(0.8)


def test_the_sensor_keeps_one_run_going_for_all_streams_idle_ones_too(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    other = neighbour(bench, bench_maker)
    bench.create_topic(), other.create_topic()
    location = make_location(bench, other, sections=FOLLOWING)
    requests = requests_of(location.tick(instance))
    assert set(requests) == {FOLLOW_JOB}
    request = requests[FOLLOW_JOB]
    names = sorted((bench.name, other.name))  # as they stand in the file
    assert request.run_config == follow_config(names, 60)
    assert int(request.tags["dagster/max_runtime"]) > 60
    instance.create_run_for_job(
        location.job(FOLLOW_JOB), tags=request.tags, status=dg.DagsterRunStatus.STARTED
    )
    assert requests_of(location.tick(instance)) == {}


def test_a_run_that_outlives_its_time_by_far_is_taken_for_dead(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance, monkeypatch: Any
) -> None:
    bench.create_topic()
    location = make_location(bench, sections=FOLLOWING)
    [request] = location.tick(instance).run_requests
    instance.create_run_for_job(
        location.job(FOLLOW_JOB), tags=request.tags, status=dg.DagsterRunStatus.STARTED
    )
    monkeypatch.setattr(sensors, "ORPHAN_SECONDS", -59.0)
    assert requests_of(location.tick(instance)) == {}
    monkeypatch.setattr(sensors, "ORPHAN_SECONDS", -60.0)
    assert set(requests_of(location.tick(instance))) == {FOLLOW_JOB}


def test_a_stream_that_failed_while_it_was_followed_is_alone_until_it_succeeds(
    bench: Bench,
    bench_maker: BenchMaker,
    make_location: Any,
    instance: dg.DagsterInstance,
    monkeypatch: Any,
) -> None:
    other = neighbour(bench, bench_maker)
    bench.create_topic(), other.create_topic()
    bench.produce([{"id": 1}])
    location = make_location(bench, other, sections=FOLLOWING)
    instance.create_run_for_job(
        location.job(FOLLOW_JOB),
        tags={STREAMS_TAG: join_names([bench.name, other.name]), FAILED_TAG: bench.name},
        status=dg.DagsterRunStatus.FAILURE,
    )
    assert names_of(location, instance) == {FOLLOW_JOB: [other.name]}
    monkeypatch.setattr(sensors, "_BACKOFF_SECONDS", 0.0)
    assert names_of(location, instance) == {
        FOLLOW_JOB: [other.name],
        f"load_{bench.name}": [bench.name],
    }


def names_of(location: Location, instance: dg.DagsterInstance) -> dict[str, list[str]]:
    return {
        job: (request.tags.get(STREAMS_TAG) or request.tags[STREAM_TAG]).split(",")
        for job, request in requests_of(location.tick(instance)).items()
    }
