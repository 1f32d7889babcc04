"""Loaders that die, freeze or meet each other (fault matrix rows 1 to 5 and 9 to 11)."""

from itertools import product

import pytest

from kafka_pg_pipeline_tests.faults.conftest import PLAIN, MakeLoaders
from kafka_pg_pipeline_tests.faults.loaders import count_idle_in_transaction
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.waiting import wait_until

pytestmark = pytest.mark.faults

BEFORE_COMMIT = [
    "after_read",  # row 1
    "before_copy",
    "in_copy@2",  # row 3
    "after_copy",
    "before_lock",
    "after_landing",  # row 2
    "before_commit",  # row 4
]
FENCED = "another loader moved first"


@pytest.mark.parametrize(
    ("loaded_bench", "failpoint"),
    [
        *product(["plain", "staged", "merged"], BEFORE_COMMIT),
        *product(["pooled"], ["in_copy@2", "after_landing", "before_commit"]),
    ],
    indirect=["loaded_bench"],
)
def test_a_loader_killed_before_commit_leaves_nothing(
    loaded_bench: Bench, make_loaders: MakeLoaders, failpoint: str
) -> None:
    """Rows 1 to 4."""
    loaders = make_loaders(loaded_bench)
    before = account_of(loaded_bench)
    loaders.start(f"{failpoint}:kill").wait_killed()
    assert account_of(loaded_bench) == before
    wait_until(lambda: count_stages(loaded_bench) == 0)
    assert loaders.load()["rows"] == 1000
    loaded_bench.assert_exactly_once()


def test_a_loader_killed_after_commit_loads_nothing_again(
    loaded_bench: Bench, make_loaders: MakeLoaders
) -> None:
    """Row 5."""
    loaders = make_loaders(loaded_bench)
    loaders.start("after_commit:kill").wait_killed()
    assert loaded_bench.count() == 2000
    report = loaders.load()
    assert (report["rows"], report["outcome"]) == (0, "end_of_stream")
    loaded_bench.assert_exactly_once()


def test_kills_around_the_first_commit_of_thirty_thousand_records(
    bench: Bench, make_loaders: MakeLoaders
) -> None:
    """Case 1."""
    bench.create_topic()
    bench.query(PLAIN)
    bench.produce([{"id": number} for number in range(30_000)])
    loaders = make_loaders(bench)
    loaders.start("after_copy:kill").wait_killed()
    assert (bench.count(), set(bench.positions().values())) == (0, {0})
    loaders.start("after_commit:kill").wait_killed()
    report = loaders.load()
    assert (report["rows"], report["outcome"], report["lag_after"]) == (0, "end_of_stream", 0)
    assert bench.query(
        "SELECT count(*), count(DISTINCT (kafka_partition, kafka_offset)) FROM {table}"
    ) == [(30_000, 30_000)]
    bench.assert_exactly_once()


@pytest.mark.parametrize("rivals", [2, 5])
def test_of_loaders_at_once_one_commits_and_all_succeed(
    loaded_bench: Bench, make_loaders: MakeLoaders, rivals: int
) -> None:
    """Row 9, and case 2: all have copied the same rows when the first of them may go on."""
    loaders = make_loaders(loaded_bench)
    gate = loaders.gate()
    started = [loaders.start(f"after_copy@1:{gate}") for _ in range(rivals)]
    wait_until(lambda: count_idle_in_transaction(loaded_bench) == rivals)
    gate.open()
    reports = [loader.finish() for loader in started]
    assert sorted((report["outcome"], report["rows"]) for report in reports) == [
        ("end_of_stream", 1000),
        *[("fenced", 0)] * (rivals - 1),
    ]
    assert sum(FENCED in loader.said() for loader in started) == rivals - 1
    assert loaded_bench.query(
        "SELECT count(*), count(DISTINCT batch_id) FROM {schema}.ledger WHERE run_id <> 'test'"
    ) == [(3, 1)]
    loaded_bench.assert_exactly_once()


@pytest.mark.parametrize("failpoint", ["in_copy@2", "after_copy"])
def test_a_loader_frozen_in_its_copy_delays_nobody(
    loaded_bench: Bench, make_loaders: MakeLoaders, failpoint: str
) -> None:
    """Row 10 (a). A rival that had to wait would wait until the frozen one is evicted, 10 s."""
    loaders = make_loaders(loaded_bench.with_postgres(lock_timeout_seconds=60))
    frozen = loaders.start(f"{failpoint}:stop")
    frozen.wait_frozen()
    report = loaders.load()
    assert report["rows"] == 1000
    assert report["seconds"] < 8
    frozen.thaw()
    assert frozen.finish()["rows"] == 0
    assert FENCED in frozen.said()
    loaded_bench.assert_exactly_once()


@pytest.mark.parametrize(
    ("loaded_bench", "failpoint"),
    [("plain", "after_landing"), ("staged", "before_commit"), ("pooled", "after_landing")],
    indirect=["loaded_bench"],
)
def test_a_loader_frozen_with_the_positions_locked_is_evicted(
    loaded_bench: Bench, make_loaders: MakeLoaders, failpoint: str
) -> None:
    """Row 10 (b): within the idle timeout (10 s) and one lock timeout (5 s) of the second run."""
    loaders = make_loaders(loaded_bench)
    frozen = loaders.start(f"{failpoint}:stop")
    frozen.wait_frozen()
    report = loaders.load()
    assert report["rows"] == 1000
    assert report["seconds"] < 25
    frozen.thaw()
    assert frozen.finish()["rows"] == 0
    loaded_bench.assert_exactly_once()


def test_a_zombie_is_fenced_after_a_reset_to_its_own_start(
    loaded_bench: Bench, make_loaders: MakeLoaders
) -> None:
    """Row 11: others committed, an operator reset; the offset is the same (ABA), the epoch not."""
    loaders = make_loaders(loaded_bench)
    before = loaded_bench.positions()
    zombie = loaders.start("after_read@1:stop")
    zombie.wait_frozen()
    assert loaders.load()["rows"] == 1000
    reset(loaded_bench, before)
    assert loaded_bench.positions() == before
    zombie.thaw()
    assert zombie.finish()["rows"] == 1000  # read again, under the new epoch
    assert FENCED in zombie.said()
    assert rows_by_epoch(loaded_bench) == {1: 2000, 2: 1000}
    loaded_bench.assert_exactly_once()


def test_a_zombie_is_fenced_by_an_operator_alone(
    loaded_bench: Bench, make_loaders: MakeLoaders
) -> None:
    """Row 11 without another loader, so that no ledger line stands in the zombie's way."""
    loaders = make_loaders(loaded_bench)
    before = loaded_bench.positions()
    zombie = loaders.start("after_read@1:stop")
    zombie.wait_frozen()
    reset(loaded_bench, {partition: offset + 100 for partition, offset in before.items()})
    reset(loaded_bench, before)
    zombie.thaw()
    assert zombie.finish()["rows"] == 1000
    assert FENCED in zombie.said()
    assert rows_by_epoch(loaded_bench) == {1: 1000, 3: 1000}
    loaded_bench.assert_exactly_once()


def test_what_an_operator_skipped_is_not_loaded_by_a_zombie(
    loaded_bench: Bench, make_loaders: MakeLoaders
) -> None:
    loaders = make_loaders(loaded_bench)
    zombie = loaders.start("after_read@1:stop")
    zombie.wait_frozen()
    reset(loaded_bench, {p: offset + 100 for p, offset in loaded_bench.positions().items()})
    zombie.thaw()
    assert zombie.finish()["rows"] == 700
    assert loaded_bench.count() == 1700
    assert loaded_bench.findings() == []


def account_of(bench: Bench) -> tuple[int, dict[int, int], list[tuple[int, ...]]]:
    return bench.count(), bench.positions(), bench.query("SELECT count(*) FROM {schema}.ledger")


def reset(bench: Bench, next_offsets: dict[int, int]) -> None:
    with bench.session() as session:
        session.moves.reset(next_offsets, session.catalog.fetch_target(), allow_duplicates=False)


def rows_by_epoch(bench: Bench) -> dict[int, int]:
    return dict(bench.query("SELECT epoch, sum(rows)::int FROM {schema}.ledger GROUP BY epoch"))


def count_stages(bench: Bench) -> int:
    stages = "SELECT count(*) FROM pg_class WHERE relname ~ '^kafka_pg_(stage|writes|last_writes)$'"
    return int(bench.query(stages)[0][0])


def test_a_rival_that_commits_while_rejected_rows_are_searched_is_no_alarm(
    bench: Bench, make_loaders: MakeLoaders
) -> None:
    """Its rows are in the way of ours, each of them: none of that is the data's fault."""
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer PRIMARY KEY CHECK (id <> 7),"
        " kafka_partition integer, kafka_offset bigint)"
    )
    bench.produce([{"id": number} for number in range(200)])
    loaders = make_loaders(bench)
    slow, gate = loaders.hold("before_search@1")
    assert loaders.load()["dead_letters"] == 1
    gate.open()
    report = slow.finish()
    assert (report["rows"], report["dead_letters"]) == (0, 0)
    assert FENCED in slow.said()
    bench.assert_exactly_once()


def test_a_loader_frozen_while_it_sends_dead_letters_delays_nobody(
    bench: Bench, make_loaders: MakeLoaders
) -> None:
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    bench.produce([b"broken %d" % number for number in range(30)])
    loaders = make_loaders(bench.with_postgres(lock_timeout_seconds=60))
    zombie = loaders.start("in_copy@2:stop")
    zombie.wait_frozen()
    report = loaders.load()
    assert report["dead_letters"] == 30
    assert report["seconds"] < 8  # to wait is to wait until the zombie is evicted, 10 s
    zombie.thaw()
    assert zombie.finish()["dead_letters"] == 0
    assert FENCED in zombie.said()
    bench.assert_exactly_once()
