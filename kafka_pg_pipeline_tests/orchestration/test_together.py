"""Several streams in one run: what one of them suffers is its own affair."""

import re
from typing import Any

import dagster as dg

from kafka_pg_pipeline.orchestration import sensors
from kafka_pg_pipeline.orchestration.streams import (
    FAILED_TAG,
    STREAM_TAG,
    STREAMS_TAG,
    TOGETHER_JOB,
    join_names,
)
from kafka_pg_pipeline.orchestration.together import together_config
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.orchestration.conftest import Location

FAILURE, SUCCESS = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS


def filled(bench: Bench, records: int = 1) -> Bench:
    bench.create_topic()
    bench.produce([{"id": number} for number in range(records)])
    return bench


def neighbour(bench: Bench, bench_maker: BenchMaker) -> Bench:
    return bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres)


def requests_of(tick: Any) -> dict[str, Any]:
    return {request.job_name: request for request in tick.run_requests or []}


def add_shared_run(
    instance: dg.DagsterInstance,
    location: Location,
    *benches: Bench,
    status: dg.DagsterRunStatus,
    **tags: str,
) -> str:
    names = join_names(bench.name for bench in benches)
    return instance.create_run_for_job(
        location.job(TOGETHER_JOB), tags={STREAMS_TAG: names, **tags}, status=status
    ).run_id


def execute(location: Location, instance: dg.DagsterInstance, *benches: Bench) -> Any:
    return location.job(TOGETHER_JOB).execute_in_process(
        instance=instance,
        run_config=together_config([bench.name for bench in benches]),
        raise_on_error=False,
    )


def test_streams_with_little_to_load_share_one_run_the_least_first(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    other = neighbour(bench, bench_maker)
    filled(bench, 5), filled(other, 2)
    requests = requests_of(make_location(bench, other).tick(instance))
    assert set(requests) == {TOGETHER_JOB}
    request = requests[TOGETHER_JOB]
    assert request.tags[STREAMS_TAG] == f"{other.name},{bench.name}"
    config = request.run_config["ops"]["load_each"]["config"]
    assert config == {
        "streams": [other.name, bench.name],
        "max_records": sensors.MOST_TOGETHER,
    }


def test_a_stream_with_much_to_load_gets_a_run_of_its_own(
    bench: Bench,
    bench_maker: BenchMaker,
    make_location: Any,
    instance: dg.DagsterInstance,
    monkeypatch: Any,
) -> None:
    second, third = (neighbour(bench, bench_maker) for _ in range(2))
    filled(bench, 5), filled(second, 1), filled(third, 1)
    monkeypatch.setattr(sensors, "MOST_TOGETHER", 4)
    requests = requests_of(make_location(bench, second, third).tick(instance))
    assert set(requests) == {f"load_{bench.name}", TOGETHER_JOB}
    assert bench.name not in requests[TOGETHER_JOB].tags[STREAMS_TAG]


def test_what_the_sensor_asks_for_loads_each_stream_and_shows_it_on_its_table(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    other = neighbour(bench, bench_maker)
    filled(bench, 5), filled(other, 2)
    location = make_location(bench, other)
    request = requests_of(location.tick(instance))[TOGETHER_JOB]
    result = location.job(TOGETHER_JOB).execute_in_process(
        instance=instance, run_config=request.run_config, tags=dict(request.tags)
    )
    assert result.success
    assert (bench.count(), other.count()) == (5, 2)
    for each in (bench, other):
        key = dg.AssetKey(each.stream.table.split("."))
        event = instance.get_latest_materialization_event(key)
        assert event is not None
        materialization = event.asset_materialization
        assert materialization is not None
        assert materialization.metadata["kafka/rows"].value == each.count()
    assert requests_of(location.tick(instance)) == {}


def test_a_stream_without_its_topic_fails_alone_and_is_named(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    broken, other = (neighbour(bench, bench_maker) for _ in range(2))
    filled(bench), filled(other)
    location = make_location(bench, broken, other)
    result = execute(location, instance, bench, broken, other)
    assert not result.success
    assert (bench.count(), other.count()) == (1, 1)
    failure = result.failure_data_for_node("load_each")
    said = failure.user_failure_data.description
    assert "1 of 3 streams could not be loaded; the others were." in said
    assert f"{broken.name}: topic {broken.stream.topic!r} does not exist" in said
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[FAILED_TAG] == broken.name


def test_without_configuration_all_streams_are_loaded(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    other = neighbour(bench, bench_maker)
    filled(bench), filled(other)
    location = make_location(bench, other)
    result = location.job(TOGETHER_JOB).execute_in_process(instance=instance)
    assert result.success
    assert (bench.count(), other.count()) == (1, 1)
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert set(run.tags[STREAMS_TAG].split(",")) == {bench.name, other.name}


def test_an_unknown_stream_in_the_configuration_is_named(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    location = make_location(filled(bench))
    result = location.job(TOGETHER_JOB).execute_in_process(
        instance=instance, run_config=together_config(["nobody"]), raise_on_error=False
    )
    said = result.failure_data_for_node("load_each").user_failure_data.description
    assert said == f"there is no stream 'nobody'; there is {bench.name}"


def test_a_stream_in_a_shared_run_is_not_asked_for_again(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    other, third = (neighbour(bench, bench_maker) for _ in range(2))
    filled(bench), filled(other), filled(third)
    location = make_location(bench, other, third)
    run_id = add_shared_run(instance, location, bench, other, status=dg.DagsterRunStatus.STARTED)
    tick = location.tick(instance)
    assert set(requests_of(tick)) == {f"load_{third.name}"}
    add_shared_run(instance, location, third, status=dg.DagsterRunStatus.NOT_STARTED)
    said = location.tick(instance).skip_message
    assert said.count(f"run {run_id[:8]} is at it") == 2


def test_a_stream_that_failed_among_others_waits_and_is_then_alone(
    bench: Bench,
    bench_maker: BenchMaker,
    make_location: Any,
    instance: dg.DagsterInstance,
    monkeypatch: Any,
) -> None:
    other, third = (neighbour(bench, bench_maker) for _ in range(2))
    filled(bench), filled(other), filled(third)
    location = make_location(bench, other, third)
    benches = (bench, other, third)
    add_shared_run(instance, location, *benches, status=FAILURE, **{FAILED_TAG: bench.name})
    requests = requests_of(location.tick(instance))
    assert set(requests) == {TOGETHER_JOB}
    assert bench.name not in requests[TOGETHER_JOB].tags[STREAMS_TAG]
    monkeypatch.setattr(sensors, "_BACKOFF_SECONDS", 0.0)
    assert set(requests_of(location.tick(instance))) == {TOGETHER_JOB, f"load_{bench.name}"}
    alone = location.job(f"load_{bench.name}")
    instance.create_run_for_job(alone, tags={STREAM_TAG: bench.name}, status=SUCCESS)
    assert set(requests_of(location.tick(instance))) == {TOGETHER_JOB}


def test_after_a_shared_run_that_crashed_each_of_its_streams_waits(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    other = neighbour(bench, bench_maker)
    filled(bench), filled(other)
    location = make_location(bench, other)
    for expected in (30, 60):
        add_shared_run(instance, location, bench, other, status=FAILURE)
        tick = location.tick(instance)
        assert requests_of(tick) == {}
        waits = re.findall(r"trying again in (\d+) s", tick.skip_message)
        assert len(waits) == 2
        assert all(expected - 10 < int(wait) <= expected for wait in waits)


def test_a_failure_is_kept_in_postgresql_until_a_run_succeeds(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    neighbour(bench, bench_maker).create_topic()  # a broker without any may only just have started
    location = make_location(bench)
    schema = bench.endpoints.postgres.schema_name
    for number in (1, 2):
        result = execute(location, instance, bench)
        rows = bench.query(f"SELECT stream, failures, error, run_id, message FROM {schema}.failure")
        assert [row[:4] for row in rows] == [
            (bench.name, number, "TopicMissingError", result.run_id)
        ]
        assert "does not exist" in rows[0][4]
    filled(bench)
    assert execute(location, instance, bench).success
    assert bench.query(f"SELECT count(*) FROM {schema}.failure") == [(0,)]
