"""Lanes as steps of a run: whatever executor runs them, they make one load."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kafka_pg_pipeline.assembly.watch import StreamLook
from kafka_pg_pipeline.orchestration.asset_keys import table_key
from kafka_pg_pipeline.orchestration.jobs import lanes_config
from kafka_pg_pipeline.orchestration.sensors import Verdict, build_requests
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.orchestration.rebuilt_job import JOB_VARIABLE, rebuild_job


def test_lanes_run_in_processes_of_the_multiprocess_executor(
    bench: Bench, make_location: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.create_topic(6)
    bench.produce([{"id": number} for number in range(600)], partition=lambda index: index % 6)
    make_location(bench)
    monkeypatch.setenv(JOB_VARIABLE, f"load_{bench.name}")
    job = dg.reconstructable(rebuild_job)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        lanes = dg.execute_job(job, instance, run_config=lanes_config(bench.name, 2)).run_id
        loaders = (
            "SELECT count(DISTINCT loader), count(DISTINCT run_id), sum(rows) FROM {schema}.ledger"
        )
        assert bench.query(loaders) == [(2, 1, 600)]
        bench.produce([{"id": 600}])
        alone = dg.execute_job(job, instance).run_id
        table = f"{bench.name}__table"
        assert sorted(steps_of(instance, lanes)) == [
            f"{table}.{bench.name}__{step}" for step in ("consume", "lane[0]", "lane[1]", "load")
        ]
        assert sorted(steps_of(instance, alone)) == [
            f"{table}.{bench.name}__{step}" for step in ("consume", "load")
        ]
        assert count_step_processes(instance, lanes) == 4
        assert count_step_processes(instance, alone) == 0
        records = instance.fetch_materializations(table_key(bench.stream), limit=2).records
        rows = [event.asset_materialization.metadata["kafka/rows"].value for event in records]  # type: ignore[union-attr]
        assert rows == [1, 600]
    bench.assert_exactly_once()


def steps_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    return [step.step_key for step in instance.get_run_step_stats(run_id)]


def count_step_processes(instance: dg.DagsterInstance, run_id: str) -> int:
    return sum(
        entry.dagster_event is not None
        and entry.dagster_event.event_type is dg.DagsterEventType.STEP_WORKER_STARTED
        for entry in instance.all_logs(run_id)
    )


def test_lanes_share_a_budget_and_fail_the_run_with_what_stopped_them(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic(3)
    bench.produce([{"id": number} for number in range(600)])
    bench.produce([b"broken"] * 60)
    location = make_location(bench, **{bench.name: {"dead_letters": {"max_run_records": 30}}})
    config = {"ops": lanes_config(bench.name, 3)["ops"]}
    result = location.job(f"load_{bench.name}").execute_in_process(
        instance=instance, run_config=config, raise_on_error=False
    )
    assert not result.success
    failed = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    assert len(failed) == 2
    for event in failed:
        data = event.step_failure_data.user_failure_data
        assert data is not None
        assert "40 or more records of one run were rejected" in (data.description or "")
    assert not [e for e in result.all_events if e.event_type_value == "ASSET_MATERIALIZATION"]
    assert bench.query("SELECT failures, error FROM {schema}.failure") == [
        (1, "DeadLetterBudgetError")
    ]
    assert bench.query("SELECT count(*) FROM {schema}.dead_letter") == [(20,)]


def test_the_sensor_asks_for_the_lanes_that_it_thinks_worth_it(make_location: Any) -> None:
    behind = StreamLook("orders", readable=10**8, partitions=4)
    [request] = build_requests([Verdict(behind, lanes=4)])
    assert request.run_config == lanes_config("orders", 4)
    [request] = build_requests([Verdict(behind)])
    assert request.run_config == {}
