"""The jobs on real servers: what runs do, what they say, and how they fail."""

import logging
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.definitions import build_definitions
from kafka_pg_pipeline.orchestration import failures
from kafka_pg_pipeline.orchestration.loading import consume_stream, load_plan
from kafka_pg_pipeline.pipeline import load
from kafka_pg_pipeline.settings.file import LoadedSettings
from kafka_pg_pipeline.settings.models import BatchSettings, PipelineSettings
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_servers import connect
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.orchestration.conftest import Location
from kafka_pg_pipeline_tests.waiting import wait_until

GENERATOR = {"source": {"kind": "generator", "count": 50}}


def run(location: Location, job: str, instance: dg.DagsterInstance, **ops: Any) -> Any:
    return location.job(job).execute_in_process(
        instance=instance, run_config={"ops": ops} if ops else None, raise_on_error=False
    )


def materialization(result: Any) -> dg.AssetMaterialization:
    events = [e for e in result.all_events if e.event_type_value == "ASSET_MATERIALIZATION"]
    assert len(events) == 1
    return events[0].materialization


def failure_of(result: Any) -> Any:
    [failed] = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    return failed.step_failure_data


def failure_text(result: Any) -> str:
    data = failure_of(result)
    described = data.user_failure_data.description if data.user_failure_data else ""
    return f"{described} {data.error.to_string()}"


def test_kafka_to_postgres_produces_generated_events_and_loads_them(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    location = make_location(bench, **{bench.name: GENERATOR})
    for expected in (50, 100):
        assert run(location, "kafka_to_postgres", instance).success
        assert bench.count() == expected
    assert bench.query("SELECT count(DISTINCT id) FROM {table}") == [(100,)]
    bench.assert_exactly_once()


def test_run_config_chooses_stream_count_and_limits(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    other = bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres).with_postgres(
        schema_name=bench.endpoints.postgres.schema_name
    )
    location = make_location(bench, other, **{bench.name: GENERATOR, other.name: GENERATOR})
    result = run(
        location,
        "kafka_to_postgres",
        instance,
        produce={"config": {"stream": other.name, "count": 7}},
        consume={"config": {"stream": other.name, "max_records": 5}},
    )
    assert result.success
    assert other.count() == 5
    metadata = materialization(result).metadata
    assert metadata["kafka/outcome"].value == "limit_reached"
    assert metadata["kafka/lag_after"].value == 2


def test_produce_reads_the_lines_of_a_file(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance, tmp_path: Any
) -> None:
    lines = tmp_path / "events.jsonl"
    lines.write_text('{"id": 1}\n{"id": 2}\n\n{"id": 3}\n')
    location = make_location(bench, **{bench.name: GENERATOR})
    produce = {"config": {"file": str(lines)}}
    assert run(location, "kafka_to_postgres", instance, produce=produce).success
    assert bench.query("SELECT id FROM {table} ORDER BY id") == [(1,), (2,), (3,)]


def test_produce_never_writes_to_a_stream_without_a_source(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    result = run(make_location(bench), "kafka_to_postgres", instance)
    assert result.success
    assert bench.count() == 1
    assert len(bench.read_all()) == 1


def test_a_load_tells_ranges_counts_bytes_time_and_lag(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench.create_topic()
    bench.produce([{"id": number} for number in range(30)] + [b"broken"])
    result = run(make_location(bench), f"load_{bench.name}", instance)
    found = materialization(result)
    metadata = {name: value.value for name, value in found.metadata.items()}
    schema, _, table = bench.stream.table.partition(".")
    assert found.asset_key == dg.AssetKey([schema, table])
    assert metadata["kafka/rows"] == 30
    assert metadata["kafka/dead_letters"] == 1
    assert metadata["kafka/lag_before"] == 31
    assert metadata["kafka/lag_after"] == 0
    assert metadata["kafka/batches"] == 1
    assert metadata["kafka/bytes"] > 30 * len('{"id": 1}')
    assert metadata["kafka/seconds"] > 0
    assert metadata["kafka/rows_per_second"] > 0
    assert metadata["dagster/table_name"] == bench.stream.table
    names = ("partition", "from", "to", "offsets", "rows", "dead letters", "absent")
    records = [record.data for record in metadata["kafka/ranges"].records]
    assert [tuple(record[name] for name in names) for record in records] == [
        (0, 0, 11, 11, 10, 1, 0),
        (1, 0, 10, 10, 10, 0, 0),
        (2, 0, 10, 10, 10, 0, 0),
    ]


def test_a_load_by_key_tells_what_became_of_each_record(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    bench = bench.with_stream(mode="upsert", key=["id"])
    bench.create_topic(1)
    gone, unknown = FakeRecord(None, key=b"2"), FakeRecord(None, key=b"9")
    bench.produce([{"id": 2}, {"id": 1}, {"id": 1}], partition=lambda _: 0)
    run(make_location(bench), f"load_{bench.name}", instance)
    bench.produce([{"id": 1}, gone, unknown], partition=lambda _: 0)
    found = materialization(run(make_location(bench), f"load_{bench.name}", instance)).metadata
    names = ("rows", "superseded", "deleted", "ignored", "filtered", "dead_letters")
    assert [found[f"kafka/{name}"].value for name in names] == [1, 0, 1, 1, 0, 0]


def test_the_topic_stands_upstream_of_the_table(bench: Bench, make_location: Any) -> None:
    graph = make_location(bench).definitions.resolve_asset_graph()
    schema, _, table = bench.stream.table.partition(".")
    node = graph.get(dg.AssetKey([schema, table]))
    assert node.parent_keys == {dg.AssetKey(["kafka", bench.stream.topic])}


def test_an_old_plan_carried_out_again_loads_nothing_twice(bench: Bench) -> None:
    """What a re-execution from failure does: consume's output is taken as it was pickled."""
    bench.create_topic()
    bench.produce([{"id": number} for number in range(20)])

    def carry_out(plan: Any, run_id: str) -> int:
        landed = load_plan(
            plan, bench.stream, bench.endpoints, run_id=run_id, log=logging.getLogger("test")
        )
        return landed.report.counts.rows

    plan, _ = consume_stream(
        bench.name,
        bench.stream,
        bench.endpoints,
        run_id="first",
        max_records=None,
        max_seconds=None,
    )
    assert carry_out(plan, "first") == 20
    bench.produce([{"id": number} for number in range(20, 25)])
    assert bench.load().counts.rows == 5
    assert carry_out(plan, "again") == 0
    bench.assert_exactly_once()


def test_what_needs_a_person_fails_at_once_with_the_cure(
    bench: Bench, bench_maker: BenchMaker, make_location: Any, instance: dg.DagsterInstance
) -> None:
    other = bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres)
    other.create_topic()  # a broker without any may only just have started
    location = make_location(bench)  # its topic does not exist
    result = run(location, f"load_{bench.name}", instance)
    assert not result.success
    assert not [e for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]
    assert bench.stream.topic in failure_text(result)
    metadata = failure_of(result).user_failure_data.metadata
    assert {name: value.value for name, value in metadata.items()} == {
        "kafka/error": "TopicMissingError",
        "kafka/stream": bench.name,
        "kafka/topic": bench.stream.topic,
        "dagster/table_name": bench.stream.table,
    }


def test_no_server_and_bad_limits_are_told_in_one_message(
    bench: Bench,
    make_location: Any,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    location = make_location(bench)
    limits = {"config": {"stream": bench.name, "max_records": -5}}
    result = run(location, "kafka_to_postgres", instance, consume=limits)
    assert described(result) == "run configuration: max_records is -5, it must be above 0"
    monkeypatch.setenv("KAFKA_PG_HOME", str(tmp_path))
    settings = PipelineSettings(streams={bench.name: bench.stream})
    nowhere = build_definitions(LoadedSettings(settings, None, {}))
    result = nowhere.resolve_job_def(f"load_{bench.name}").execute_in_process(
        instance=instance, raise_on_error=False
    )
    assert "no local stack runs in" in described(result)
    messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert described(result) in messages


def described(result: Any) -> str:
    data = failure_of(result).user_failure_data
    assert data is not None
    return str(data.description)


def test_a_retried_load_tells_what_its_first_attempt_loaded_too(
    bench: Bench,
    make_location: Any,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The second batch meets a held position until Dagster has tried the op again."""
    monkeypatch.setattr(failures, "_LEAST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(failures, "_MOST_WAIT_SECONDS", 0.5)
    monkeypatch.setattr(load, "PATIENCE_SECONDS", 0.0)
    bench = bench.with_postgres(lock_timeout_seconds=0.2)
    bench = bench.with_stream(batch=BatchSettings(max_rows=100))
    bench.create_topic()
    bench.produce([{"id": number} for number in range(300)], partition=lambda _: 0)
    location = make_location(bench)
    gate = tmp_path / "gate"
    failpoints.forget()
    monkeypatch.setenv("KPP_FAILPOINT", f"before_copy@2:wait:{gate}")

    def hold_the_position() -> None:
        wait_until(Path(f"{gate}.reached").exists)
        with closing(connect(bench.endpoints.postgres)) as holder:
            cursor = holder.cursor()
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT FROM {bench.endpoints.postgres.schema_name}.state FOR UPDATE")
            gate.touch()
            wait_until(lambda: find_retries(instance), 120)

    holding = threading.Thread(target=hold_the_position)
    holding.start()
    try:
        result = run(location, f"load_{bench.name}", instance)
    finally:
        holding.join()
    assert result.success
    metadata = {name: value.value for name, value in materialization(result).metadata.items()}
    assert (metadata["kafka/rows"], metadata["kafka/batches"]) == (300, 3)
    assert (metadata["kafka/lag_before"], metadata["kafka/lag_after"]) == (300, 0)
    [total] = metadata["kafka/ranges"].records
    assert (total.data["from"], total.data["to"], total.data["rows"]) == (0, 300, 300)


def find_retries(instance: dg.DagsterInstance) -> bool:
    return any(
        entry.dagster_event is not None
        and entry.dagster_event.event_type_value == "STEP_UP_FOR_RETRY"
        for run_id in (record.run_id for record in instance.get_runs())
        for entry in instance.all_logs(run_id)
    )


def test_what_can_pass_is_retried(
    bench: Bench,
    make_location: Any,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another session holds the position for longer than the loader's own retries."""
    monkeypatch.setattr(failures, "_LEAST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(failures, "_MOST_WAIT_SECONDS", 0.5)
    monkeypatch.setattr(load, "PATIENCE_SECONDS", 0.0)
    bench = bench.with_postgres(lock_timeout_seconds=0.2)
    bench.create_topic()
    bench.produce([{"id": 1}])
    bench.load()
    bench.produce([{"id": 2}])
    location = make_location(bench)
    holder = connect(bench.endpoints.postgres)
    try:
        cursor = holder.cursor()
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT FROM {bench.endpoints.postgres.schema_name}.state FOR UPDATE")
        result = run(location, f"load_{bench.name}", instance)
        retries = [e for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]
        assert len(retries) == failures.MAX_RETRIES
        assert not result.success
        assert "another session held a lock" in failure_text(result)
    finally:
        holder.close()
    assert bench.load().counts.rows == 1
    bench.assert_exactly_once()
