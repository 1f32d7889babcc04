"""The job ``replay_dead_letters``, and one budget for a run and its retries, through Dagster."""

import uuid
from typing import Any

import dagster as dg
import pytest

from kafka_pg_pipeline.orchestration.streams import find_retried_runs
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.orchestration.conftest import Location

OPEN = "SELECT count(*) FROM {schema}.dead_letter WHERE resolved_at IS NULL"


def run(location: Location, instance: dg.DagsterInstance, **config: Any) -> Any:
    return location.job("replay_dead_letters").execute_in_process(
        instance=instance,
        run_config={"ops": {"replay": {"config": config}}},
        raise_on_error=False,
    )


def metadata_of(result: Any) -> dict[str, Any]:
    [output] = [e for e in result.all_events if e.event_type_value == "STEP_OUTPUT"]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def failure_text(result: Any) -> str:
    [failed] = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    return str(failed.step_failure_data.user_failure_data.description)


@pytest.fixture
def rejected(bench: Bench) -> Bench:
    """Ten rows, and three dead letters of which a wider column takes two."""
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    bench.produce([{"id": number} for number in range(10)])
    bench.produce([{"id": 2**40}, b"broken", {"id": 2**41}])
    bench.load()
    bench.query("ALTER TABLE {table} ALTER id TYPE bigint")
    return bench


def test_the_job_replays_what_fits_and_tells_what_stays(
    rejected: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    location = make_location(rejected)
    result = run(location, instance, stream=rejected.name)
    assert result.success
    metadata = metadata_of(result)
    assert (metadata["kafka/replayed"], metadata["kafka/still_rejected"]) == (2, 1)
    [reason] = metadata["kafka/rejected_by_reason"].records
    assert reason.data == {"reason": "invalid_json", "dead letters": 1}
    assert rejected.query(
        "SELECT DISTINCT resolved_by FROM {schema}.dead_letter WHERE resolution = 'replayed'"
    ) == [(result.run_id,)]
    [event] = [e for e in result.all_events if e.event_type_value == "ASSET_MATERIALIZATION"]
    assert event.materialization.metadata["kafka/replayed"].value == 2
    assert instance.get_run_by_id(result.run_id).tags["kafka_pg/stream"] == rejected.name
    again = run(location, instance, stream=rejected.name)
    assert metadata_of(again)["kafka/replayed"] == 0
    assert rejected.count() == 12
    rejected.assert_exactly_once()


def test_the_job_takes_what_its_configuration_means(
    rejected: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    location = make_location(rejected)
    for config, replayed in (
        ({"reason": "invalid_json"}, 0),
        ({"until": "2020-01-01T00:00:00Z"}, 0),
        ({"since": "2020-01-01T00:00:00+02:00", "limit": 1}, 1),
        ({}, 1),
    ):
        result = run(location, instance, stream=rejected.name, **config)
        assert metadata_of(result)["kafka/replayed"] == replayed, config
    rejected.assert_exactly_once()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"reason": "bad_luck"}, "reason 'bad_luck' is none of invalid_json"),
        ({"since": "2026-01-31T12:00:00"}, "since: '2026-01-31T12:00:00' has no zone"),
        ({"limit": 0}, "limit is 0, it must be above 0"),
        ({"stream": "nowhere"}, "there is no stream 'nowhere'"),
    ],
)
def test_a_wrong_configuration_is_told(
    rejected: Bench,
    make_location: Any,
    instance: dg.DagsterInstance,
    config: dict[str, Any],
    said: str,
) -> None:
    result = run(make_location(rejected), instance, **{"stream": rejected.name, **config})
    assert not result.success
    assert said in failure_text(result)
    assert rejected.query(OPEN) == [(3,)]


def test_a_run_and_its_retries_have_one_budget(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    """The second run is one that Dagster started for the first, which had made its letters."""
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    location = make_location(bench, **{bench.name: {"dead_letters": {"max_run_records": 3}}})
    job = location.job(f"load_{bench.name}")
    bench.produce([{"id": "bad"}] * 2)
    first = job.execute_in_process(instance=instance)
    assert first.success
    bench.produce([{"id": "bad"}] * 2)
    retry = {"dagster/parent_run_id": first.run_id, "dagster/retry_number": "1"}
    result = job.execute_in_process(instance=instance, tags=retry, raise_on_error=False)
    assert not result.success
    assert "4 or more records of one run were rejected, 3 are allowed" in failure_text(result)
    assert bench.query(OPEN) == [(2,)]
    assert job.execute_in_process(instance=instance).success
    assert bench.query(OPEN) == [(4,)]


def test_a_run_that_somebody_executed_again_counts_anew(instance: dg.DagsterInstance) -> None:
    runs = [dg.DagsterRun(job_name="j", run_id=str(uuid.uuid4()))]
    for tags in ({}, {"dagster/retry_number": "1"}, {"dagster/retry_number": "2"}):
        parent = {"dagster/parent_run_id": runs[-1].run_id}
        runs.append(dg.DagsterRun("j", run_id=str(uuid.uuid4()), tags={**parent, **tags}))
    for one in runs:
        instance.add_run(one)
    ids = [one.run_id for one in runs]
    found = [find_retried_runs(one, instance) for one in runs]
    assert found == [(), (), (ids[1],), (ids[2], ids[1])]
