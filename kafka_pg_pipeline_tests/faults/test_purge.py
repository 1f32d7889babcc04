"""A purge that is killed, wherever: the books are in order, and the next one goes on."""

import pytest

from kafka_pg_pipeline.domain.letters import LetterFilter
from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.faults.conftest import MakeLoaders
from kafka_pg_pipeline_tests.fix_streams import Bench


@pytest.fixture
def aged(bench: Bench) -> Bench:
    """Thirty old lines on three partitions, and three letters that were replayed long ago."""
    bench = bench.with_stream(batch=BatchSettings(max_rows=10))
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    bench.produce([{"id": 2**40 if n % 100 == 1 else n} for n in range(300)])
    bench.load()
    bench.query("ALTER TABLE {table} ALTER id TYPE bigint")
    with bench.session() as session:
        assert session.replay.replay(LetterFilter()).counts.replayed == 3
    for table, column in (("ledger", "committed_at"), ("dead_letter", "resolved_at")):
        bench.query(f"UPDATE {{schema}}.{table} SET {column} = {column} - interval '100 days'")
    return bench


@pytest.mark.parametrize(
    ("failpoint", "letters_left", "has_merged"),
    [
        ("purge_letters:kill", 3, False),
        ("purge_lines@1:kill", 0, False),
        ("purge_lines@2:kill", 0, True),
    ],
)
def test_a_killed_purge_leaves_the_books_in_order(
    aged: Bench, make_loaders: MakeLoaders, failpoint: str, letters_left: int, has_merged: bool
) -> None:
    lines = "SELECT count(*)::int FROM {schema}.ledger"
    before = aged.query(lines)[0][0]
    loaders = make_loaders(aged)
    loaders.purge(failpoint).wait_killed()
    assert aged.query("SELECT count(*)::int FROM {schema}.dead_letter") == [(letters_left,)]
    assert (before - aged.query(lines)[0][0] > 0) == has_merged
    assert aged.findings() == []
    loaders.purge().finish_command()
    assert aged.query(lines) == [(6,)]
    assert aged.query("SELECT sum(purged_replayed)::int FROM {schema}.ledger") == [(3,)]
    assert aged.findings() == []
    aged.produce([{"id": 1}])
    loaders.load()
    assert aged.findings() == []
