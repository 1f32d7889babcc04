"""All ways of loading the code location: they find the same, and fail with the same words."""

import json
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kafka_pg_pipeline.definitions import build_definitions
from kafka_pg_pipeline.settings.file import LoadedSettings
from kafka_pg_pipeline.settings.models import PipelineSettings
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.orchestration.dagster_dev import dagster_dev
from kafka_pg_pipeline_tests.orchestration.programs import execute_job, run_program

VALIDATE = ("dagster", "definitions", "validate", "-w", "workspace.yaml")
CHECK = ("dg", "check", "defs")
OFFLINE = """
import socket, sys, time
import dagster

def refuse(*arguments):
    raise AssertionError(f"a connection was opened: {arguments[1:]}")

socket.socket.connect = socket.socket.connect_ex = refuse
started = time.perf_counter()
from kafka_pg_pipeline.definitions import defs
print(time.perf_counter() - started)
"""


def define(**streams: Any) -> dg.Definitions:
    settings = PipelineSettings.model_validate({"streams": streams})
    definitions = build_definitions(LoadedSettings(settings, None, {}))
    dg.Definitions.validate_loadable(definitions)
    return definitions


MOVES = (
    "reset_stream",
    "accept_gap",
    "accept_topic",
    "skip_range",
    "pause_stream",
    "resume_stream",
)


def test_all_ways_of_loading_find_the_same_definitions(
    bench: Bench, make_location: Any, tmp_path: Path
) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    location = make_location(bench)
    expected = {
        "kafka_to_postgres",
        f"load_{bench.name}",
        "replay_dead_letters",
        "streams_to_postgres",
        "follow_streams",
        *MOVES,
        "purge",
        "check_streams",
        "check_tables",
    }
    home = tmp_path / "home"
    home.mkdir()
    assert "All code locations passed" in run_program(home, location.environment, *VALIDATE)
    assert "All definitions loaded" in run_program(home, location.environment, *CHECK)
    listed = run_program(home, location.environment, "dg", "list", "defs", "--json")
    found = json.loads(listed[listed.index("{") :])
    assert {job["name"] for job in found["jobs"]} == expected
    assert [sensor["name"] for sensor in found["sensors"]] == ["new_offsets_sensor"]
    jobs = run_program(home, location.environment, "dagster", "job", "list", "-w", "workspace.yaml")
    assert all(f"Job: {name}" in jobs for name in expected)
    execute_job(home, location.environment, "kafka_to_postgres")
    assert bench.count() == 1


def test_a_broken_file_is_told_by_all_ways_with_line_and_key(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("streams:\n  orders:\n    topic: a\n    tabel: public.a\n")
    told = f"{file}:4: streams.orders.tabel: this key is not known; did you mean table?"
    extra = {"KAFKA_PG_CONFIG": str(file)}
    home = tmp_path / "home"
    home.mkdir()
    assert told in run_program(home, extra, *VALIDATE, expected=1)
    assert told in run_program(home, extra, *CHECK, expected=1)
    assert told in execute_job(home, extra, "kafka_to_postgres", expected=1)
    with dagster_dev(home, extra) as dev:
        assert told in str(dev.load_error())


def test_loading_opens_no_connection_and_is_quick(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        "kafka: {bootstrap_servers: kafka.invalid:9092}\n"
        "postgres: {host: postgres.invalid, dbname: d, user: u, password: '${SECRET}'}\n"
        "streams: {orders: {topic: orders, table: public.orders}}\n"
    )
    extra = {"KAFKA_PG_CONFIG": str(file), "SECRET": "s"}
    seconds = run_program(tmp_path, extra, Path(sys.executable).name, "-c", OFFLINE)
    assert float(seconds.split()[-1]) < 5


def test_the_file_says_how_often_the_sensor_looks() -> None:
    settings = PipelineSettings.model_validate(
        {"sensor": {"interval_seconds": 60}, "streams": {"a": {"topic": "a", "table": "a"}}}
    )
    sensors = build_definitions(LoadedSettings(settings, None, {})).sensors or ()
    [sensor] = [found for found in sensors if found.name == "new_offsets_sensor"]
    assert isinstance(sensor, dg.SensorDefinition)
    assert sensor.minimum_interval_seconds == 60


def test_everything_is_off_until_somebody_turns_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = {"orders": {"topic": "o", "table": "public.o", "schedule": "0 * * * *"}}
    monkeypatch.delenv("KAFKA_PG_START_SENSORS", raising=False)
    repository = define(**streams).get_repository_def()
    schedules = {schedule.name: schedule for schedule in repository.schedule_defs}
    assert set(schedules) == {
        "kafka_to_postgres_schedule",
        "purge_schedule",
        "load_orders_schedule",
        "streams_to_postgres_schedule",
        "check_streams_schedule",
    }
    stopped = dg.DefaultScheduleStatus.STOPPED
    assert {schedule.default_status for schedule in schedules.values()} == {stopped}
    assert schedules["load_orders_schedule"].cron_schedule == "0 * * * *"
    sensor = repository.get_sensor_def("new_offsets_sensor")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    monkeypatch.setenv("KAFKA_PG_START_SENSORS", "1")
    sensor = define(**streams).get_repository_def().get_sensor_def("new_offsets_sensor")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_every_run_is_tagged_with_its_stream_and_its_longest_time() -> None:
    definitions = define(orders={"topic": "o", "table": "public.o"})
    tags = definitions.resolve_job_def("load_orders").run_tags
    assert tags["kafka_pg/stream"] == "orders"
    assert int(tags["dagster/max_runtime"]) > 600
    schedule = definitions.get_repository_def().get_schedule_def("kafka_to_postgres_schedule")
    with dg.build_schedule_context() as context:
        requests = schedule.evaluate_tick(context).run_requests
    assert requests is not None
    assert requests[0].tags["kafka_pg/stream"] == "orders"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("public.a-b", "public.a_b"),
        ("public.a__b", "public__a.b"),
        ("public.Ürlaub$1", "public.my table"),
        ("one.consume", "two.load"),
    ],
)
def test_tables_may_have_any_name(first: str, second: str) -> None:
    definitions = define(
        one={"topic": "shop.orders-v1", "table": first},
        two={"topic": "shop_orders_v1", "table": second},
    )
    keys = definitions.resolve_asset_graph().get_all_asset_keys()
    expected = {dg.AssetKey(table.split(".")) for table in (first, second)}
    assert expected | {
        dg.AssetKey(["kafka", "shop.orders-v1"]),
        dg.AssetKey(["kafka", "shop_orders_v1"]),
    } == set(keys)
    checks = definitions.resolve_asset_graph().asset_check_keys
    assert {key.asset_key for key in checks} == expected
    assert len({key.name for key in checks}) * 2 == len(checks)


def test_two_streams_of_one_table_are_refused() -> None:
    with pytest.raises(Exception, match="stream one fills this table"):
        define(one={"topic": "a", "table": "public.same"}, two={"topic": "b", "table": "same"})


def test_a_table_that_would_be_a_topics_asset_is_refused() -> None:
    with pytest.raises(Exception, match=r"stream one: table kafka\.orders"):
        define(one={"topic": "orders", "table": "kafka.orders"})
