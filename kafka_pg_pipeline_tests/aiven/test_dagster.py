"""What Dagster shows of the services: a check each, with numbers and a link, and no secret."""

from typing import Any

import dagster as dg
import pytest
import yaml

from kafka_pg_pipeline.definitions import build_definitions
from kafka_pg_pipeline.settings.file import load_settings
from kafka_pg_pipeline_tests.fix_aiven import (
    KAFKA,
    KAFKA_PASSWORD,
    MARKERS,
    POSTGRES,
    AivenServer,
)

FILE = {
    "aiven": {"project": "acme-data", "kafka_service": KAFKA, "postgres_service": POSTGRES},
    "streams": {},
}


@pytest.fixture
def definitions(aiven: AivenServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in aiven.environment.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump(FILE))
    return build_definitions(load_settings(file, aiven.environment))


def check(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dict[str, Any]:
    result = definitions.resolve_job_def("check_aiven").execute_in_process(instance=instance)
    return {
        evaluation.asset_key.path[-1]: evaluation
        for evaluation in result.get_asset_check_evaluations()
    }


def test_a_check_tells_state_certificate_and_what_comes(
    definitions: dg.Definitions, aiven: AivenServer, instance: dg.DagsterInstance
) -> None:
    found = check(definitions, instance)
    kafka, postgres = found[KAFKA], found[POSTGRES]
    assert not kafka.passed
    assert kafka.severity is dg.AssetCheckSeverity.WARN
    assert "mandatory update pending" in kafka.description
    metadata = {name: value.value for name, value in kafka.metadata.items()}
    assert metadata["aiven/console"].endswith("/project/acme-data/services/kafka-events")
    assert metadata["aiven/state"] == "RUNNING"
    assert metadata["aiven/pending_updates"] == 1
    assert metadata["aiven/certificate_days"] > 0
    assert postgres.metadata["aiven/max_connections"].value == 100
    shown = "".join(str(event) for event in instance.all_logs(instance.get_runs()[0].run_id))
    assert not [marker for marker in (*MARKERS, KAFKA_PASSWORD) if marker in shown]
    for service in aiven.services.values():
        service["maintenance"]["updates"] = []
    assert all(evaluation.passed for evaluation in check(definitions, instance).values())


def test_a_service_that_does_not_serve_is_an_error(
    definitions: dg.Definitions, aiven: AivenServer, instance: dg.DagsterInstance
) -> None:
    aiven.services[POSTGRES]["state"] = "POWEROFF"
    found = check(definitions, instance)[POSTGRES]
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.ERROR
    assert "POWEROFF" in found.description


def test_services_are_assets_with_a_link_and_there_are_none_without_a_project(
    definitions: dg.Definitions, aiven: AivenServer, tmp_path: Any
) -> None:
    graph = definitions.resolve_asset_graph()
    node = graph.get(dg.AssetKey(["aiven", KAFKA]))
    assert node.metadata["aiven/console"].value.startswith("https://console.aiven.io/")
    assert aiven.calls == [], "nothing is asked while definitions are loaded"
    file = tmp_path / "other.yaml"
    file.write_text("streams: {}\n")
    other = build_definitions(load_settings(file, {}))
    assert "check_aiven" not in {job.name for job in other.resolve_all_job_defs()}
