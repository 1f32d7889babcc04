"""The job ``purge``: the pipeline's own tables, and Dagster's old runs."""

from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg
import pytest

from kafka_pg_pipeline.orchestration import purge
from kafka_pg_pipeline.orchestration.purge import find_old_runs
from kafka_pg_pipeline.orchestration.streams import STREAM_TAG, Streams
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.orchestration.conftest import Location

DONE = dg.DagsterRunStatus.SUCCESS


def run(location: Location, instance: dg.DagsterInstance, *, dry_run: bool = False) -> Any:
    result = location.job("purge").execute_in_process(
        instance=instance, run_config={"ops": {"purge_old": {"config": {"dry_run": dry_run}}}}
    )
    [output] = [e for e in result.all_events if e.event_type_value == "STEP_OUTPUT"]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def add_runs(
    instance: dg.DagsterInstance, location: Location, job: str, count: int, **changes: Any
) -> list[str]:
    return [
        instance.create_run_for_job(location.job(job), **{"status": DONE, **changes}).run_id
        for _ in range(count)
    ]


@pytest.fixture
def aged(bench: Bench) -> Bench:
    bench.create_topic(partitions=1)
    for number in range(5):
        bench.produce([{"id": number}], partition=lambda _: 0)
        bench.load()
    bench.query("UPDATE {schema}.ledger SET committed_at = committed_at - interval '100 days'")
    return bench


def test_the_job_purges_ledger_and_runs_and_says_how_many(
    aged: Bench,
    make_location: Any,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    location = make_location(aged)
    load = f"load_{aged.name}"
    runs = add_runs(instance, location, load, 4)
    add_runs(instance, location, load, 1, status=dg.DagsterRunStatus.STARTED)
    monkeypatch.setattr(purge, "MOST_RUNS", 3)
    monkeypatch.setattr(purge, "timedelta", lambda days: timedelta(seconds=-60))
    expected = {"kafka/merged_lines": 3, "kafka/removed_letters": 0}
    counts = {"kafka/removed_runs": 3, "kafka/old_runs_left": 1}
    assert run(location, instance, dry_run=True) == expected | counts
    assert instance.get_runs_count(dg.RunsFilter(job_name=load)) == 5
    counts["kafka/old_runs_left"] = 2  # the dry run's own is one
    assert run(location, instance) == expected | counts
    left = instance.get_runs(dg.RunsFilter(job_name=load))
    assert {one.run_id for one in left} & set(runs) == {runs[3]}
    assert {one.status for one in left} == {DONE, dg.DagsterRunStatus.STARTED}
    assert aged.query("SELECT count(*) FROM {schema}.ledger") == [(2,)]
    assert aged.findings() == []


def test_only_finished_old_runs_of_ours_go(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    location = make_location(bench)
    load = f"load_{bench.name}"
    asset_run = dg.DagsterRun("__ASSET_JOB", status=DONE, tags={STREAM_TAG: bench.name})
    instance.add_run(asset_run)
    [loaded] = add_runs(instance, location, load, 1, tags={STREAM_TAG: bench.name})
    add_runs(instance, location, load, 1, status=dg.DagsterRunStatus.NOT_STARTED)
    instance.add_run(dg.DagsterRun("purge", status=DONE))
    instance.add_run(dg.DagsterRun("__ASSET_JOB", status=DONE, tags={STREAM_TAG: "another"}))
    streams = Streams({bench.name: bench.stream})
    later = datetime.now(timezone.utc) + timedelta(seconds=60)
    assert find_old_runs(instance, streams, [load], later) == [asset_run.run_id, loaded]
    earlier = datetime.now(timezone.utc) - timedelta(seconds=60)
    assert find_old_runs(instance, streams, [load], earlier) == []


def test_the_run_of_the_latest_materialization_stays(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    location = make_location(bench)
    job = location.job(f"load_{bench.name}")
    loads = []
    for number in range(2):
        bench.produce([{"id": number}])
        loads.append(job.execute_in_process(instance=instance).run_id)
    later = datetime.now(timezone.utc) + timedelta(seconds=60)
    streams = Streams({bench.name: bench.stream})
    assert find_old_runs(instance, streams, [job.name], later) == loads[:1]
