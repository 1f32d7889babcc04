"""Benches with records to load, on servers that may break or not, and loaders that may."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kafka_pg_pipeline.local.postgres_server import PostgresServer
from kafka_pg_pipeline.settings.models import KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.faults.loaders import Loaders
from kafka_pg_pipeline_tests.fix_servers import TRANSACTION_SETTINGS, postgres_settings
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker

PLAIN = "CREATE TABLE {table} (id bigint, kafka_partition integer, kafka_offset bigint)"
# A unique index sends rows the other way: through a stage, and after the compare-and-swap.
STAGED = (
    "CREATE TABLE {table} (id bigint, kafka_partition integer, kafka_offset bigint,"
    " UNIQUE (kafka_partition, kafka_offset))"
)

# A key sends them into a stage as well, from where they are merged.
KEYED = "CREATE TABLE {table} (id bigint PRIMARY KEY, kafka_partition integer, kafka_offset bigint)"
UPSERT: Mapping[str, Any] = {"mode": "upsert", "key": ["id"]}

MakeLoaders = Callable[[Bench], Loaders]


def fill(bench: Bench, table: str = PLAIN) -> Bench:
    """1,000 records loaded, 1,000 more in the topic."""
    bench.create_topic()
    bench.query(table)
    bench.produce([{"id": number} for number in range(1000)])
    assert bench.load().counts.rows == 1000
    bench.produce([{"id": number} for number in range(1000, 2000)])
    return bench


@pytest.fixture(params=["plain", "staged", "merged", "pooled"])
def loaded_bench(
    request: pytest.FixtureRequest,
    kafka: KafkaSettings,
    postgres: PostgresSettings,
    bench_maker: BenchMaker,
) -> Bench:
    """A filled bench for each of the write paths, and merged once more through PgBouncer."""
    if request.param == "pooled":
        postgres = request.getfixturevalue("pooled_postgres")
    if request.param in ("merged", "pooled"):
        return fill(bench_maker.make(kafka, postgres, **UPSERT), KEYED)
    return fill(bench_maker.make(kafka, postgres), PLAIN if request.param == "plain" else STAGED)


@pytest.fixture(scope="session")
def frail_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One PostgreSQL that tests may restart and end backends of; each leaves it running, healed."""
    directory = tmp_path_factory.mktemp("frail_postgres")
    server = PostgresServer(directory, settings=TRANSACTION_SETTINGS, die_with_parent=True)
    with server.start():
        yield server


@pytest.fixture
def frail_bench(
    kafka: KafkaSettings, frail_postgres: PostgresServer, bench_maker: BenchMaker
) -> Bench:
    """A filled bench on the PostgreSQL that may break; its loaders are impatient with COMMIT."""
    settings = postgres_settings(frail_postgres, commit_timeout_seconds=2.0)
    return fill(bench_maker.make(kafka, settings))


@pytest.fixture
def make_loaders(tmp_path: Path) -> Iterator[MakeLoaders]:
    made: list[Loaders] = []

    def make(bench: Bench) -> Loaders:
        made.append(Loaders(bench, tmp_path))
        return made[-1]

    yield make
    for loaders in made:
        loaders.close()
