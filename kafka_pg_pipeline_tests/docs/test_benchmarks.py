"""The benchmarks run, and do not believe a contender that lost or doubled a record."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from kafka_pg_pipeline_tests.docs.blocks import ROOT

RECORDS = 1_000


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[None]:
    """Their folder is where ``python benchmarks/compare.py`` finds its modules."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(ROOT / "benchmarks"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def stage(benchmarks: None) -> Iterator[Any]:
    from stage import open_stage

    with open_stage() as opened:
        yield opened


def test_a_comparison_counts_every_row_and_judges_its_targets(stage: Any) -> None:
    import compare
    from contenders.contender import Clock, Contender, Took
    from results import to_json
    from stage import Task, WrongResultError
    from targets import judge

    def pretend(statement: str) -> Contender:
        def run(stage: Any, order: Any) -> Took:
            started = time.time()
            stage.execute(statement.format(table=order.table, last=order.records - 1))
            return Took(started, None, None)

        return Contender("a pretender", run, Clock.COMMITS)

    rows = "INSERT INTO {table} (id) SELECT n FROM generate_series(0, {last}) AS n"
    names = ("ours", "read")
    tasks = [Task(name, RECORDS, 4) for name in names]
    tasks += [Task("ours-fast", RECORDS, 4, "avro", "upsert", delay_ms=2.0)]
    found = compare.compare(stage, tasks, 1, Console(quiet=True))
    round_trip_ms = stage.round_trips_ms["2 ms"]
    for wrong in (
        f"{rows} WHERE n > 0",
        f"{rows}; {rows} WHERE n = 0",
        rows.replace("n FROM", "n / 2 FROM"),
    ):
        with pytest.raises(WrongResultError, match="of 1,000 records"):
            compare.take_turn(stage, tasks[0], pretend(wrong))
    whole = compare.take_turn(stage, tasks[0], pretend(rows))
    assert stage.query("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'bench%'") == [(0,)]
    assert [row.outcomes[0].rows for row in found] == [RECORDS] * len(tasks)
    assert whole.rows == RECORDS
    assert round_trip_ms >= 2.0
    (verdict,) = judge("append", found)
    assert verdict.words == "ours / read, rows a second"
    speeds = [row.outcomes[0].rows_per_second for row in found]
    assert verdict.ratio == pytest.approx(speeds[0] / speeds[1], abs=0.001)
    kept = to_json("append", found, {}, [verdict])
    assert [row["contender"] for row in kept["rows"]] == [*names, "ours-fast"]


def test_starting_is_timed_of_commands_that_find_nothing_to_do(stage: Any) -> None:
    import startup

    found = startup.measure(stage, "kafka-python", 1)
    [(nothing, _)] = found["python -c pass"]
    for command in ("kafka-pg load", "dagster job execute"):
        [(wall, cpu)] = found[command]
        assert wall > nothing
        assert cpu > nothing


def test_a_flame_graph_shows_the_thread_that_reads(stage: Any, tmp_path: Path) -> None:
    import flame
    from stage import Task

    image = tmp_path / "flame.svg"
    flame.record(stage, Task("ours-fast", 50_000, 4), "confluent", image)
    assert "BatchReading.batches" in image.read_text()


def test_a_case_that_none_of_the_contenders_can_do_is_bad_usage(benchmarks: None) -> None:
    import compare

    said = CliRunner().invoke(compare.main, ["avro", "--only", "pathway"])
    assert (said.exit_code, "none of pathway can do avro" in said.output) == (2, True)
