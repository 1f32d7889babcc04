"""No secret and no record content anywhere in what Dagster keeps or shows."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.local.postgres_server import PostgresServer
from kafka_pg_pipeline.resources.build import build_resources
from kafka_pg_pipeline.resources.kafka import REGISTRY_PREFIX, KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource
from kafka_pg_pipeline.settings.file import load_settings
from kafka_pg_pipeline.settings.models import (
    DeadLetterSettings,
    KafkaSettings,
    PostgresSettings,
    SchemaRegistrySettings,
)
from kafka_pg_pipeline_tests.fix_servers import postgres_settings
from kafka_pg_pipeline_tests.fix_streams import BenchMaker
from kafka_pg_pipeline_tests.orchestration.programs import all_files, execute_job

CANARY = "canary-5af3c1"
WRONG = "wrong-password-81b2"
FILE = """
kafka:
  bootstrap_servers: k:9093
  security_protocol: SASL_SSL
  sasl_mechanism: PLAIN
  sasl_username: u
  sasl_password: ${KAFKA_SECRET}
postgres: {host: p, dbname: d, user: u, password: "${PG_SECRET:-}"}
streams: {}
"""


def test_neither_secrets_nor_records_reach_dagsters_storage(
    kafka: KafkaSettings,
    own_postgres: PostgresServer,
    bench_maker: BenchMaker,
    make_location: Any,
    tmp_path: Path,
) -> None:
    """A run that succeeds, one whose rows PostgreSQL refuses, one that may not log in."""
    bench = bench_maker.make(kafka, postgres_settings(own_postgres))
    bench.create_topic()
    bench.produce([{"id": 1, "name": CANARY}, CANARY.encode(), {"id": CANARY}])
    location = make_location(
        bench,
        **{
            bench.name: {
                "columns": {"id": "bigint"},
                "dead_letters": DeadLetterSettings(max_records=2).model_dump(),
            }
        },
    )
    home = tmp_path / "home"
    home.mkdir()
    job = f"load_{bench.name}"
    execute_job(home, location.environment, job)
    assert bench.count() == 1
    bench.query("ALTER TABLE {table} ADD CHECK (id < 100), ADD UNIQUE (name)")
    bench.produce([{"id": 200 + number, "name": CANARY} for number in range(5)])
    refused = execute_job(home, location.environment, job, expected=1)
    assert "records of one batch were rejected" in refused
    locked_out = {**location.environment, "BENCH_PASSWORD": WRONG}
    assert "the password is wrong" in execute_job(home, locked_out, job, expected=1)
    secret = location.environment["BENCH_PASSWORD"]
    files = list(all_files(home))
    assert any(path.suffix == ".db" for path, _ in files)
    assert any("compute_logs" in str(path) for path, _ in files)
    for path, content in files:
        for hidden in (secret, CANARY, WRONG):
            assert hidden.encode() not in content, (path, hidden)
    for hidden in (secret, CANARY, WRONG):
        assert hidden not in refused


@pytest.mark.parametrize(
    ("section", "resource", "prefix"),
    [
        (KafkaSettings, KafkaResource, ""),
        (SchemaRegistrySettings, KafkaResource, REGISTRY_PREFIX),
        (PostgresSettings, PostgresResource, ""),
    ],
)
def test_whatever_the_file_says_of_servers_reaches_dagster(
    section: type[BaseModel], resource: type[BaseModel], prefix: str
) -> None:
    assert {prefix + name for name in section.model_fields} <= set(resource.model_fields)


def test_resources_hold_the_names_of_variables_and_show_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(FILE)
    environment = {"KAFKA_SECRET": CANARY, "PG_SECRET": WRONG}
    resources = build_resources(load_settings(file, environment), environment)
    shown = repr(resources) + str(resources)
    fields = str([resource.model_dump() for resource in resources.values()])
    for hidden in (CANARY, WRONG):
        assert hidden not in shown + fields
    assert resources["kafka"].sasl_password == "KAFKA_SECRET"
    assert resources["postgres"].password == "PG_SECRET"


def test_a_resource_in_a_run_hides_its_secret(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(FILE)
    environment = {"KAFKA_SECRET": CANARY, "PG_SECRET": WRONG}
    resources = build_resources(load_settings(file, environment), environment)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        for resource in resources.values():
            running = resource.process_config_and_initialize()
            assert CANARY not in repr(running)
            assert WRONG not in repr(running)
            assert CANARY not in repr(running.settings())
            assert WRONG not in repr(running.settings())


def test_an_unset_secret_is_left_to_the_environment_of_the_run(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(FILE)
    resources = build_resources(load_settings(file, {"KAFKA_SECRET": "s"}), {"KAFKA_SECRET": "s"})
    assert resources["postgres"].password is None


def test_a_secret_may_not_have_a_default_in_the_file(tmp_path: Path) -> None:
    """Dagster is told the variable alone, so that a default would work on the command line only."""
    file = tmp_path / "pipeline.yaml"
    file.write_text(FILE.replace("${PG_SECRET:-}", "${PG_SECRET:-hunter2}"))
    with pytest.raises(ConfigurationError, match=r"postgres\.password: secrets do not") as caught:
        load_settings(file, {"KAFKA_SECRET": "s"})
    assert "hunter2" not in str(caught.value)
