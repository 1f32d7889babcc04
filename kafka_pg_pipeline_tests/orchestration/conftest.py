"""A configuration file for a bench, and Dagster definitions made from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kafka_pg_pipeline.definitions import build_definitions
from kafka_pg_pipeline.settings.file import load_settings
from kafka_pg_pipeline_tests.configuration import environment_of, write_file
from kafka_pg_pipeline_tests.fix_streams import Bench


@dataclass(frozen=True)
class Location:
    """A code location for some benches on the same servers."""

    file: Path
    environment: dict[str, str]
    definitions: dg.Definitions

    def job(self, name: str) -> dg.JobDefinition:
        return self.definitions.resolve_job_def(name)

    def tick(self, instance: dg.DagsterInstance) -> Any:
        """One tick of the sensor: its run requests and its skip message."""
        repository = self.definitions.get_repository_def()
        sensor = repository.get_sensor_def("new_offsets_sensor")
        with dg.build_sensor_context(
            instance=instance, resources=dict(self.definitions.resources or {})
        ) as context:
            return sensor.evaluate_tick(context)


@pytest.fixture
def make_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the file of some benches and loads definitions from it."""

    def make(*benches: Bench, **streams: dict[str, Any]) -> Location:
        file = tmp_path / "pipeline.yaml"
        write_file(file, *benches, **streams)
        environment = environment_of(benches[0], file)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return Location(file, environment, build_definitions(load_settings(file, environment)))

    return make


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral
