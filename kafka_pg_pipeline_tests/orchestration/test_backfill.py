"""Backfills in Dagster: windows as partitions, launched as the UI's backfill page does it."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kafka_pg_pipeline_tests.backfilling import (
    DAYS,
    beside,
    ids_between,
    ids_in,
    produce_days,
    windows,
)
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.orchestration.conftest import Location
from kafka_pg_pipeline_tests.orchestration.dagster_dev import DagsterDev, dagster_dev
from kafka_pg_pipeline_tests.waiting import wait_until

KEYS = [f"{day:%Y-%m-%d}" for day in DAYS[:3]]
LAUNCH = """mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
RUNS = """{ runsOrError { ... on Runs { results
  { status startTime endTime tags { key value } } } } }"""


@pytest.fixture
def past(bench: Bench) -> Bench:
    """A topic with four days of records, which nobody has loaded yet."""
    bench.create_topic()
    produce_days(bench, 300)
    return bench


def section(bench: Bench, **changes: Any) -> dict[str, Any]:
    return {bench.name: {"backfill": {"start": KEYS[0], **changes}}}


def ended_backfills(dev: DagsterDev, bench: Bench) -> list[dict[str, Any]]:
    """Runs of windows that are over, in the order of their start."""
    tag = {"key": "kafka_pg/backfill", "value": bench.name}
    runs = [run for run in dev.query(RUNS)["runsOrError"]["results"] if tag in run["tags"]]
    return sorted((run for run in runs if run["endTime"]), key=lambda run: run["startTime"])


def test_the_backfill_page_loads_each_window_once_beside_the_live_loads(
    past: Bench, make_location: Any, tmp_path: Path
) -> None:
    """Three partitions of the asset, one after the other, and the live position on its own."""
    side = beside(past, "past")
    location = make_location(past, **section(past, into=side.stream.table))
    asset = {"path": side.stream.table.split(".")}
    with dagster_dev(tmp_path / "home", location.environment) as dev:
        params = {"assetSelection": [asset], "partitionNames": KEYS, "tags": []}
        assert dev.query(LAUNCH, params=params)["launchPartitionBackfill"].keys() == {"backfillId"}
        live = dev.launch(f"load_{past.name}")
        # The daemon looks for new backfills every 30 s.
        wait_until(lambda: len(ended_backfills(dev, past)) == len(KEYS), 150)
        wait_until(lambda: dev.status(live) == "SUCCESS", 90)
        runs = ended_backfills(dev, past)
    assert ids_in(side) == ids_between(past, DAYS[0], DAYS[3])
    assert [done for _, done in windows(past)] == [True, True, True]
    assert past.count() == 310
    assert [run["status"] for run in runs] == ["SUCCESS"] * 3
    assert all(a["endTime"] <= b["startTime"] for a, b in pairwise(runs))
    assert past.findings() == []


def run_window(location: Location, instance: dg.DagsterInstance, bench: Bench, key: str) -> Any:
    job = location.job(f"backfill_{bench.name}")
    return job.execute_in_process(instance=instance, partition_key=key, raise_on_error=False)


def test_a_window_of_the_streams_own_table_is_an_asset_below_it(
    past: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    past = past.with_stream(start="latest")
    location = make_location(past, **section(past, every="hour"))
    hour = f"{DAYS[1]:%Y-%m-%d}-00:00"
    refused = run_window(location, instance, past, hour)
    [failed] = [e for e in refused.all_events if e.event_type_value == "STEP_FAILURE"]
    assert f"`kafka-pg load {past.name}`" in failed.step_failure_data.user_failure_data.description
    past.load()
    done = run_window(location, instance, past, hour)
    assert done.success
    assert len(ids_in(past)) >= 1
    [event] = [e for e in done.all_events if e.event_type_value == "ASSET_MATERIALIZATION"]
    schema, _, table = past.stream.table.partition(".")
    assert (event.asset_key.path, event.partition) == ([schema, table, "backfill"], hour)
    metadata = event.materialization.metadata
    assert metadata["kafka/rows"].value == len(ids_in(past))
    assert windows(past) == [(metadata["kafka/window"].value, True)]
    tags = instance.get_run_by_id(done.run_id).tags
    assert "kafka_pg/stream" not in tags
    again = run_window(location, instance, past, hour)
    assert again.success
    assert len(ids_in(past)) == metadata["kafka/rows"].value


def test_a_window_of_a_paused_stream_fails_and_says_so(
    past: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    past.load()
    with past.session("operator") as session:
        session.moves.pause("ask Ada")
    location = make_location(past, **section(past))
    refused = run_window(location, instance, past, KEYS[0])
    [failed] = [e for e in refused.all_events if e.event_type_value == "STEP_FAILURE"]
    assert "ask Ada" in failed.step_failure_data.user_failure_data.description
    assert windows(past) == []
