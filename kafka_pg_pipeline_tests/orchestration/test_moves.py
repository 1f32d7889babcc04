"""The operator's moves as jobs: what each changes, what it says, and that it rehearses first."""

import logging
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInvalidConfigError

from kafka_pg_pipeline.definitions import build_definitions
from kafka_pg_pipeline.settings.file import LoadedSettings
from kafka_pg_pipeline.settings.models import PipelineSettings
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.orchestration.conftest import Location
from kafka_pg_pipeline_tests.recovery.segments import corrupt, find_batches
from kafka_pg_pipeline_tests.topics import delete_before, recreate

OPS = {
    "reset_stream": "reset",
    "accept_gap": "record_gap",
    "accept_topic": "start_topic",
    "skip_range": "skip",
    "pause_stream": "pause",
    "resume_stream": "resume",
}


@pytest.fixture
def loaded(bench: Bench) -> Bench:
    bench.create_topic()
    bench.produce([{"id": number} for number in range(30)])
    bench.load()
    return bench


def run(location: Location, instance: dg.DagsterInstance, job: str, **config: Any) -> Any:
    return location.job(job).execute_in_process(
        instance=instance,
        run_config={"ops": {OPS[job]: {"config": config}}},
        raise_on_error=False,
    )


def metadata_of(result: Any) -> dict[str, Any]:
    assert result.success
    [output] = [e for e in result.all_events if e.event_type_value == "STEP_OUTPUT"]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def failure_text(result: Any) -> str:
    [failed] = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    return str(failed.step_failure_data.user_failure_data.description)


def move(
    location: Location, instance: dg.DagsterInstance, bench: Bench, job: str, **config: Any
) -> dict[str, Any]:
    """Rehearse, see that nothing changed, then do it: the same table of before and after."""
    before = bench.positions()
    rehearsed = metadata_of(run(location, instance, job, stream=bench.name, **config))
    assert rehearsed["kafka/changed"] is False
    assert "this was a dry run" in rehearsed["kafka/result"]
    assert bench.positions() == before
    result = run(location, instance, job, stream=bench.name, dry_run=False, **config)
    done = metadata_of(result)
    assert done["kafka/changed"] is True
    assert "done, with an audit row" in done["kafka/result"]
    assert instance.get_run_by_id(result.run_id).tags["kafka_pg/stream"] == bench.name
    if "position" in rehearsed["kafka/before_and_after"].records[0].data:
        assert done["kafka/before_and_after"] == rehearsed["kafka/before_and_after"]
    return done


def test_a_stream_is_reset(loaded: Bench, make_location: Any, instance: dg.DagsterInstance) -> None:
    done = move(make_location(loaded), instance, loaded, "reset_stream", to="0=4")
    [record] = done["kafka/before_and_after"].records
    assert record.data == {"partition": 0, "position": 10, "becomes": 4, "rows deleted": 6}
    assert loaded.positions() == {0: 4, 1: 10, 2: 10}
    assert loaded.load().counts.rows == 6
    loaded.assert_exactly_once()


def test_a_gap_is_accepted(loaded: Bench, make_location: Any, instance: dg.DagsterInstance) -> None:
    location = make_location(loaded)
    loaded.produce([{"id": number} for number in range(30)])
    delete_before(loaded, 0, 15)
    assert (
        not location.job(f"load_{loaded.name}")
        .execute_in_process(instance=instance, raise_on_error=False)
        .success
    )
    move(location, instance, loaded, "accept_gap")
    assert loaded.positions()[0] == 15
    assert location.job(f"load_{loaded.name}").execute_in_process(instance=instance).success
    nothing = metadata_of(run(location, instance, "accept_gap", stream=loaded.name, dry_run=False))
    assert nothing["kafka/changed"] is False
    assert "nothing to do" in nothing["kafka/result"]
    assert loaded.findings() == []


def test_a_topic_is_accepted(
    loaded: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    location = make_location(loaded)
    refused = run(location, instance, "accept_topic", stream=loaded.name, dry_run=False)
    assert "`same_topic: true` in Dagster" in failure_text(refused)
    recreate(loaded)
    move(location, instance, loaded, "accept_topic")
    assert loaded.positions() == {0: 0, 1: 0, 2: 0}


def test_a_broken_batch_is_skipped(
    loaded: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    location = make_location(loaded)
    loaded.produce([{"id": 1}] * 2, partition=lambda _: 0)
    loaded.produce([{"id": 1}] * 30)
    batch = next(b for b in find_batches(loaded, 0) if b.base_offset == 10)
    corrupt(batch)
    stopped = location.job(f"load_{loaded.name}").execute_in_process(
        instance=instance, raise_on_error=False
    )
    assert f"skip-range {loaded.name} --partition 0 --from 10 " in failure_text(stopped)
    assert loaded.positions() == {0: 10, 1: 20, 2: 20}
    config = {"partition": 0, "from": 10, "to": batch.next_offset, "reason": "bad disk"}
    move(location, instance, loaded, "skip_range", **config)
    assert loaded.load().counts.rows == 12 - len(range(10, batch.next_offset))
    assert loaded.findings() == []


def test_a_stream_is_paused_and_resumed(
    loaded: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    location = make_location(loaded)
    loaded.produce([{"id": number} for number in range(30)])
    done = move(location, instance, loaded, "pause_stream", reason="rebuilt tonight")
    [record] = done["kafka/before_and_after"].records
    assert record.data["before"] == "running"
    assert record.data["becomes"].endswith(": rebuilt tonight")

    tick = location.tick(instance)
    assert not tick.run_requests
    assert f"{loaded.name}: paused since " in tick.skip_message
    assert f"rebuilt tonight; `kafka-pg resume {loaded.name}`" in tick.skip_message

    result = location.job(f"load_{loaded.name}").execute_in_process(instance=instance)
    [found] = result.asset_materializations_for_node(f"{loaded.name}__table.{loaded.name}__load")
    assert found.metadata["kafka/outcome"].value == "paused"
    assert "rebuilt tonight" in found.metadata["kafka/pause"].value
    assert (found.metadata["kafka/rows"].value, loaded.count()) == (0, 30)
    logged = instance.all_logs(result.run_id)
    assert logging.WARNING in {e.level for e in logged if "rebuilt tonight" in e.user_message}

    move(location, instance, loaded, "resume_stream")
    assert location.job(f"load_{loaded.name}").execute_in_process(instance=instance).success
    loaded.assert_exactly_once()


def test_the_launchpad_shows_the_streams_and_rehearses(bench: Bench, make_location: Any) -> None:
    location = make_location(bench)
    for job, op in OPS.items():
        config = location.job(job).run_config
        assert config is not None
        prefilled = config["ops"][op]["config"]
        assert (prefilled["stream"], prefilled["dry_run"]) == (bench.name, True)


def test_a_stream_that_is_not_in_the_file_is_refused_by_the_launchpad(
    bench: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(DagsterInvalidConfigError, match="nowhere"):
        run(make_location(bench), instance, "resume_stream", stream="nowhere")


def test_without_streams_there_is_nothing_to_move() -> None:
    definitions = build_definitions(LoadedSettings(PipelineSettings(streams={}), None, {}))
    assert not {job.name for job in definitions.jobs or []} & OPS.keys()
