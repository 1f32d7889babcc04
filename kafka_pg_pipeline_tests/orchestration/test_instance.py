"""The instance file for deployments, against a real PostgreSQL."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

from kafka_pg_pipeline.local.postgres_server import PostgresServer
from kafka_pg_pipeline_tests.fix_servers import connect, postgres_settings
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.orchestration.dagster_dev import ROOT
from kafka_pg_pipeline_tests.orchestration.programs import execute_job, run_program


def test_the_instance_file_for_deployments_is_accepted_and_keeps_runs(
    bench: Bench, own_postgres: PostgresServer, make_location: Any, tmp_path: Path
) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "deploy" / "dagster.yaml", home)
    parameters = own_postgres.connection_parameters()
    extra = {
        **make_location(bench).environment,
        "DAGSTER_PG_HOST": str(parameters["host"]),
        "DAGSTER_PG_PORT": str(parameters["port"]),
        "DAGSTER_PG_USER": str(parameters["user"]),
        "DAGSTER_PG_PASSWORD": str(parameters["password"]),
        "DAGSTER_PG_DB": str(parameters["dbname"]),
    }
    assert "tag_concurrency_limits" in run_program(home, extra, "dagster", "instance", "info")
    execute_job(home, extra, f"load_{bench.name}")
    assert bench.count() == 1
    with closing(connect(postgres_settings(own_postgres))) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT pipeline_name, status FROM runs")
        assert cursor.fetchall() == [(f"load_{bench.name}", "SUCCESS")]
    assert not list(home.rglob("*.db"))
