"""Windows of a stream's time, loaded apart from its live position: exactly once, and only them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from kafka_pg_pipeline.assembly import moves
from kafka_pg_pipeline.assembly.overview import fetch_windows
from kafka_pg_pipeline.domain.batches import WriteResult
from kafka_pg_pipeline.errors import (
    ConfigurationError,
    IncarnationChangedError,
    TargetError,
)
from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.backfilling import (
    DAYS,
    TARGET,
    backfill,
    beside,
    ids_between,
    ids_in,
    live_loads,
    produce_days,
    timed,
    windows,
)
from kafka_pg_pipeline_tests.delivery.test_check_in import grow
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.operators import OPERATOR, acting_beside
from kafka_pg_pipeline_tests.topics import delete_before, recreate

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

    behind = DAYS[4] + timedelta(days=2)  # midnight may have passed since the tests began
    past_end = backfill(bench, behind, behind + timedelta(days=1))
    assert (past_end.counts.total, past_end.batches) == (0, 0)
    assert bench.positions() == positions
    assert bench.load().counts.rows == 0
    assert bench.findings() == []


WEEK = (DAYS[0] - timedelta(days=2), DAYS[4] + timedelta(days=2))


def reset(bench: Bench, offset: int, **options: bool) -> None:
    with bench.session(OPERATOR) as session:
        moves.reset(session, str(offset), rehearsal=False, **{"allow_duplicates": False, **options})


def test_without_a_key_no_record_of_the_live_position_comes_twice(bench: Bench) -> None:
    """Not those that it loaded, nor those that it will load; what it passed by is the window's."""
    bench = bench.with_stream(start="latest")
    bench.create_topic()
    produce_days(bench, 300)  # the window's
    bench.query(f"{TARGET})")
    bench.load()
    produce_days(bench, 300, first=1000)  # the live position's
    bench.load()
    produce_days(bench, 300, first=2000)  # passed by
    with bench.session() as session:
        moves.reset(session, "latest", allow_duplicates=False, rehearsal=False)
    produce_days(bench, 300, first=3000)  # the live position's, by and by
    report = backfill(bench, *WEEK)
    assert report.counts.rows == 2 * 310
    assert bench.load().counts.rows == 310
    bench.assert_exactly_once()
    assert backfill(bench, *WEEK).counts.total == 0


@pytest.mark.parametrize("back_to", [0, 60])
def test_a_move_back_takes_what_it_will_load_from_the_windows(bench: Bench, back_to: int) -> None:
    """Also from a window that is half way: it goes on behind the move, with what is left to it."""
    bench = bench.with_stream(start="latest", batch=BatchSettings(max_rows=50))
    bench.create_topic()
    produce_days(bench, 590)  # 200 a partition
    bench.query(f"{TARGET})")
    bench.load()
    middle = DAYS[2]
    assert backfill(bench, WEEK[0], middle).lag_after == 0

    with acting_beside(bench, lambda: reset(bench, back_to)) as listener:
        report = backfill(bench, middle, WEEK[1], listener=listener)
    assert report.lag_after == 0
    assert bench.positions() == dict.fromkeys(range(3), back_to)
    assert bench.load().counts.rows == 600 - 3 * back_to
    bench.assert_exactly_once()
    reset(bench, back_to)
    reset(bench, 200)  # what was given back is passed by: the windows' once more
    for span in ((WEEK[0], middle), (middle, WEEK[1])):
        backfill(bench, *span)
    bench.assert_exactly_once()


def test_a_table_beside_gets_the_whole_window_whatever_is_loaded(bench: Bench) -> None:
    bench.create_topic()
    produce_days(bench, 300)
    side = beside(bench, "past")
    assert backfill(bench, DAYS[0], DAYS[1], into=side.stream.table).counts.rows > 50
    assert ids_in(side) == ids_between(bench, DAYS[0], DAYS[1])
    assert (bench.positions(), windows(bench)) == (
        {},
        [
            (
                f"{bench.name}@{DAYS[0]:%Y-%m-%dT%H:%MZ}/{DAYS[1]:%Y-%m-%dT%H:%MZ}:{side.stream.table}",
                True,
            )
        ],
    )
    assert bench.load().counts.rows == 310
    backfill(bench, DAYS[1], DAYS[2], into=side.stream.table)
    assert ids_in(side) == ids_between(bench, DAYS[0], DAYS[2])
    assert bench.findings() == []
    side.query("DELETE FROM {table} WHERE id = (SELECT max(id) FROM {table})")
    assert any("window_rows" in finding for finding in bench.findings())
    assert ids_in(bench) == ids_between(bench, *WEEK)


def test_records_that_come_too_late_are_found_as_far_as_one_looks(bench: Bench) -> None:
    """A record's place in the log says little of its time, once producers have clocks."""
    bench.create_topic(partitions=1)
    order = [(0, DAYS[0]), (1, DAYS[1]), (2, DAYS[2]), (3, DAYS[0]), (4, DAYS[3]), (5, DAYS[0])]
    bench.produce([timed(*one) for one in order], partition=lambda _: 0)
    near, far = beside(bench, "near"), beside(bench, "far")
    backfill(bench, DAYS[0], DAYS[1], into=far.stream.table)
    assert ids_in(far) == [0, 3, 5]
    bounded = backfill(bench, DAYS[0], DAYS[1], into=near.stream.table, lateness_seconds=2 * 86_400)
    assert ids_in(near) == [0, 3]
    assert bounded.counts.total == 4
    bench.produce([timed(6, DAYS[0])], partition=lambda _: 0)
    assert backfill(bench, DAYS[0], DAYS[1], into=far.stream.table).counts.rows == 1
    assert ids_in(far) == [0, 3, 5, 6]
    assert bench.findings() == []


def test_windows_into_one_table_do_not_overlap(bench: Bench) -> None:
    bench.create_topic()
    produce_days(bench, 30)
    side, other = beside(bench, "past"), beside(bench, "other")
    backfill(bench, DAYS[1], DAYS[2], into=side.stream.table)
    with pytest.raises(ConfigurationError, match=r"overlaps .*--list"):
        backfill(bench, DAYS[0], DAYS[2], into=side.stream.table)
    backfill(bench, DAYS[0], DAYS[2], into=other.stream.table)
    backfill(bench, DAYS[2], DAYS[3], into=side.stream.table)
    assert ids_in(side) == ids_between(bench, DAYS[1], DAYS[3])


def test_older_records_do_not_overwrite_newer_ones_unless_asked(bench: Bench) -> None:
    """Without `newest_wins` always, with it where deletes could be undone."""
    bench = bench.with_stream(mode="upsert", key=["id"])
    bench.create_topic(partitions=1)
    bench.query(f"{TARGET}, PRIMARY KEY (id))")
    old, new = timed(1, DAYS[0]), timed(1, DAYS[3])
    bench.produce([old, timed(2, DAYS[0]), new], partition=lambda _: 0)
    bench.load()
    with pytest.raises(ConfigurationError, match="--overwrite"):
        backfill(bench, DAYS[0], DAYS[1])
    assert windows(bench) == []
    backfill(bench, DAYS[0], DAYS[1], overwrite=True)
    stamp = round(DAYS[0].timestamp() * 1000)
    assert bench.query("SELECT id, ts FROM {table} ORDER BY id") == [(1, stamp), (2, stamp)]


def test_newest_wins_keeps_newer_rows_and_asks_where_rows_were_deleted(
    kafka: Any, postgres: Any, bench_maker: Any
) -> None:
    bench = upsert(bench_maker.make(kafka, postgres, **{**UPSERT, "key_source": "record_key"}))
    bench.create_topic(partitions=1)
    old, new = timed(1, DAYS[0]), timed(1, DAYS[3])
    keyed = [record._replace(key=b"1") for record in (old, new)]
    bench.produce(keyed, partition=lambda _: 0)
    bench.load()
    report = backfill(bench, DAYS[0], DAYS[1])
    assert (report.counts.rows, report.counts.ignored) == (0, 1)
    bench.produce([FakeRecord(None, key=b"1")], partition=lambda _: 0)
    assert bench.load().counts.deleted == 1
    with pytest.raises(ConfigurationError, match="bring back"):
        backfill(bench, DAYS[1], DAYS[2])


def test_a_stream_that_was_never_loaded_is_loaded_first(bench: Bench) -> None:
    bench.create_topic()
    with pytest.raises(ConfigurationError, match=f"kafka-pg load {bench.name}"):
        backfill(bench, DAYS[0], DAYS[1])


def test_a_topic_that_was_created_again_has_windows_of_its_own(bench: Bench) -> None:
    bench.create_topic()
    produce_days(bench, 30)
    side = beside(bench, "past")
    backfill(bench, *WEEK, into=side.stream.table)
    recreate(bench)
    produce_days(bench, 30, first=1000)
    with pytest.raises(IncarnationChangedError, match=f"accept-topic {bench.name}`"):
        backfill(bench, *WEEK, into=side.stream.table)
    with bench.session("operator") as session:
        moves.accept_topic(session, same_topic=False, rehearsal=False)
    backfill(bench, *WEEK, into=side.stream.table)
    assert [name.partition("#")[2] for name, _ in windows(bench)] == ["", "2"]
    found = "SELECT DISTINCT incarnation FROM {schema}.state WHERE stream LIKE '%#2'"
    assert bench.query(found) == [(2,)]
    assert ids_in(side, "id >= 1000") == ids_between(bench, *WEEK)
    assert len(ids_in(side)) == 80


def test_what_retention_removes_meanwhile_is_noted(bench: Bench) -> None:
    bench = bench.with_stream(batch=BatchSettings(max_rows=10))
    bench.create_topic(partitions=1)
    bench.produce([timed(index, DAYS[0]) for index in range(100)], partition=lambda _: 0)
    side = beside(bench, "past")

    def remove(_: WriteResult) -> None:
        delete_before(bench, 0, 60)
        raise TargetError("the run ends here")

    with pytest.raises(TargetError, match="ends here"):
        backfill(bench, *WEEK, into=side.stream.table, listener=remove)
    landed = len(ids_in(side))
    assert backfill(bench, *WEEK, into=side.stream.table).counts.absent == 60 - landed
    assert ids_in(side) == [*range(landed), *range(60, 100)]
    with bench.session() as session:
        [status] = fetch_windows(session)
    assert status.lost_offsets == 60 - landed
    assert bench.findings() == []


def test_a_window_may_make_a_row_of_what_the_live_position_rejected(bench: Bench) -> None:
    bench = bench.with_stream(mode="insert-ignore", key=["id"])
    bench.create_topic(partitions=1)
    bench.query(f"{TARGET.replace('id bigint', 'id integer')}, PRIMARY KEY (id))")
    bench.produce([timed(2**40, DAYS[0]), timed(1, DAYS[0])], partition=lambda _: 0)
    assert bench.load().counts.dead == 1
    bench.query("ALTER TABLE {table} ALTER id TYPE bigint")
    report = backfill(bench, DAYS[0], DAYS[1])
    assert (report.counts.rows, report.counts.ignored) == (1, 1)
    assert ids_in(bench) == [1, 2**40]
    assert bench.findings() == []


def test_a_window_ends_where_its_topic_is_accepted_anew(bench: Bench) -> None:
    """The log was rewritten, say: what the window has not read yet is another topic's."""
    bench = bench.with_stream(batch=BatchSettings(max_rows=20))
    bench.create_topic()
    produce_days(bench, 190)
    bench.load()
    side = beside(bench, "past")

    def accept() -> None:
        with bench.session(OPERATOR) as session:
            moves.accept_topic(session, same_topic=True, rehearsal=False)

    with (
        acting_beside(bench, accept) as listener,
        pytest.raises(IncarnationChangedError, match="accepted anew"),
    ):
        backfill(bench, *WEEK, into=side.stream.table, listener=listener)
    assert 0 < len(ids_in(side)) <= 100
    assert backfill(bench, *WEEK, into=side.stream.table).counts.rows == 200
    assert [done for _, done in windows(bench)] == [False, True]


def test_a_run_ends_whose_window_is_forgotten(bench: Bench) -> None:
    bench = bench.with_stream(mode="insert-ignore", key=["id"], batch=BatchSettings(max_rows=20))
    bench.create_topic()
    produce_days(bench, 190)
    side = beside(bench, "past")

    def forget() -> None:
        with bench.session(OPERATOR) as session:
            [(name, _done)] = windows(bench)
            assert session.backfills.forget(name, rehearsal=False)

    with (
        acting_beside(bench, forget) as listener,
        pytest.raises(ConfigurationError, match="was forgotten"),
    ):
        backfill(bench, *WEEK, into=side.stream.table, listener=listener)
    landed = len(ids_in(side))
    assert 0 < landed <= 100
    report = backfill(bench, *WEEK, into=side.stream.table)
    assert (report.counts.rows, report.counts.ignored) == (200 - landed, landed)
    assert bench.findings() == []
