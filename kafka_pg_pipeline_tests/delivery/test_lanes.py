"""Lanes: several processes load partitions of one stream at once, and a record lands once."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.assembly.lanes import LaneTask, load_lane, split_plan
from kafka_pg_pipeline.assembly.loading import Limits, Loaded, load_planned, plan_session
from kafka_pg_pipeline.domain.lanes import LaneRule, exactly
from kafka_pg_pipeline.domain.reports import LoadReport, Outcome
from kafka_pg_pipeline.errors import DeadLetterBudgetError
from kafka_pg_pipeline.settings.models import BatchSettings, DeadLetterSettings
from kafka_pg_pipeline_tests.faults.conftest import PLAIN
from kafka_pg_pipeline_tests.faults.loaders import (
    Loader,
    Loaders,
    count_about_to_commit,
    count_idle_in_transaction,
)
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.waiting import wait_until

PARTITIONS = 8


def by_partition(index: int) -> int:
    return index % PARTITIONS


def load_in_lanes(bench: Bench, rule: LaneRule, listener: Any = lambda _: None) -> Loaded:
    """As the command does, in processes."""
    with bench.session("lanes") as session:
        return load_planned(
            session,
            plan_session(session, Limits()),
            rule,
            bench.endpoints,
            stop=threading.Event(),
            show=lambda _, total: _Heard(total, listener),
        )


class _Heard:
    def __init__(self, total: int, listener: Any) -> None:
        listener(total)
        self._listener = listener

    def __enter__(self) -> Any:
        return self._listener

    def __exit__(self, *_: object) -> None:
        pass


def load_lanes_in_threads(bench: Bench, lanes: int) -> list[LoadReport | Exception]:
    """What the processes of lanes do, without their start; an error in place of a report."""
    with bench.session("lanes") as session:
        split = split_plan(session, plan_session(session, Limits()), exactly(lanes))
    assert len(split.plans) == lanes

    def load(plan: Any) -> LoadReport | Exception:
        task = LaneTask(bench.name, bench.stream, bench.endpoints, "lanes", plan, ("lanes",))
        try:
            return load_lane(task, stop=threading.Event(), listener=lambda _: None)
        except DeadLetterBudgetError as error:
            return error

    with ThreadPoolExecutor(lanes) as executor:
        return list(executor.map(load, split.plans))


@pytest.fixture
def letters(bench: Bench, bench_maker: BenchMaker) -> Bench:
    """The topic that copies of dead letters go to."""
    other = bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres)
    other.create_topic(1)
    return other


def test_three_lanes_make_one_load_of_eight_partitions(bench: Bench, letters: Bench) -> None:
    """Table, check-in, new columns and copies of dead letters are made once."""
    bench = bench.with_stream(
        batch=BatchSettings(max_rows=100),
        dead_letters=DeadLetterSettings(topic=letters.stream.topic),
    )
    bench.create_topic(PARTITIONS)
    bench.produce([{"id": number} for number in range(2400)], partition=by_partition)
    bench.produce([b"broken %d" % number for number in range(16)], partition=by_partition)
    heard: list[Any] = []
    loaded = load_in_lanes(bench, exactly(3), heard.append)
    report = loaded.report
    assert (report.counts.rows, report.counts.dead, report.outcome) == (
        2400,
        16,
        Outcome.END_OF_STREAM,
    )
    assert (report.lag_before, report.lag_after) == (2416, 0)
    assert heard[0] == 2416
    assert len(heard) == 1 + report.batches
    assert loaded.positions == bench.positions() == dict.fromkeys(range(PARTITIONS), 302)
    loaders = "SELECT count(DISTINCT loader), count(DISTINCT run_id) FROM {schema}.ledger"
    assert bench.query(loaders) == [(3, 1)]
    assert len(letters.read_all()) == 16
    bench.produce([{"id": n, "more": n} for n in range(800)], partition=by_partition)
    [first, *others] = load_lanes_in_threads(bench, 3)  # all add the column at once
    changed = [bool(lane.changes) for lane in (first, *others) if isinstance(lane, LoadReport)]
    assert sorted(changed) == [False, False, True]
    assert bench.query("SELECT count(*) FROM {table} WHERE more = id") == [(800,)]
    assert bench.query("SELECT action, count(*) FROM {schema}.audit GROUP BY 1 ORDER BY 1") == [
        ("add-columns", 1),
        ("create-table", 1),
    ]
    bench.assert_exactly_once()


def test_a_small_backlog_starts_no_process(bench: Bench) -> None:
    bench.create_topic(PARTITIONS)
    bench.produce([{"id": number} for number in range(100)], partition=by_partition)
    assert load_in_lanes(bench, LaneRule(4, start_up=100)).report.counts.rows == 100
    [(loader,)] = bench.query("SELECT DISTINCT loader FROM {schema}.ledger")
    assert loader.endswith(f":{os.getpid()}")
    assert load_in_lanes(bench, exactly(3)).report.partitions == ()  # nor does nothing at all


@pytest.fixture
def lane_loaders(bench: Bench, tmp_path: Path) -> Any:
    """3,000 records, and the command that loads them in two lanes of three batches."""
    bench.create_topic(PARTITIONS)
    bench.query(PLAIN)
    bench.produce([{"id": number} for number in range(3000)], partition=by_partition)
    loaders = Loaders(bench.with_stream(batch=BatchSettings(max_rows=500)), tmp_path)
    yield loaders
    loaders.close()


def start_lanes(loaders: Loaders, failpoint: str) -> tuple[Loader, list[psutil.Process]]:
    """Lanes that wait at a failpoint, each with a batch of its own."""
    loader = loaders.start(failpoint, "--lanes", "2")
    wait_until(lambda: len(lanes_of(loader)) == 2)
    return loader, lanes_of(loader)


def lanes_of(loader: Loader) -> list[psutil.Process]:
    children = psutil.Process(loader.process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_lanes_die_with_their_parent_and_one_that_dies_alone_is_made_good(
    bench: Bench, lane_loaders: Loaders
) -> None:
    gate = lane_loaders.gate()
    orphaned, lanes = start_lanes(lane_loaders, f"before_commit@2:{gate}")
    wait_until(lambda: bench.count() == 1000 and count_about_to_commit(bench) == 2)
    orphaned.kill()
    wait_until(lambda: not any(lane.is_running() for lane in lanes), 10)
    wait_until(lambda: count_idle_in_transaction(bench) == 0)
    assert bench.count() == 1000

    bench.produce([{"id": number} for number in range(3000, 6000)], partition=by_partition)
    gate = lane_loaders.gate()
    loader, lanes = start_lanes(lane_loaders, f"before_commit@2:{gate}")
    wait_until(lambda: count_about_to_commit(bench) == 2)
    lanes[0].kill()
    gate.open()
    said = loader.fail()
    assert "ended by signal 9" in said
    assert f"`kafka-pg load {bench.name}` goes on from there" in said
    left = 6000 - bench.count()
    assert 0 < left < 3000  # the other one came to its end
    assert [failed for (failed,) in bench.query("SELECT failures FROM {schema}.failure")] == [1]
    assert load_in_lanes(bench, exactly(1)).report.counts.rows == left
    assert bench.query("SELECT count(*) FROM {schema}.failure") == [(0,)]
    bench.assert_exactly_once()


def test_a_signal_stops_all_lanes_after_their_batches(bench: Bench, lane_loaders: Loaders) -> None:
    gate = lane_loaders.gate()
    loader, lanes = start_lanes(lane_loaders, f"before_commit@1:{gate}")
    wait_until(lambda: count_about_to_commit(bench) == 2)
    # As Ctrl-C does, to all processes of a terminal.
    for process in [*lanes, psutil.Process(loader.process.pid)]:
        process.send_signal(signal.SIGINT)
    time.sleep(0.5)  # until the lanes have heard of it
    gate.open()
    assert loader.wait() == 130
    assert "stopped at" in loader.said()
    assert "Traceback" not in loader.said()
    assert bench.count() == 1000
    assert bench.load().counts.rows == 2000
    bench.assert_exactly_once()


def test_lanes_are_fenced_by_another_loader(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench.create_topic(PARTITIONS)
    bench.query(PLAIN)
    bench.produce([{"id": number} for number in range(800)], partition=by_partition)
    monkeypatch.setenv("KPP_FAILPOINT", f"after_copy:wait:{tmp_path / 'gate'}")
    with ThreadPoolExecutor(1) as executor:
        loading = executor.submit(load_lanes_in_threads, bench, 3)
        wait_until(lambda: count_idle_in_transaction(bench) == 3)
        monkeypatch.delenv("KPP_FAILPOINT")
        assert bench.load().counts.rows == 800
        (tmp_path / "gate").touch()
        reports = loading.result()
    assert {(lane.outcome, lane.batches) for lane in reports if isinstance(lane, LoadReport)} == {
        (Outcome.FENCED, 0)
    }
    bench.assert_exactly_once()


def test_lanes_that_meet_in_the_same_keys_lose_and_double_none(bench: Bench) -> None:
    bench = bench.with_stream(mode="upsert", key=["id"], batch=BatchSettings(max_rows=150))
    bench.create_topic(PARTITIONS)
    bench.query(
        "CREATE TABLE {table} (id bigint PRIMARY KEY, n bigint, kafka_partition integer,"
        " kafka_offset bigint)"
    )
    chance = random.Random(7)
    records = [{"id": chance.randrange(200), "n": number} for number in range(4000)]
    bench.produce(records, partition=by_partition)
    reports = load_lanes_in_threads(bench, 3)
    counts = [report.counts for report in reports if isinstance(report, LoadReport)]
    assert sum(count.rows + count.superseded for count in counts) == 4000
    last: dict[int, dict[int, int]] = {}
    for record in records:
        last.setdefault(record["id"], {})[by_partition(record["n"])] = record["n"]
    rows = dict(bench.query("SELECT id, n FROM {table}"))
    assert rows.keys() == last.keys()
    # The last of one partition; which one is by chance, as ever where a key is in several.
    assert all(rows[key] in last[key].values() for key in rows)
    assert bench.findings() == []


def test_the_budget_of_a_run_is_one_for_all_lanes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each lane alone is within it. They are at their commits together, and one may."""
    bench = bench.with_stream(dead_letters=DeadLetterSettings(max_run_records=30))
    bench.create_topic(3)
    bench.query(PLAIN)
    bench.produce([{"id": number} for number in range(600)])
    bench.produce([b"broken %d" % number for number in range(60)])
    failpoints.forget()
    monkeypatch.setenv("KPP_FAILPOINT", "before_commit:sleep:0.5")
    reports = load_lanes_in_threads(bench, 3)
    assert [type(report) for report in reports].count(DeadLetterBudgetError) == 2
    assert bench.query("SELECT count(*) FROM {schema}.dead_letter") == [(20,)]
    told = [str(report) for report in reports if isinstance(report, DeadLetterBudgetError)]
    assert all("40 or more records of one run were rejected, 30 are" in text for text in told)
    assert bench.findings() == []
