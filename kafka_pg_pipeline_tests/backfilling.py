"""Records with times of their own, backfills of a bench, and what they must have loaded."""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

from kafka_pg_pipeline.assembly.backfill import BackfillOptions, open_backfill
from kafka_pg_pipeline.domain.reports import LoadReport
from kafka_pg_pipeline.ports import ProgressListener
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.waiting import wait_until

# Within the week that a topic keeps; four whole days and a part of today.
MIDNIGHT = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
DAYS = [MIDNIGHT - timedelta(days=days) for days in (4, 3, 2, 1, 0)]
TARGET = "CREATE TABLE {table} (id bigint, ts bigint, kafka_partition integer, kafka_offset bigint"


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def timed(number: int, moment: datetime) -> FakeRecord:
    """A record of that time, which says so itself."""
    stamp = milliseconds(moment)
    return FakeRecord(json.dumps({"id": number, "ts": stamp}).encode(), timestamp=stamp)


def produce_days(bench: Bench, count: int, *, first: int = 0) -> None:
    """So many records over the four days, most in order; every tenth comes a day too late.

    The first and the last millisecond of each day are among them.
    """
    step = (DAYS[4] - DAYS[0]) / count
    records = []
    for index in range(count):
        late = timedelta(days=1) if index % 10 == 0 else timedelta()
        records.append(timed(first + index, DAYS[0] + index * step - late))
    edges = [edge for day in DAYS for edge in (day, day - timedelta(milliseconds=1))]
    records += [timed(first + count + index, edge) for index, edge in enumerate(edges)]
    bench.produce(records)


def backfill(
    bench: Bench,
    start: datetime,
    end: datetime,
    *,
    listener: ProgressListener = lambda _: None,
    **options: Any,
) -> LoadReport:
    """One window, loaded to its end; the listener is told of each batch."""

    @contextmanager
    def show(_name: str, _total: int) -> Iterator[ProgressListener]:
        yield listener

    with open_backfill(
        bench.name,
        bench.stream,
        bench.endpoints,
        BackfillOptions(**options),
        run_id=f"backfill-{uuid.uuid4()}",
    ) as opened:
        return opened.load(opened.name_window(start, end), stop=threading.Event(), show=show)


def ids_between(bench: Bench, start: datetime, end: datetime) -> list[int]:
    """Ids of the records of that time, by a client that is not ours."""
    first, last = milliseconds(start), milliseconds(end)
    documents = [json.loads(value or b"") for value in bench.read_all().values()]
    return sorted(d["id"] for d in documents if first <= d["ts"] < last)


def ids_in(bench: Bench, condition: str = "true") -> list[int]:
    """Ids of the table's rows; one that is there twice is listed twice."""
    rows = bench.query(f"SELECT id FROM {{table}} WHERE {condition} ORDER BY id")
    return [row[0] for row in rows]


def beside(bench: Bench, table: str) -> Bench:
    """The bench as it would be with another table, for questions about that one."""
    schema = bench.stream.table.partition(".")[0]
    return bench.with_stream(table=f"{schema}.{table}")


def windows(bench: Bench) -> list[tuple[str, bool]]:
    """Each window's name, and whether a run has come to its end."""
    return [
        (name, done)
        for name, done in bench.query(
            "SELECT name, completed_at IS NOT NULL FROM {schema}.backfill ORDER BY name"
        )
    ]


@contextmanager
def live_loads(bench: Bench) -> Iterator[None]:
    """Records of now arrive and are loaded, again and again, for as long as the body takes."""
    ending, loads = threading.Event(), []

    def go_on() -> None:
        while not ending.is_set():
            number = 1_000_000 + 10 * len(loads)
            now = datetime.now(timezone.utc)
            bench.produce([timed(number + index, now) for index in range(10)])
            loads.append(bench.load(run_id="live").counts.rows)

    worker = threading.Thread(target=go_on)
    worker.start()
    try:
        wait_until(lambda: loads)
        yield
        wait_until(lambda: len(loads) > 1)
    finally:
        ending.set()
        worker.join(60)
    assert set(loads) == {10}
