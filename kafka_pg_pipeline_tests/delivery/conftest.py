"""Delivery is shown through PgBouncer in transaction mode, as databases that people rent have it.

Without a pooler in between it is shown by all other tests, and by these where none is installed.
"""

import os

import pytest

from kafka_pg_pipeline.settings.models import KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.fix_pooler import find_pgbouncer
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker


@pytest.fixture
def bench(kafka: KafkaSettings, bench_maker: BenchMaker, request: pytest.FixtureRequest) -> Bench:
    """A stream on the session's servers, its topic not yet created."""
    is_pooled = bool(os.environ.get("CI")) or find_pgbouncer() is not None
    name = "pooled_postgres" if is_pooled else "postgres"
    postgres: PostgresSettings = request.getfixturevalue(name)
    return bench_maker.make(kafka, postgres)
