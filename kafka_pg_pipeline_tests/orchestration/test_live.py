"""A whole Dagster, webserver and daemon, on real servers: the sensor, a terminated run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.orchestration.dagster_dev import DagsterDev, dagster_dev
from kafka_pg_pipeline_tests.orchestration.programs import count_rows
from kafka_pg_pipeline_tests.waiting import wait_until

SENSOR = "new_offsets_sensor"


def has_ticked(dev: DagsterDev, times: int) -> Callable[[], bool]:
    return lambda: len(dev.sensor_ticks(SENSOR)) >= times


def test_records_from_outside_land_with_nobody_touching_anything(
    bench: Bench, make_location: Any, tmp_path: Path
) -> None:
    bench.create_topic()
    location = make_location(bench)
    extra = {**location.environment, "KAFKA_PG_START_SENSORS": "1"}
    with dagster_dev(tmp_path / "home", extra) as dev:
        wait_until(has_ticked(dev, 1), 60)
        for total in (10, 20):
            bench.produce([{"id": number} for number in range(10)])
            wait_until(lambda expected=total: count_rows(bench) == expected, 60)
        wait_until(lambda: not dev.has_unfinished_runs(), 60)
        runs = dev.run_ids()
        wait_until(has_ticked(dev, len(dev.sensor_ticks(SENSOR)) + 2), 90)
        assert dev.run_ids() == runs
        ended = [tick for tick in dev.sensor_ticks(SENSOR) if tick["status"] != "STARTED"]
        assert ended[0]["status"] == "SKIPPED"
        assert "up to date" in ended[0]["skipReason"]
    bench.assert_exactly_once()


def test_a_terminated_run_leaves_whole_batches_and_no_session(
    bench: Bench, make_location: Any, tmp_path: Path
) -> None:
    bench = bench.with_stream(batch=BatchSettings(max_rows=50))
    bench.create_topic()
    bench.produce([{"id": number} for number in range(60_000)])
    with dagster_dev(tmp_path / "home", make_location(bench).environment) as dev:
        run_id = dev.launch(f"load_{bench.name}")
        wait_until(lambda: count_rows(bench) > 500, 60)
        dev.terminate(run_id)
        wait_until(lambda: dev.status(run_id) == "CANCELED", 90)
        left = bench.query(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s",
            f"kafka-pg {bench.name}%",
        )
        assert left == [(0,)]
    landed = bench.count()
    assert 500 < landed < 60_000
    assert bench.query("SELECT sum(rows) FROM {schema}.ledger") == [(landed,)]
    assert bench.findings() == []
    assert bench.load().counts.rows == 60_000 - landed
    bench.assert_exactly_once()
