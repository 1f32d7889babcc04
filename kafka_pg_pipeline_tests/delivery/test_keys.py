"""Insert-ignore and upsert: one row a key, every offset accounted for, and replays do no harm."""

import json
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr

from kafka_pg_pipeline.adapters.postgres import new_rows
from kafka_pg_pipeline.adapters.postgres.new_rows import NewRows
from kafka_pg_pipeline.domain.batches import BatchCounts
from kafka_pg_pipeline.domain.policies import Evolution
from kafka_pg_pipeline.domain.tables import MetadataField
from kafka_pg_pipeline.errors import DeadLetterBudgetError, TargetError
from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.waiting import wait_until

ROWS = "SELECT k, v FROM {table} ORDER BY k"
COUNTS = (
    "SELECT coalesce(sum(rows), 0)::int, sum(superseded)::int, sum(ignored)::int,"
    " sum(deleted)::int, sum(dead)::int, sum(filtered)::int, sum(absent)::int FROM {schema}.ledger"
)
VERSION = {
    MetadataField.PARTITION: "kafka_partition",
    MetadataField.OFFSET: "kafka_offset",
    MetadataField.INCARNATION: "kafka_incarnation",
}


def one_partition(_: int) -> int:
    return 0


def put(key: str, value: Any) -> FakeRecord:
    return FakeRecord(json.dumps({"k": key, "v": value}).encode(), key=key.encode())


def tombstone(key: str) -> FakeRecord:
    return FakeRecord(None, key=key.encode())


@pytest.fixture
def keyed(bench: Bench) -> Callable[..., Bench]:
    """A stream in a mode that has the key ``k``, on a topic of one partition."""

    def make(mode: str = "upsert", *, partitions: int = 1, **changes: Any) -> Bench:
        made = bench.with_stream(mode=mode, key=["k"], **changes)
        made.create_topic(partitions)
        return made

    return make


def load(bench: Bench, records: Sequence[Any], **limits: Any) -> BatchCounts:
    bench.produce(records, partition=one_partition)
    counts = bench.load(**limits).counts
    assert bench.findings() == []
    return counts


# -- upsert --------------------------------------------------------------------------------------


def test_the_last_record_of_a_key_wins_within_a_batch(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    counts = load(bench, [put("k1", "v1"), put("k1", "v2"), put("k2", "w1"), put("k1", "v3")])
    assert counts == BatchCounts(rows=2, superseded=2)
    assert bench.query(ROWS) == [("k1", "v3"), ("k2", "w1")]


def test_a_later_batch_overwrites_an_earlier_one(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    load(bench, [put("k1", "v1"), put("k2", "w1")])
    assert load(bench, [put("k1", "v2")]) == BatchCounts(rows=1)
    assert bench.query(ROWS) == [("k1", "v2"), ("k2", "w1")]


def test_a_table_that_is_created_has_the_key_as_its_primary_key(
    keyed: Callable[..., Bench],
) -> None:
    bench = keyed()
    load(bench, [put("k1", "v1")])
    assert bench.query(
        "SELECT a.attname, a.attnotnull FROM pg_index i JOIN pg_attribute a"
        " ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"
        " WHERE i.indisprimary AND i.indrelid = %s::regclass",
        bench.stream.table,
    ) == [("k", True)]


def test_the_types_of_the_table_decide_which_keys_are_equal(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    bench.query(
        "CREATE TABLE {table} (k numeric PRIMARY KEY, v text,"
        " kafka_partition integer, kafka_offset bigint)"
    )
    counts = load(bench, [{"k": 1, "v": "a"}, {"k": "1.0", "v": "b"}, {"k": 1e0, "v": "c"}])
    assert counts == BatchCounts(rows=1, superseded=2)
    assert bench.query("SELECT v FROM {table}") == [("c",)]


def test_a_table_whose_columns_are_all_key_is_filled(keyed: Callable[..., Bench]) -> None:
    bench = keyed(metadata={}, evolution=Evolution.FREEZE)
    bench.query("CREATE TABLE {table} (k text PRIMARY KEY)")
    assert load(bench, [put("a", 1), put("b", 1), put("a", 2)]) == BatchCounts(rows=2, superseded=1)
    assert load(bench, [put("b", 1), put("c", 1)]) == BatchCounts(rows=1, ignored=1)
    assert bench.query("SELECT k FROM {table} ORDER BY k") == [("a",), ("b",), ("c",)]


def test_a_key_of_several_columns(bench: Bench) -> None:
    bench = bench.with_stream(mode="upsert", key=["shop", "id"])
    bench.create_topic(1)
    orders = [(shop, number, turn) for turn in range(2) for shop in "ab" for number in range(2)]
    counts = load(bench, [{"shop": s, "id": n, "turn": t} for s, n, t in orders])
    assert counts == BatchCounts(rows=4, superseded=4)
    assert bench.query("SELECT shop, id, turn FROM {table} ORDER BY 1, 2") == [
        ("a", 0, 1),
        ("a", 1, 1),
        ("b", 0, 1),
        ("b", 1, 1),
    ]


def test_a_column_that_a_record_leaves_to_its_default_keeps_its_value(
    keyed: Callable[..., Bench],
) -> None:
    bench = keyed()
    bench.query(
        "CREATE TABLE {table} (k text PRIMARY KEY, v text DEFAULT 'none',"
        " kafka_partition integer, kafka_offset bigint)"
    )
    load(bench, [{"k": "a", "v": "first"}, {"k": "b"}])
    counts = load(bench, [{"k": "a"}, {"k": "b", "v": "second"}, {"k": "b"}])
    assert counts == BatchCounts(rows=2, superseded=1)
    assert bench.query(ROWS) == [("a", "first"), ("b", "second")]


@pytest.mark.parametrize("rows", [1, 2, 50_000])
def test_what_a_record_leaves_out_does_not_depend_on_where_batches_are_cut(
    keyed: Callable[..., Bench], rows: int
) -> None:
    bench = keyed(batch=BatchSettings(max_rows=rows))
    bench.query(
        "CREATE TABLE {table} (k text PRIMARY KEY, v text DEFAULT 'v', w text DEFAULT 'w',"
        " kafka_partition integer, kafka_offset bigint)"
    )
    records: list[Any] = [
        {"k": "a", "v": "1"},
        {"k": "b", "v": "1", "w": "1"},
        {"k": "a", "w": "2"},
        {"k": "b"},
        tombstone("b"),
        {"k": "b", "w": "3"},
        {"k": "c"},
    ]
    load(bench, records)
    assert bench.query("SELECT k, v, w FROM {table} ORDER BY k") == [
        ("a", "1", "2"),
        ("b", "v", "3"),
        ("c", "v", "w"),
    ]


def test_a_record_without_its_key_is_a_dead_letter(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    counts = load(bench, [put("a", 1), {"v": 2}, {"k": None, "v": 3}, FakeRecord(None)])
    assert counts == BatchCounts(rows=1, dead=3)
    assert bench.query("SELECT DISTINCT reason FROM {schema}.dead_letter") == [("missing_key",)]


def test_offsets_that_the_table_holds_as_text_are_compared_as_numbers(
    keyed: Callable[..., Bench],
) -> None:
    bench = keyed()
    bench.query(
        "CREATE TABLE {table} (k text PRIMARY KEY, v text, kafka_partition text, kafka_offset text)"
    )
    bench.produce([put("a", f"v{number}") for number in range(11)], partition=one_partition)
    assert bench.load().counts == BatchCounts(rows=1, superseded=10)
    assert bench.query("SELECT v, kafka_offset FROM {table}") == [("v10", "10")]


def test_updates_of_a_table_that_was_created_concern_no_index(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    load(bench, [put(f"k{number}", "old") for number in range(1_000)])
    load(bench, [put(f"k{number}", "new") for number in range(0, 1_000, 20)])

    def fetch_updates() -> list[tuple[Any, ...]]:
        return bench.query(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = %s::regclass",
            bench.stream.table,
        )

    # Each connection tells what it did some time after it is closed.
    wait_until(lambda: fetch_updates() != [(0, 0)])
    assert fetch_updates() == [(50, 50)]


# -- keys that are new ---------------------------------------------------------------------------


@pytest.fixture
def bets(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Batches of any size bet that their keys are new; the rows that each bet has won."""
    made: list[int | None] = []
    insert = NewRows.insert

    def note(self: NewRows, *arguments: Any) -> int | None:
        made.append(insert(self, *arguments))
        return made[-1]

    monkeypatch.setattr(new_rows, "LARGE", 1)
    monkeypatch.setattr(NewRows, "insert", note)
    return made


@pytest.mark.parametrize("mode", ["upsert", "insert-ignore", "newest"])
def test_large_batches_bet_that_their_keys_are_new(
    keyed: Callable[..., Bench], bets: list[int | None], mode: str
) -> None:
    newest = mode == "newest"
    limits = {"batch": BatchSettings(max_rows=3), "newest_wins": newest, "metadata": VERSION}
    bench = keyed("upsert" if newest else mode, **limits)
    new = [put("a", 1), put("b", 1), put("a", 2)]
    some = [put("c", 1), put("b", 2), put("d", 1)]
    more = [put("e", 1), put("f", 1), put("g", 1)]
    counts = load(bench, [*new, *some, *more, *more])
    ignores = mode == "insert-ignore"
    # The third loses nothing by it, but is held back after the second.
    assert bets == [2, None, None, None]
    if ignores:
        assert counts == BatchCounts(rows=7, ignored=5)
    else:
        assert counts == BatchCounts(rows=11, superseded=1)
    first, second = (1, 1) if ignores else (2, 2)
    assert bench.query("SELECT k, v::int FROM {table} ORDER BY k") == [
        ("a", first),
        ("b", second),
        *((key, 1) for key in "cdefg"),
    ]


def test_rows_that_a_trigger_swallows_are_counted_as_without_effect(
    keyed: Callable[..., Bench], bets: list[int | None]
) -> None:
    bench = keyed("insert-ignore")
    bench.query(
        "CREATE TABLE {table} (k text PRIMARY KEY, v text,"
        " kafka_partition integer, kafka_offset bigint)"
    )
    bench.trigger_before_inserts("RETURN CASE WHEN NEW.v <> 'no' THEN NEW END;")
    assert load(bench, [put("a", "yes"), put("b", "no")]) == BatchCounts(rows=1, ignored=1)
    assert bench.query(ROWS) == [("a", "yes")]
    assert bets == [None]


def test_a_role_that_may_not_use_plpgsql_makes_no_bet(
    keyed: Callable[..., Bench], bets: list[int | None]
) -> None:
    bench = keyed()
    role = bench.name.replace("s_", "r_")
    load(bench, [put("a", 1)])
    bench.query(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' IN ROLE pg_write_all_data")
    bench.query(f"GRANT pg_read_all_data TO {role}")
    bench.query("REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC")
    try:
        limited = bench.with_postgres(user=role, password=SecretStr("secret"))
        assert load(limited, [put("b", 1)]) == BatchCounts(rows=1)
    finally:
        bench.query("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC")
        bench.query(f"DROP ROLE {role}")
    assert bets == [1, None]


# -- deletes -------------------------------------------------------------------------------------


def test_a_tombstone_before_a_value_leaves_the_value(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    assert load(bench, [tombstone("k1"), put("k1", "v")]) == BatchCounts(rows=1, ignored=1)
    assert bench.query(ROWS) == [("k1", "v")]


def test_a_tombstone_after_a_value_leaves_nothing(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    load(bench, [put("k1", "old"), put("k2", "stays")])
    assert load(bench, [put("k1", "v"), tombstone("k1")]) == BatchCounts(deleted=1, superseded=1)
    assert bench.query(ROWS) == [("k2", "stays")]


def test_a_tombstone_of_an_unknown_key_is_ignored(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    counts = load(bench, [put("a", 1), tombstone("b"), tombstone("b")])
    assert counts == BatchCounts(rows=1, ignored=1, superseded=1)


def test_tombstones_are_ignored_where_deletes_are_off(keyed: Callable[..., Bench]) -> None:
    bench = keyed(deletes=False)
    assert load(bench, [put("a", 1), tombstone("a")]) == BatchCounts(rows=1, ignored=1)
    assert bench.query("SELECT k FROM {table}") == [("a",)]


def test_a_tombstone_whose_key_cannot_be_the_column_is_a_dead_letter(
    keyed: Callable[..., Bench],
) -> None:
    bench = keyed()
    bench.query(
        "CREATE TABLE {table} (k integer PRIMARY KEY, v text,"
        " kafka_partition integer, kafka_offset bigint)"
    )
    records = [{"k": 1}, tombstone("1"), tombstone("one"), FakeRecord(None, key=b"\xff")]
    assert load(bench, records) == BatchCounts(deleted=0, superseded=1, ignored=1, dead=2)
    assert bench.query("SELECT reason, column_name FROM {schema}.dead_letter ORDER BY id") == [
        ("wrong_type", "k"),
        ("invalid_utf8", None),
    ]


def test_the_key_of_a_deletion_may_not_be_a_column_with_strict_domain(
    keyed: Callable[..., Bench],
) -> None:
    """Columns beside the key are not filled by a deletion, whatever their types insist on."""
    bench = keyed()
    schema = bench.stream.table.partition(".")[0]
    bench.query(f"CREATE DOMAIN {schema}.strict AS integer NOT NULL CHECK (VALUE > 0)")
    bench.query(
        f"CREATE TABLE {{table}} (k text PRIMARY KEY, v {schema}.strict,"
        " kafka_partition integer, kafka_offset bigint)"
    )
    load(bench, [put("a", 1), put("b", 2)])
    assert load(bench, [tombstone("a"), put("c", 3)]) == BatchCounts(rows=1, deleted=1)
    assert bench.query(ROWS) == [("b", 2), ("c", 3)]


def test_a_row_that_others_refer_to_is_not_deleted_but_noted(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    load(bench, [put("a", 1), put("b", 1), put("c", 1)])
    schema = bench.stream.table.partition(".")[0]
    bench.query(f"CREATE TABLE {schema}.child (k text REFERENCES {{table}} (k))")
    bench.query(f"INSERT INTO {schema}.child VALUES ('b')")
    counts = load(bench, [tombstone("a"), tombstone("b"), tombstone("c")])
    assert counts == BatchCounts(deleted=2, dead=1)
    assert bench.query("SELECT k FROM {table}") == [("b",)]
    assert bench.query("SELECT record_offset, sqlstate FROM {schema}.dead_letter") == [(4, "23503")]


# -- what only PostgreSQL rejects ----------------------------------------------------------------


def test_where_the_last_record_of_a_key_is_rejected_the_one_before_it_counts(
    keyed: Callable[..., Bench],
) -> None:
    bench = keyed()
    bench.query(
        "CREATE TABLE {table} (k text PRIMARY KEY, v integer CHECK (v > 0),"
        " kafka_partition integer, kafka_offset bigint)"
    )
    records = [put("a", 1), put("a", -1), put("b", -2), put("b", -3), put("c", -4), put("c", 5)]
    assert load(bench, records) == BatchCounts(rows=2, superseded=1, dead=3)
    assert bench.query(ROWS) == [("a", 1), ("c", 5)]
    assert bench.query("SELECT record_offset, sqlstate FROM {schema}.dead_letter ORDER BY 1") == [
        (1, "23514"),
        (2, "23514"),
        (3, "23514"),
    ]


def test_more_rejected_records_than_allowed_move_nothing(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    bench.query(
        "CREATE TABLE {table} (k text PRIMARY KEY, v integer CHECK (v > 0),"
        " kafka_partition integer, kafka_offset bigint)"
    )
    bench.produce([put(f"k{n % 40}", -n) for n in range(200)], partition=one_partition)
    with pytest.raises(DeadLetterBudgetError):
        bench.load()
    assert (bench.count(), bench.positions()) == (0, {0: 0})


# -- insert-ignore -------------------------------------------------------------------------------


def test_the_first_record_of_a_key_stays(keyed: Callable[..., Bench]) -> None:
    bench = keyed("insert-ignore")
    counts = load(bench, [put("a", "1st"), put("b", "1st"), put("a", "2nd")])
    assert counts == BatchCounts(rows=2, ignored=1)
    assert load(bench, [put("a", "3rd"), put("c", "1st")]) == BatchCounts(rows=1, ignored=1)
    assert bench.query(ROWS) == [("a", "1st"), ("b", "1st"), ("c", "1st")]


def test_insert_ignore_deletes_nothing(keyed: Callable[..., Bench]) -> None:
    bench = keyed("insert-ignore")
    assert load(bench, [put("a", "1st"), tombstone("a")]) == BatchCounts(rows=1, ignored=1)
    assert bench.query("SELECT k FROM {table}") == [("a",)]


# -- newest wins ---------------------------------------------------------------------------------


def test_a_replay_changes_nothing_where_the_newest_wins(keyed: Callable[..., Bench]) -> None:
    bench = keyed(newest_wins=True, metadata=VERSION)
    load(bench, [put("k1", "v1"), put("k1", "v2"), put("k2", "w1"), put("k1", "v3")])
    with bench.session() as session:
        session.moves.reset({0: 0}, session.catalog.fetch_target(), allow_duplicates=False)
    counts = bench.load(max_records=1).counts
    assert counts == BatchCounts(ignored=1)
    assert bench.query(ROWS) == [("k1", "v3"), ("k2", "w1")]
    assert bench.load().counts == BatchCounts(ignored=2, superseded=1)
    assert bench.query(ROWS) == [("k1", "v3"), ("k2", "w1")]


@pytest.mark.parametrize("mode", ["upsert", "insert-ignore"])
def test_what_is_read_again_ends_where_it_ended(keyed: Callable[..., Bench], mode: str) -> None:
    """No row is taken away for it, and no offset columns are needed."""
    bench = keyed(mode, metadata={})
    load(bench, [put("a", "1"), put("b", "1"), put("a", "2"), tombstone("b"), put("c", "1")])
    before = bench.query(ROWS)
    with bench.session() as session:
        (move,) = session.moves.reset(
            {0: 0}, session.catalog.fetch_target(), allow_duplicates=False
        )
    assert move.deleted_rows == 0
    assert bench.load().counts.total == 5
    assert bench.query(ROWS) == before
    assert bench.findings() == []


def test_an_old_tombstone_does_not_delete_a_newer_row(keyed: Callable[..., Bench]) -> None:
    bench = keyed(newest_wins=True, metadata=VERSION)
    load(bench, [tombstone("a"), put("a", "new")])
    with bench.session() as session:
        session.moves.reset({0: 0}, session.catalog.fetch_target(), allow_duplicates=False)
    assert bench.load(max_records=1).counts == BatchCounts(ignored=1)
    assert bench.query(ROWS) == [("a", "new")]


def test_records_of_a_topic_that_was_created_again_are_newer(keyed: Callable[..., Bench]) -> None:
    bench = keyed(newest_wins=True, metadata=VERSION)
    load(bench, [put("a", f"v{number}") for number in range(10)])
    bench.delete_topic()
    bench.create_topic(1)
    bench.produce([put("a", "again")], partition=one_partition)
    with bench.session() as session:
        snapshot = session.inspector.fetch_snapshot(bench.stream.topic)
        session.moves.accept_topic(snapshot)
    assert bench.load().counts == BatchCounts(rows=1)
    assert bench.query("SELECT v, kafka_offset, kafka_incarnation FROM {table}") == [
        ("again", 0, 2)
    ]


# -- tables that do not fit ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "constraint",
    [
        "",
        "UNIQUE (k, v)",
        "UNIQUE (k) DEFERRABLE",
    ],
)
def test_a_table_without_a_unique_index_on_the_key_is_refused(
    keyed: Callable[..., Bench], constraint: str
) -> None:
    bench = keyed()
    lines = ["k text", "v text", "kafka_partition integer", "kafka_offset bigint", constraint]
    bench.query(f"CREATE TABLE {{table}} ({', '.join(filter(None, lines))})")
    bench.produce([put("a", 1)], partition=one_partition)
    with pytest.raises(TargetError, match=r"CREATE UNIQUE INDEX ON .* \(k\)"):
        bench.load()


def test_a_partial_unique_index_does_not_tell_rows_apart(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    bench.query(
        "CREATE TABLE {table} (k text, v text, kafka_partition integer, kafka_offset bigint)"
    )
    bench.query("CREATE UNIQUE INDEX ON {table} (k) WHERE v IS NOT NULL")
    bench.produce([put("a", 1)], partition=one_partition)
    with pytest.raises(TargetError, match="no unique index"):
        bench.load()
    bench.query("CREATE UNIQUE INDEX ON {table} (k) INCLUDE (v)")
    assert bench.load().counts == BatchCounts(rows=1)


def test_a_key_that_no_record_has_makes_no_table(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    bench.produce([{"id": 1}], partition=one_partition)
    with pytest.raises(TargetError, match="no column 'k' for the stream's `key`"):
        bench.load()


def test_a_partitioned_table_is_merged_into(keyed: Callable[..., Bench]) -> None:
    bench = keyed()
    bench.query(
        "CREATE TABLE {table} (k text PRIMARY KEY, v text, kafka_partition integer,"
        " kafka_offset bigint) PARTITION BY HASH (k)"
    )
    schema, _, table = bench.stream.table.partition(".")
    for number in range(2):
        bench.query(
            f"CREATE TABLE {schema}.{table}_{number} PARTITION OF {{table}}"
            f" FOR VALUES WITH (MODULUS 2, REMAINDER {number})"
        )
    load(bench, [put(f"k{number}", "old") for number in range(20)])
    counts = load(bench, [put("k1", "new"), tombstone("k2"), put("k3", "new")])
    assert counts == BatchCounts(rows=2, deleted=1)
    assert bench.query("SELECT count(*), count(*) FILTER (WHERE v = 'new') FROM {table}") == [
        (19, 2)
    ]


# -- against a model -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["upsert", "insert-ignore", "newest"])
def test_any_history_leaves_what_a_plain_dictionary_would(
    keyed: Callable[..., Bench], mode: str
) -> None:
    newest = mode == "newest"
    bench = keyed(
        "upsert" if newest else mode,
        partitions=3,
        newest_wins=newest,
        metadata=VERSION,
        batch=BatchSettings(max_rows=97),
    )
    rng = random.Random(mode)
    records: list[FakeRecord] = []
    for number in range(1_500):
        key = f"k{rng.randrange(60)}"
        records.append(tombstone(key) if rng.random() < 0.2 else put(key, f"v{number}"))
    # As Kafka does: all records of a key are in one partition.
    place = [hash_of(record.key) % 3 for record in records]
    bench.produce(records, partition=lambda index: place[index])
    counts = bench.load().counts
    assert bench.findings() == []
    assert counts.total == len(records)
    expected: dict[str, str] = {}
    for record in records:
        key = (record.key or b"").decode()
        if mode == "insert-ignore":
            if record.value is not None:
                expected.setdefault(key, json.loads(record.value)["v"])
        elif record.value is None:
            expected.pop(key, None)
        else:
            expected[key] = json.loads(record.value)["v"]
    assert dict(bench.query(ROWS)) == expected


def hash_of(key: bytes | None) -> int:
    return sum(key or b"")


# -- two streams on one table --------------------------------------------------------------------


@pytest.mark.parametrize("with_deletes", [False, True])
def test_streams_that_merge_into_one_table_do_not_deadlock(
    bench: Bench, bench_maker: BenchMaker, *, with_deletes: bool
) -> None:
    """Each batch has all the keys, in an order of its own; one deletes what the other writes."""
    bench.query(
        "CREATE TABLE {table} (k text PRIMARY KEY, v text, kafka_partition integer,"
        " kafka_offset bigint)"
    )
    if with_deletes:
        pause_before_inserts(bench)
    rng = random.Random(7)
    keys = [f"k{number}" for number in range(2_000)]
    streams = []
    for half in range(2):
        made = bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres)
        made = made.with_stream(
            mode="upsert",
            key=["k"],
            table=bench.stream.table,
            batch=BatchSettings(max_rows=len(keys)),
        )
        made.create_topic(1)
        for _ in range(6):
            rng.shuffle(keys)
            changes = [put(k, k) for k in keys]
            if with_deletes:
                changes = [tombstone(k) if int(k[1:]) % 2 == half else put(k, k) for k in keys]
            made.produce(changes, partition=one_partition)
        streams.append(made)
    before = count_deadlocks(bench)
    with ThreadPoolExecutor(2) as executor:
        reports = list(executor.map(Bench.load, streams))
    assert [report.batches for report in reports] == [6, 6]
    assert count_deadlocks(bench) == before
    assert [stream.findings() for stream in streams] == [[], []]


def pause_before_inserts(bench: Bench) -> None:
    """Give the other session the time to delete, between the deletes and the writes of one."""
    bench.trigger_before_inserts("PERFORM pg_sleep(0.1); RETURN NULL;", each="STATEMENT")


def count_deadlocks(bench: Bench) -> int:
    bench.query("SELECT pg_stat_force_next_flush()")
    ((number,),) = bench.query(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return int(number)
