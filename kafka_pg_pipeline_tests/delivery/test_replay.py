"""Dead letters that become rows: each once, whatever else goes on, and what stays says why."""

import json
import threading
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from kafka_pg_pipeline.domain.letters import LetterFilter, ReplayCounts, ReplayReport
from kafka_pg_pipeline.domain.policies import Evolution
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.tables import MetadataField
from kafka_pg_pipeline.errors import DeadLetterBudgetError, TargetError
from kafka_pg_pipeline.settings.models import BatchSettings, DeadLetterSettings
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_streams import Bench

ALL = LetterFilter()
VERSION = {
    MetadataField.PARTITION: "kafka_partition",
    MetadataField.OFFSET: "kafka_offset",
    MetadataField.INCARNATION: "kafka_incarnation",
}
OPEN = "SELECT count(*) FROM {schema}.dead_letter WHERE resolved_at IS NULL"
NARROW = "CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)"
WIDEN = "ALTER TABLE {table} ALTER id TYPE bigint"


def one_partition(_: int) -> int:
    return 0


def replay(
    bench: Bench, wanted: LetterFilter = ALL, *, run_id: str = "replay", **options: Any
) -> ReplayReport:
    with bench.session(run_id) as session:
        return session.replay.replay(wanted, **options)


def with_large_ids(bench: Bench, count: int = 3, *, table: str = NARROW) -> Bench:
    """Loaded records, ``count`` of them too large for the table's column, which is then mended."""
    bench = bench.with_stream(dead_letters=DeadLetterSettings(max_share=1.0))
    bench.create_topic()
    bench.query(table)
    bench.produce([{"id": number} for number in range(100)])
    bench.produce([{"id": 2**40 + number} for number in range(count)])
    assert bench.load().counts.dead == count
    bench.query(WIDEN)
    return bench


def test_three_bad_records_of_ten_thousand_are_replayed_once_after_a_fix(bench: Bench) -> None:
    """Case 7, for JSON."""
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer, name text, kafka_partition integer, kafka_offset bigint)"
    )
    values: list[Any] = [{"id": number, "name": "x"} for number in range(10_000)]
    values[17], values[5_000], values[9_999] = {"id": "abc"}, b'{"id": 1', {"id": 2**33}
    bench.produce(values)
    report = bench.load()
    assert (report.counts.rows, report.counts.dead) == (9_997, 3)
    assert sum(bench.positions().values()) == 10_000
    bench.assert_exactly_once()

    assert replay(bench).counts.rejected == {"wrong_type": 1, "invalid_json": 1, "out_of_range": 1}
    assert bench.count() == 9_997
    bench.query("ALTER TABLE {table} ALTER id TYPE text")
    first = replay(bench)
    assert first.counts == ReplayCounts(2, 0, {"invalid_json": 1})
    assert replay(bench).counts == ReplayCounts(0, 0, {"invalid_json": 1})
    assert bench.count() == 9_999
    bench.assert_exactly_once()


def test_a_replayed_letter_is_a_row_once_and_is_marked_with_the_run(bench: Bench) -> None:
    bench = with_large_ids(bench)
    before = datetime.now(timezone.utc)
    assert replay(bench, run_id="fix-1").counts == ReplayCounts(3)
    assert bench.count() == 103
    [(resolution, by, first)] = bench.query(
        "SELECT resolution, resolved_by, min(resolved_at) FROM {schema}.dead_letter GROUP BY 1, 2"
    )
    assert (resolution, by) == ("replayed", "fix-1")
    assert first > before - timedelta(seconds=5)
    assert replay(bench, run_id="fix-2").counts == ReplayCounts()
    assert bench.count() == 103
    bench.assert_exactly_once()


@pytest.mark.parametrize("constraint", ["", "PRIMARY KEY"], ids=["plain", "staged"])
def test_what_still_does_not_fit_stays_with_its_new_reason(bench: Bench, constraint: str) -> None:
    bench.create_topic()
    bench.query(
        f"CREATE TABLE {{table}} (id integer {constraint}, n integer,"
        " kafka_partition integer, kafka_offset bigint)"
    )
    bench.produce(
        [{"id": 1, "n": 1}, {"id": 2, "n": "a"}, {"id": 3, "n": "b"}, {"id": 4, "n": "c"}, b"x"],
        partition=one_partition,
    )
    assert bench.load().counts.dead == 4
    bench.query("ALTER TABLE {table} ALTER n TYPE text, ADD CONSTRAINT no_b CHECK (n <> 'b')")
    assert replay(bench).counts == ReplayCounts(
        2, 0, {"rejected_by_postgresql": 1, "invalid_json": 1}
    )
    assert bench.query(
        "SELECT record_offset, stage, reason, column_name, sqlstate, resolution"
        " FROM {schema}.dead_letter ORDER BY 1"
    ) == [
        (1, "encode", "wrong_type", "n", None, "replayed"),
        (2, "write", "rejected_by_postgresql", "no_b", "23514", None),
        (3, "encode", "wrong_type", "n", None, "replayed"),
        (4, "decode", "invalid_json", None, None, None),
    ]
    assert bench.query("SELECT id, n FROM {table} ORDER BY id") == [(1, "1"), (2, "a"), (4, "c")]
    bench.assert_exactly_once()


def test_rows_are_made_of_every_byte_the_letter_kept(bench: Bench) -> None:
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer, doc text, kafka_partition integer, kafka_offset bigint)"
    )
    text = "ä\t\\N\n\U0001f600"
    record = FakeRecord(
        b'{"id": 1099511627776, "doc": "\xc3\xa4\\t\\\\N\\n\xf0\x9f\x98\x80"}',
        key=bytes(range(256)),
        headers=(("h", None), ("ä", b"\\x")),
    )
    bench.produce([record], partition=one_partition)
    assert bench.load().counts.dead == 1
    bench.query(WIDEN)
    assert replay(bench).counts == ReplayCounts(1)
    assert bench.query("SELECT id, doc FROM {table}") == [(2**40, text)]
    bench.assert_exactly_once()


def test_a_transaction_takes_as_many_letters_as_a_batch_takes_rows(bench: Bench) -> None:
    bench = with_large_ids(bench, 25)
    few = bench.with_stream(batch=BatchSettings(max_rows=10))
    assert replay(few).counts == ReplayCounts(25)
    assert bench.query(
        "SELECT detail -> 'replayed' FROM {schema}.audit"
        " WHERE action = 'replay-dead-letters' ORDER BY id"
    ) == [(10,), (10,), (5,)]
    bench.assert_exactly_once()


def test_a_record_larger_than_the_byte_budget_is_a_chunk_of_its_own(bench: Bench) -> None:
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer, doc text, kafka_partition integer, kafka_offset bigint)"
    )
    bench.produce([{"id": 2**40, "doc": "x" * 3000} for _ in range(3)])
    assert bench.load().counts.dead == 3
    bench.query(WIDEN)
    assert replay(bench.with_stream(batch=BatchSettings(max_bytes=1024))).counts.replayed == 3
    assert bench.query(
        "SELECT count(*) FROM {schema}.audit WHERE action = 'replay-dead-letters'"
    ) == [(3,)]
    bench.assert_exactly_once()


def test_a_dry_run_says_what_a_replay_would_do_and_changes_nothing(bench: Bench) -> None:
    bench = with_large_ids(bench)
    report = replay(bench, dry_run=True)
    assert (report.counts, report.dry_run) == (ReplayCounts(3), True)
    assert (bench.count(), bench.query(OPEN)) == (100, [(3,)])
    assert bench.query(
        "SELECT count(*) FROM {schema}.audit WHERE action = 'replay-dead-letters'"
    ) == [(0,)]
    assert replay(bench).counts == report.counts


def test_a_dry_run_adds_no_column_and_the_replay_does(bench: Bench) -> None:
    strict = bench.with_stream(evolution=Evolution.STRICT)
    bench.create_topic()
    bench.query(NARROW)
    bench.produce([{"id": 1}, {"id": 2, "late": "x"}, {"id": 3}])
    assert strict.load().counts.dead == 1
    assert replay(bench, dry_run=True).counts == ReplayCounts(1)
    columns = "SELECT count(*) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
    assert bench.query(columns, bench.stream.table) == [(3,)]
    assert replay(bench).counts == ReplayCounts(1)
    assert bench.query("SELECT id FROM {table} WHERE late = 'x'") == [(2,)]
    bench.assert_exactly_once()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (LetterFilter(reason=Reason.WRONG_TYPE), 2),
        (LetterFilter(reason=Reason.OUT_OF_RANGE), 1),
        (LetterFilter(column="n"), 1),
        (LetterFilter(offset=1), 1),
        (LetterFilter(partition=0), 3),
        (LetterFilter(partition=1), 0),
        (LetterFilter(ids=(1, 3, 999)), 2),
        (LetterFilter(ids=()), 0),
        (LetterFilter(since=datetime(2020, 1, 1, tzinfo=timezone.utc)), 3),
        (LetterFilter(until=datetime(2020, 1, 1, tzinfo=timezone.utc)), 0),
        (LetterFilter(reason=Reason.WRONG_TYPE, column="n"), 1),
    ],
)
def test_a_filter_says_which_letters_are_meant(
    bench: Bench, wanted: LetterFilter, expected: int
) -> None:
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer, n integer, kafka_partition integer, kafka_offset bigint)"
    )
    bench.produce([{"id": "a"}, {"id": 1, "n": "b"}, {"id": 2**40}], partition=one_partition)
    bench.load()
    bench.query("ALTER TABLE {table} ALTER id TYPE text, ALTER n TYPE text")
    with bench.session() as session:
        assert session.letters.fetch_page(wanted, most=10).total == expected
    assert replay(bench, wanted).counts.replayed == expected
    assert bench.query(OPEN) == [(3 - expected,)]
    bench.assert_exactly_once()


def test_a_table_follows_replayed_records_and_a_dry_run_leaves_it(bench: Bench) -> None:
    bench.create_topic()
    bench.query(NARROW)
    bench.produce([{"id": 1}, {"id": 2**40}, {"id": 2**41, "extra": "x"}], partition=one_partition)
    frozen = bench.with_stream(evolution=Evolution.FREEZE)
    assert frozen.load().counts.dead == 2
    wide = bench.with_stream(evolution=Evolution.WIDEN)
    assert replay(wide, dry_run=True).counts == ReplayCounts(0, 0, {"out_of_range": 2})
    assert column_types(bench) == {"id": "integer"}
    assert replay(wide).counts == ReplayCounts(2)
    assert column_types(bench) == {"id": "bigint", "extra": "text"}
    assert bench.query("SELECT extra FROM {table} WHERE id = 2^41") == [("x",)]
    bench.assert_exactly_once()


def column_types(bench: Bench) -> dict[str, str]:
    found = bench.query(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = %s",
        bench.stream.table.partition(".")[0],
    )
    return {name: kind for name, kind in found if not name.startswith("kafka_")}


# -- modes that have a key --------------------------------------------------------------------


def keyed(bench: Bench, mode: str, records: list[Any], **changes: Any) -> Bench:
    """Records loaded into a table whose ``n`` takes text since."""
    bench = bench.with_stream(mode=mode, key=["k"], **changes)
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (k text PRIMARY KEY, n integer,"
        " kafka_partition integer, kafka_offset bigint, kafka_incarnation integer)"
    )
    bench.produce(records, partition=one_partition)
    bench.load()
    bench.query("ALTER TABLE {table} ALTER n TYPE text")
    return bench


def put(key: str, number: Any) -> FakeRecord:
    return FakeRecord(json.dumps({"k": key, "n": number}).encode(), key=key.encode())


def tombstone(key: str) -> FakeRecord:
    return FakeRecord(None, key=key.encode())


def rows(bench: Bench) -> list[tuple[Any, ...]]:
    return bench.query("SELECT k, n FROM {table} ORDER BY k")


def test_insert_ignore_leaves_the_row_that_came_meanwhile(bench: Bench) -> None:
    bench = keyed(
        bench, "insert-ignore", [put("a", "late"), put("a", 1), put("b", "x"), put("b", "y")]
    )
    assert replay(bench).counts == ReplayCounts(1, 2)
    assert rows(bench) == [("a", "1"), ("b", "x")]
    assert bench.query(OPEN) == [(0,)]
    assert bench.findings() == []


def test_upsert_is_refused_where_an_old_record_could_overwrite_a_newer_row(bench: Bench) -> None:
    bench = keyed(bench, "upsert", [put("a", "old"), put("a", 1), put("b", "x"), put("b", "y")])
    with pytest.raises(TargetError, match=r"overwrite a newer row of its key.*--overwrite"):
        replay(bench)
    assert (rows(bench), bench.query(OPEN)) == ([("a", "1")], [(3,)])
    newest = LetterFilter(offset=3)
    assert replay(bench, newest, overwrite=True).counts == ReplayCounts(1)
    assert rows(bench) == [("a", "1"), ("b", "y")]
    assert replay(bench, overwrite=True).counts == ReplayCounts(2)
    assert rows(bench) == [("a", "old"), ("b", "x")]
    assert bench.findings() == []


def test_newest_wins_leaves_newer_rows_as_they_are(bench: Bench) -> None:
    bench = keyed(
        bench,
        "upsert",
        [put("a", "old"), put("a", 1), put("b", 1), put("b", "new"), put("c", "x"), put("c", "y")],
        newest_wins=True,
        metadata=VERSION,
    )
    assert replay(bench).counts == ReplayCounts(2, 2)
    assert rows(bench) == [("a", "1"), ("b", "new"), ("c", "y")]
    assert bench.query("SELECT DISTINCT kafka_incarnation FROM {table}") == [(1,)]
    assert replay(bench).counts == ReplayCounts()
    assert bench.findings() == []


@pytest.mark.parametrize(
    "since", [[put("a", 1), tombstone("a")], [tombstone("a")]], ids=["deleted", "never there"]
)
def test_a_row_that_was_deleted_since_is_not_brought_back(
    bench: Bench, since: list[FakeRecord]
) -> None:
    bench = keyed(bench, "upsert", [put("a", "old"), *since], newest_wins=True, metadata=VERSION)
    with pytest.raises(TargetError, match="bring back a row"):
        replay(bench)
    assert replay(bench, LetterFilter(offset=99)).counts == ReplayCounts()
    assert (rows(bench), bench.query(OPEN)) == ([], [(1,)])
    assert replay(bench, overwrite=True).counts == ReplayCounts(1)
    assert rows(bench) == [("a", "old")]


def test_a_refused_last_record_of_a_key_lets_the_one_before_count(bench: Bench) -> None:
    bench = keyed(
        bench,
        "upsert",
        [put("a", "x"), put("a", "y"), put("a", "z")],
        newest_wins=True,
        metadata=VERSION,
    )
    bench.query("ALTER TABLE {table} ADD CONSTRAINT no_yz CHECK (n NOT IN ('y', 'z'))")
    assert replay(bench).counts == ReplayCounts(1, 0, {"rejected_by_postgresql": 2})
    assert rows(bench) == [("a", "x")]
    assert bench.query("SELECT DISTINCT column_name FROM {schema}.dead_letter") == [
        ("n",),
        ("no_yz",),
    ]


# -- how many ---------------------------------------------------------------------------------


def test_a_limit_takes_the_oldest(bench: Bench) -> None:
    bench = with_large_ids(bench, 5)
    assert replay(bench, limit=2).counts == ReplayCounts(2)
    assert bench.query("SELECT min(id) FROM {schema}.dead_letter WHERE resolved_at IS NULL") == [
        (3,)
    ]
    assert replay(bench, limit=10).counts == ReplayCounts(3)


def test_replays_at_once_share_the_letters_and_make_each_a_row_once(bench: Bench) -> None:
    bench = with_large_ids(bench, 200)
    few = bench.with_stream(batch=BatchSettings(max_rows=7))
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda n: replay(few, run_id=f"rival-{n}"), range(4)))
    assert sum(report.counts.replayed for report in reports) == 200
    assert bench.count() == 300
    assert bench.query(OPEN) == [(0,)]
    bench.assert_exactly_once()


def test_a_replay_goes_on_beside_loads(bench: Bench) -> None:
    bench = with_large_ids(bench, 60)
    few = bench.with_stream(batch=BatchSettings(max_rows=5))
    loaded = threading.Event()

    def load() -> None:
        for number in range(5):
            bench.produce([{"id": 1000 + number}] * 20)
            bench.load(run_id=f"beside-{number}")
        loaded.set()

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load)
        assert replay(few).counts == ReplayCounts(60)
        loading.result()
    assert loaded.is_set()
    assert bench.count() == 260
    bench.assert_exactly_once()


def test_a_position_moved_back_takes_letters_along_replayed_ones_too(bench: Bench) -> None:
    bench = with_large_ids(bench, 6)
    replay(bench, limit=3)
    with bench.session() as session:
        target = session.catalog.fetch_target()
        session.moves.reset({0: 0, 1: 0, 2: 0}, target, allow_duplicates=False)
    assert (bench.count(), bench.query("SELECT count(*) FROM {schema}.dead_letter")) == (0, [(0,)])
    assert bench.load().counts.rows == 106
    bench.assert_exactly_once()


def test_letters_of_records_that_are_read_again_are_not_replayed_on_top(bench: Bench) -> None:
    """The table was emptied by hand, which `--allow-duplicates` is for."""
    bench = with_large_ids(bench, 6)
    bench.query("TRUNCATE {table}")
    with bench.session() as session:
        target = session.catalog.fetch_target()
        session.moves.reset({0: 0, 1: 0, 2: 0}, target, allow_duplicates=True)
    assert bench.load().counts.rows == 106
    assert replay(bench).counts == ReplayCounts()
    bench.assert_exactly_once()


def test_a_replay_waits_until_positions_were_moved(bench: Bench) -> None:
    """A move that deletes the letters' range must not meet rows that come after its look."""
    bench = with_large_ids(bench)
    with bench.session("mover") as session, ThreadPoolExecutor(1) as pool:
        with session.positions._primary.transaction("hold the stream") as cursor:
            cursor.execute(session.positions._statements["lock_stream"], session.positions._key)
            replaying = pool.submit(replay, bench)
            with pytest.raises(futures.TimeoutError):
                replaying.result(1)
        assert replaying.result(30).counts == ReplayCounts(3)


def test_a_trigger_that_swallows_rows_leaves_letters_as_they_were(bench: Bench) -> None:
    bench = with_large_ids(bench)
    bench.trigger_before_inserts("RETURN NULL;")
    with pytest.raises(TargetError, match="swallows rows"):
        replay(bench)
    assert bench.query(OPEN) == [(3,)]


def test_a_table_that_is_gone_is_said(bench: Bench) -> None:
    bench = with_large_ids(bench)
    bench.query("DROP TABLE {table}")
    with pytest.raises(TargetError, match="does not exist"):
        replay(bench)
    assert bench.query(OPEN) == [(3,)]


def test_verify_notices_a_replayed_letter_without_a_row(bench: Bench) -> None:
    bench = with_large_ids(bench)
    replay(bench)
    assert bench.findings() == []
    bench.query("DELETE FROM {table} WHERE id >= 2^40")
    findings = "".join(bench.findings())
    assert "was replayed and is not in the table" in findings
    assert "the ledger counts 33 rows and 1 replayed, the table holds 33" in findings


def test_verify_notices_a_row_that_was_put_beside_an_open_letter(bench: Bench) -> None:
    bench = with_large_ids(bench, 1)
    bench.query("INSERT INTO {table} SELECT 1, partition, record_offset FROM {schema}.dead_letter")
    assert "the offset is a row and a dead letter" in "".join(bench.findings())


def test_a_discarded_letter_stays_counted_and_is_not_replayed(bench: Bench) -> None:
    bench = with_large_ids(bench)
    with bench.session("tidy") as session:
        assert session.letters.discard(ALL, run_id="tidy") == {"out_of_range": 3}
        assert session.letters.discard(ALL, run_id="tidy") == {}
    assert replay(bench).counts == ReplayCounts()
    assert bench.query("SELECT resolution, resolved_by FROM {schema}.dead_letter LIMIT 1") == [
        ("discarded", "tidy")
    ]
    assert bench.count() == 100
    bench.assert_exactly_once()


def test_a_run_over_its_budget_keeps_what_it_committed_and_stops_there(bench: Bench) -> None:
    bench = bench.with_stream(
        dead_letters=DeadLetterSettings(max_run_records=5),
        batch=BatchSettings(max_rows=20, max_seconds=0.2),
    )
    bench.create_topic()
    bench.query(NARROW)
    good_and_bad: list[Any] = [{"id": n} if n % 10 else {"id": "bad"} for n in range(100)]
    bench.produce(good_and_bad, partition=one_partition)
    with pytest.raises(DeadLetterBudgetError, match="6 or more records of one run") as caught:
        bench.load()
    assert "earlier batches stay, with 4 dead letters" in str(caught.value)
    assert bench.positions()[0] == 40
    assert bench.query(OPEN) == [(4,)]
    assert bench.findings() == []
