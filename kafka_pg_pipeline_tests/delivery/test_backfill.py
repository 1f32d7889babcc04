"""Windows of a stream's time, loaded apart from its live position: exactly once, and only them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from kafka_pg_pipeline_tests.backfilling import (
    DAYS,
    TARGET,
    backfill,
    ids_between,
    ids_in,
    live_loads,
    produce_days,
    timed,
)
from kafka_pg_pipeline_tests.delivery.test_check_in import grow
from kafka_pg_pipeline_tests.fix_streams import Bench

UPSERT: Mapping[str, Any] = {
    "mode": "upsert",
    "key": ["id"],
    "newest_wins": True,
    "metadata": {
        "partition": "kafka_partition",
        "offset": "kafka_offset",
        "incarnation": "kafka_incarnation",
    },
}
BEFORE_NOW = f"ts < {round(DAYS[4].timestamp() * 1000)}"


def offset_key(bench: Bench) -> Bench:
    bench.query(f"{TARGET}, UNIQUE (kafka_partition, kafka_offset))")
    return bench


def upsert(bench: Bench) -> Bench:
    bench.query(f"{TARGET}, kafka_incarnation integer, PRIMARY KEY (id))")
    return bench


@pytest.mark.parametrize("mode", ["append with offset key", "upsert"])
def test_case_11(kafka: Any, postgres: Any, bench_maker: Any, mode: str) -> None:
    """Partitions grow under `latest`; then a time is backfilled while live loads go on, twice."""
    changes = UPSERT if mode == "upsert" else {}
    bench = bench_maker.make(kafka, postgres, start="latest", **changes)
    bench = upsert(bench) if mode == "upsert" else offset_key(bench)
    bench.create_topic()
    produce_days(bench, 1000)
    assert bench.load().counts.rows == 0
    grow(bench, 6)
    bench.produce(
        [timed(10_000 + index, DAYS[4]) for index in range(500)],
        partition=lambda index: 3 + index % 3,
    )
    first = bench.load()
    assert first.counts.rows == 500
    assert [total.offsets.start_offset for total in first.partitions] == [0, 0, 0]
    ledger = "SELECT DISTINCT partition FROM {schema}.epoch WHERE stream = %s ORDER BY 1"
    assert bench.query(ledger, bench.name) == [(number,) for number in range(6)]

    start, end = DAYS[1] + timedelta(hours=5), DAYS[3] + timedelta(milliseconds=1)
    expected = ids_between(bench, start, end)
    assert len(expected) > 400
    with live_loads(bench):
        assert backfill(bench, start, end).counts.rows == len(expected)
    assert ids_in(bench, BEFORE_NOW) == expected
    rows = "SELECT ctid, xmin, target.* FROM {table} AS target WHERE " + BEFORE_NOW
    before, positions = sorted(bench.query(rows)), bench.positions()
    again = backfill(bench, start, end)
    # What came since is looked at where the window reaches to the end, and is none of it.
    assert (again.counts.rows, again.counts.total) == (0, again.counts.filtered)
    assert sorted(bench.query(rows)) == before

    behind = DAYS[4] + timedelta(days=1)
    past_end = backfill(bench, behind, behind + timedelta(days=1))
    assert (past_end.counts.total, past_end.batches) == (0, 0)
    assert bench.positions() == positions
    assert bench.load().counts.rows == 0
    assert bench.findings() == []
