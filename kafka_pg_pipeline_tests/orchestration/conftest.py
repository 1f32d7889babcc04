"""A configuration file for a bench, and Dagster definitions made from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from kafka_pg_pipeline.definitions import build_definitions
from kafka_pg_pipeline.settings.file import load_settings
from kafka_pg_pipeline_tests.fix_streams import Bench

PASSWORD_VARIABLE = "BENCH_PASSWORD"


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


def write_file(path: Path, *benches: Bench, **streams: dict[str, Any]) -> None:
    """The configuration file of the benches; keyword arguments add to a stream's section."""
    kafka, postgres = benches[0].endpoints.kafka, benches[0].endpoints.postgres
    document = {
        "kafka": {
            "bootstrap_servers": kafka.bootstrap_servers,
            "request_timeout_seconds": kafka.request_timeout_seconds,
        },
        "postgres": {
            "host": postgres.host,
            "port": postgres.port,
            "dbname": postgres.dbname,
            "user": postgres.user,
            "password": f"${{{PASSWORD_VARIABLE}}}",
            "sslmode": postgres.sslmode,
            "schema": postgres.schema_name,
            "lock_timeout_seconds": postgres.lock_timeout_seconds,
        },
        "streams": {
            bench.name: {
                "topic": bench.stream.topic,
                "table": bench.stream.table,
                "metadata": {key.value: name for key, name in bench.stream.metadata.items()},
                "isolation": bench.stream.isolation,
                "start": str(bench.stream.start),
                **streams.get(bench.name, {}),
            }
            for bench in benches
        },
    }
    path.write_text(yaml.safe_dump(document))


@pytest.fixture
def make_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the file of some benches and loads definitions from it."""

    def make(*benches: Bench, **streams: dict[str, Any]) -> Location:
        file = tmp_path / "pipeline.yaml"
        write_file(file, *benches, **streams)
        secret = benches[0].endpoints.postgres.password
        environment = {
            PASSWORD_VARIABLE: secret.get_secret_value() if secret else "",
            "KAFKA_PG_CONFIG": str(file),
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return Location(file, environment, build_definitions(load_settings(file, environment)))

    return make


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral
