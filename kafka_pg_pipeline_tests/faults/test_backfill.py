"""Three days backfilled while live loads go on, killed half way and resumed."""

from itertools import chain, pairwise
from typing import Any

import pytest

from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.backfilling import (
    DAYS,
    TARGET,
    beside,
    ids_between,
    ids_in,
    live_loads,
    produce_days,
    windows,
)
from kafka_pg_pipeline_tests.faults.conftest import KEYED, MakeLoaders
from kafka_pg_pipeline_tests.fix_streams import Bench

THREE_DAYS = ("--from", f"{DAYS[0]:%Y-%m-%d}", "--to", f"{DAYS[3]:%Y-%m-%d}", "--every", "day")


def rows_of(report: dict[str, Any]) -> list[int]:
    return [window["rows"] for window in report["windows"]]


def count_rows(bench: Bench, names: str) -> int:
    counted = "SELECT coalesce(sum(rows), 0)::int FROM {schema}.ledger WHERE stream LIKE %s"
    return int(bench.query(counted, names)[0][0])


@pytest.mark.parametrize("failpoint", ["before_commit", "after_commit"])
def test_three_days_killed_half_way_and_resumed(
    kafka: Any, postgres: Any, bench_maker: Any, make_loaders: MakeLoaders, failpoint: str
) -> None:
    """Into the stream's own table, which has no key that would hide a doubled row."""
    bench = bench_maker.make(kafka, postgres, start="latest", batch=BatchSettings(max_rows=100))
    bench.create_topic()
    bench.query(f"{TARGET})")
    produce_days(bench, 1200)
    assert bench.load().counts.rows == 0
    days = [ids_between(bench, *day) for day in pairwise(DAYS[:4])]
    loaders = make_loaders(bench)
    with live_loads(bench):
        loaders.backfill(f"{failpoint}@16:kill", *THREE_DAYS).wait_killed()
        landed = count_rows(bench, "%@%")
        assert len(days[0]) < landed < sum(map(len, days))
        assert [done for _, done in windows(bench)] == [True, False]
        assert bench.findings() == []
        resumed = loaders.backfill(None, *THREE_DAYS).finish_command()
    assert rows_of(resumed)[0] == 0
    assert landed + sum(rows_of(resumed)) == sum(map(len, days))
    assert rows_of(loaders.backfill(None, *THREE_DAYS).finish_command()) == [0, 0, 0]
    assert ids_in(bench, "id < 1000000") == sorted(chain(*days))
    assert [done for _, done in windows(bench)] == [True, True, True]
    assert bench.load().counts.rows == 0
    assert bench.findings() == []


def test_two_backfills_of_one_window_at_once_load_it_once(
    bench: Bench, make_loaders: MakeLoaders
) -> None:
    bench = bench.with_stream(mode="upsert", key=["id"], batch=BatchSettings(max_rows=100))
    bench.create_topic()
    side = beside(bench, "past")
    side.query(KEYED)
    produce_days(bench, 1000)
    loaders, options = make_loaders(bench), (*THREE_DAYS[:4], "--into", side.stream.table)
    gate = loaders.gate()
    slow = loaders.backfill(f"before_commit@3:{gate}", *options)
    gate.wait_reached()
    quick = loaders.backfill(None, *options)
    gate.open()
    ended = [loader.wait() for loader in (slow, quick)]
    assert 0 in ended
    again = loaders.backfill(None, *options).finish_command()
    assert rows_of(again) == [0]
    assert ids_in(side) == ids_between(bench, DAYS[0], DAYS[3])
    assert bench.findings() == []
