"""The checks of the tables: each passes on a healthy stream, and fails on one that is broken."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from kafka_pg_pipeline.settings.models import KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_servers import connect
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.orchestration.conftest import Location
from kafka_pg_pipeline_tests.topics import delete_before, open_transaction, recreate

QUICK = {"no_gap", "tiling", "completeness", "lag", "freshness", "dead_letter_share"}
TABLE = "table_matches_ledger"
PASSED, WARNED, FAILED = "passed", "warned", "failed"


def milliseconds_ago(seconds: float) -> int:
    return round((time.time() - seconds) * 1000)


@dataclass(frozen=True)
class Found:
    """What Dagster's instance has of the latest evaluations of one stream's checks."""

    evaluations: dict[str, dg.AssetCheckEvaluation]

    def outcome(self, check: str) -> str:
        evaluation = self.evaluations[check]
        if evaluation.passed:
            return PASSED
        return WARNED if evaluation.severity is dg.AssetCheckSeverity.WARN else FAILED

    @property
    def bad(self) -> dict[str, str]:
        every = {check: self.outcome(check) for check in self.evaluations}
        return {check: outcome for check, outcome in every.items() if outcome != PASSED}

    def text(self, check: str) -> str:
        return str(self.evaluations[check].description)

    def metadata(self, check: str) -> dict[str, Any]:
        return {key: value.value for key, value in self.evaluations[check].metadata.items()}


def look(
    location: Location,
    instance: dg.DagsterInstance,
    bench: Bench,
    job: str = "check_streams",
    *,
    only: Collection[str] | None = None,
) -> Found:
    """Run the job and read what the instance knows afterwards."""
    result = (
        location.job(job).execute_in_process(
            instance=instance,
            raise_on_error=False,
            asset_selection=None,
        )
        if only is None
        else run_only(location, instance, bench, job, only)
    )
    return read(instance, bench, result.run_id)


def run_only(
    location: Location, instance: dg.DagsterInstance, bench: Bench, job: str, only: Collection[str]
) -> Any:
    """What the button of a single check does: a run of these alone."""
    key = dg.AssetKey(bench.stream.table.split("."))
    keys = {dg.AssetCheckKey(key, name) for name in only}
    subset = location.job(job).get_subset(asset_check_selection=keys)
    return subset.execute_in_process(instance=instance, raise_on_error=False)


def read(instance: dg.DagsterInstance, bench: Bench, run_id: str) -> Found:
    key = dg.AssetKey(bench.stream.table.split("."))
    records = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ).records
    found = {}
    for record in records:
        event = record.event_log_entry.dagster_event
        assert event is not None
        evaluation = event.event_specific_data
        assert isinstance(evaluation, dg.AssetCheckEvaluation)
        if evaluation.asset_key == key:
            found[evaluation.check_name] = evaluation
    return Found(found)


@pytest.fixture
def loaded(bench: Bench) -> Bench:
    """Three batches of ten rows, in each of three partitions."""
    bench.create_topic()
    for batch in range(3):
        bench.produce([{"id": batch * 30 + number} for number in range(30)])
        bench.load()
    return bench


def test_a_healthy_stream_passes_all_checks(
    loaded: Bench, make_location: Any, instance: dg.DagsterInstance
) -> None:
    location = make_location(loaded)
    found = look(location, instance, loaded)
    assert set(found.evaluations) == QUICK
    assert found.bad == {}
    assert found.metadata("lag") == {"kafka/lag": 0, "kafka/blocked": 0}
    assert found.metadata("freshness") == {"kafka/lag_seconds": 0}
    assert found.metadata("tiling") == {"kafka/findings": 0}
    table = look(location, instance, loaded, "check_tables")
    assert set(table.evaluations) == {TABLE}
    assert table.bad == {}
    assert look(location, instance, loaded, only=["lag"]).evaluations.keys() == {"lag"}
