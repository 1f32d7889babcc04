"""A stream whose file names an Aiven project and nothing else of its servers."""

import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
import yaml

from kafka_pg_pipeline.definitions import build_definitions
from kafka_pg_pipeline.resources import aiven as resource
from kafka_pg_pipeline.settings.file import load_settings
from kafka_pg_pipeline_tests.cli.conftest import CommandLine, command_line
from kafka_pg_pipeline_tests.fix_aiven import KAFKA, POSTGRES, PROJECT
from kafka_pg_pipeline_tests.fix_tls_servers import DATABASE, AivenAccount
from kafka_pg_pipeline_tests.orchestration.conftest import instance

__all__ = ["CommandLine", "command_line", "instance"]
EVENTS = 40


@dataclass(frozen=True)
class AivenStream:
    """The demo stream on an Aiven project."""

    account: AivenAccount
    file: Path
    table: str
    topic: str

    @property
    def environment(self) -> dict[str, str]:
        return {**self.account.api.environment, "KAFKA_PG_CONFIG": str(self.file)}

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.account.markers

    def change(self, section: str, **changes: Any) -> None:
        document = yaml.safe_load(self.file.read_text())
        document.setdefault(section, {}).update(changes)
        self.file.write_text(yaml.safe_dump(document))

    def exists(self) -> bool:
        """Whether the table is there yet."""
        return bool(self._ask(f"SELECT to_regclass('{self.table}') IS NOT NULL")[0])

    def count(self) -> int:
        rows, distinct = self._ask(f"SELECT count(*), count(DISTINCT id) FROM {self.table}")
        assert rows == distinct
        return int(rows)

    def _ask(self, query: str) -> Any:
        parameters = {**self.account.postgres.server.connection_parameters(), "dbname": DATABASE}
        with closing(psycopg2.connect(**parameters)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()

    def load_definitions(self, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        return build_definitions(load_settings(self.file, self.environment))


@pytest.fixture
def aiven_stream(aiven_account: AivenAccount, tmp_path: Path) -> AivenStream:
    resource._recent.clear()
    mark = uuid.uuid4().hex[:12]
    document = {
        "aiven": {"project": PROJECT, "kafka_service": KAFKA, "postgres_service": POSTGRES},
        "postgres": {"schema": f"kpg_{mark}"},
        "streams": {
            "demo": {
                "topic": f"demo.{mark}",
                "table": f"public.t_{mark}",
                "source": {"kind": "generator", "count": EVENTS},
            }
        },
    }
    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump(document))
    stream = AivenStream(aiven_account, file, f"public.t_{mark}", f"demo.{mark}")
    aiven_account.kafka.create_topic(stream.topic, 2)
    return stream
