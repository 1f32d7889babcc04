"""The resources find the servers as the command line does: the file, the environment, the rest."""

from typing import Any

import pytest

from kafka_pg_pipeline.resources.build import build_resources, find_endpoints
from kafka_pg_pipeline.settings.file import LoadedSettings
from kafka_pg_pipeline.settings.models import PipelineSettings, PostgresSettings

ENVIRONMENT = {
    "KAFKA_BOOTSTRAP_SERVERS": "broker:9093",
    "PGHOST": "primary",
    "PGPORT": "6432",
    "PGUSER": "loader",
    "PGPASSWORD": "s3cret",
    "PGDATABASE": "shop",
    "PGSSLMODE": "verify-ca",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def found(**postgres: Any) -> PostgresSettings:
    """What a run's resources lead to, for a file with this ``postgres:`` section."""
    settings = PipelineSettings.model_validate({"postgres": postgres, "streams": {}})
    resources = build_resources(LoadedSettings(settings, None, {}), {})
    endpoints = find_endpoints(resources["kafka"], resources["postgres"])  # type: ignore[arg-type]
    assert endpoints.kafka.bootstrap_servers == "broker:9093"
    return endpoints.postgres


def test_what_the_file_leaves_open_is_taken_from_the_environment() -> None:
    postgres = found()
    assert (postgres.host, postgres.port, postgres.user) == ("primary", 6432, "loader")
    assert (postgres.dbname, postgres.sslmode) == ("shop", "verify-ca")
    assert postgres.password is not None
    assert postgres.password.get_secret_value() == "s3cret"


def test_what_the_file_names_wins_even_where_it_is_the_default() -> None:
    postgres = found(host="other", port=5432, sslmode="prefer", dbname="d")
    assert (postgres.host, postgres.port, postgres.sslmode) == ("other", 5432, "prefer")
    assert (postgres.dbname, postgres.user) == ("d", "loader")
