"""What becomes of fields that the table has no column for, and of values its types do not fit."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from kafka_pg_pipeline.domain.naming import Naming
from kafka_pg_pipeline.domain.policies import Evolution
from kafka_pg_pipeline.errors import ContentionError, TargetError
from kafka_pg_pipeline.pipeline import load
from kafka_pg_pipeline.pipeline.evolve import MOST_ADDED
from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.content.landing import Dead, fates_by_offset, one_partition
from kafka_pg_pipeline_tests.fix_servers import connect
from kafka_pg_pipeline_tests.fix_streams import Bench

ANY = "kafka_partition int, kafka_offset bigint"


def made(bench: Bench, columns: str = "id integer", **changes: Any) -> Bench:
    bench = bench.with_stream(**changes)
    bench.create_topic(1)
    bench.query(f"CREATE TABLE {{table}} ({columns}, {ANY})")
    return bench


def send(bench: Bench, records: Sequence[Any]) -> None:
    bench.produce(records, partition=one_partition)


def columns_of(bench: Bench) -> dict[str, str]:
    """The table's columns with their types, those aside that every test has."""
    schema, _, table = bench.stream.table.partition(".")
    found = bench.query(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
        schema,
        table,
    )
    return {name: kind for name, kind in found if not name.startswith("kafka_")}


def audit(bench: Bench) -> list[tuple[str, str]]:
    return bench.query("SELECT action, detail ->> 'ddl' FROM {schema}.audit ORDER BY id")


def land(bench: Bench, records: Sequence[Any], columns: Sequence[str]) -> list[Any]:
    send(bench, records)
    bench.load()
    bench.assert_exactly_once()
    fates = fates_by_offset(bench, columns)
    return [fates[offset] for offset in range(len(records))]


def test_a_new_field_gets_a_column_before_the_batch_is_written(bench: Bench) -> None:
    bench = made(bench)
    send(bench, [{"id": 1}, {"id": 2, "userName": "a"}, {"id": 3, "at": None}, {"id": 4, "n": 1}])
    report = bench.load()
    bench.assert_exactly_once()
    assert columns_of(bench) == {"id": "integer", "user_name": "text", "n": "bigint"}
    assert bench.query("SELECT id, user_name, n FROM {table} ORDER BY id") == [
        (1, None, None),
        (2, "a", None),
        (3, None, None),
        (4, None, 1),
    ]
    assert audit(bench) == [("add-columns", statement) for statement in report.changes]
    assert [statement.count("ADD COLUMN") for statement in report.changes] == [2]
    assert bench.load().changes == ()


def test_a_field_that_was_only_null_gets_its_column_when_it_has_a_value(bench: Bench) -> None:
    bench = made(bench)
    send(bench, [{"id": 1, "at": None}] * 300 + [{"id": 2, "at": "2026-01-01T00:00:00Z"}])
    bench.load()
    bench.assert_exactly_once()
    assert columns_of(bench) == {"id": "integer", "at": "timestamp with time zone"}


def test_a_field_that_the_first_record_lacks_is_not_lost(bench: Bench) -> None:
    bench.create_topic(1)
    send(bench, [{"id": 1}])
    bench.load()
    send(bench, [{"id": 2}, {"id": 3, "late": [1]}])
    bench.load()
    assert bench.query("SELECT id, late FROM {table} ORDER BY 1") == [
        (1, None),
        (2, None),
        (3, [1]),
    ]


def test_frozen_a_new_field_goes_to_the_rest_column(bench: Bench) -> None:
    bench = made(bench, "id integer, _rest jsonb", evolution=Evolution.FREEZE, rest="_rest")
    records = [
        {"id": 1},
        {"id": 2, "a": 0.10, "b": None},
        b'{"id": 3, "a": 1.10, "c": "\\u00e9\\t", "d\\"": {"x": [1]}}',
        {"id": 4, "b": "x"},
    ]
    assert land(bench, records, ["id", "_rest"]) == [
        {"id": "1"},
        {"id": "2", "_rest": '{"a": 0.1, "b": null}'},
        {"id": "3", "_rest": '{"a": 1.10, "c": "é\\t", "d\\"": {"x": [1]}}'},
        {"id": "4", "_rest": '{"b": "x"}'},
    ]
    assert columns_of(bench) == {"id": "integer", "_rest": "jsonb"}


def test_frozen_without_a_rest_column_new_fields_are_counted(bench: Bench) -> None:
    bench = made(bench, evolution=Evolution.FREEZE)
    send(bench, [{"id": 1, "a": 1}] * 300 + [{"id": 2, "b": 1}])
    assert bench.load().untaken_fields == 2
    assert columns_of(bench) == {"id": "integer"}


def test_strict_a_new_field_makes_a_dead_letter(bench: Bench) -> None:
    bench = made(bench, evolution=Evolution.STRICT)
    records = [{"id": 1}, {"id": 2, "newField": 1}, {"id": 3, "b": None}, {"id": 4}]
    assert land(bench, records, ["id"]) == [
        {"id": "1"},
        Dead("encode", "new_field", "new_field"),
        Dead("encode", "new_field", "b"),
        {"id": "4"},
    ]


def test_a_column_becomes_as_wide_as_its_values(bench: Bench) -> None:
    bench = made(bench, "id integer, n smallint", evolution=Evolution.WIDEN)
    steps = [("1", "smallint"), ("40000", "bigint"), ("0.5", "numeric"), ("1e40", "numeric")]
    for number, (literal, expected) in enumerate([*steps, ('"many"', "text"), ("[1]", "text")]):
        send(bench, [f'{{"id": {number}, "n": {literal}}}'.encode()])
        bench.load()
        assert columns_of(bench)["n"] == expected
    bench.assert_exactly_once()
    shown = ["1", "40000", "0.5", str(10**40), "many", "[1]"]
    assert [n for (n,) in bench.query("SELECT n FROM {table} ORDER BY id")] == shown
    assert [action for action, _ in audit(bench)] == ["alter-type"] * 3


def test_without_that_policy_a_value_that_does_not_fit_is_a_dead_letter(bench: Bench) -> None:
    bench = made(bench, "id integer, n integer")
    records = [{"id": 1, "n": 2**40}, {"id": 2, "n": 0.5}, {"id": 3, "n": 7}]
    assert land(bench, records, ["n"]) == [
        Dead("encode", "out_of_range", "n"),
        Dead("encode", "wrong_type", "n"),
        {"n": "7"},
    ]


def test_a_column_that_a_view_shows_is_not_widened_and_says_why(bench: Bench) -> None:
    bench = made(bench, "id integer", evolution=Evolution.WIDEN)
    schema = bench.stream.table.partition(".")[0]
    bench.query(f"CREATE VIEW {schema}.shown AS SELECT id FROM {{table}}")
    send(bench, [{"id": 1}, {"id": 2**40}])
    with pytest.raises(TargetError, match=r"TYPE bigint.*\(SQLSTATE 0A000\).*by hand"):
        bench.load()
    assert (bench.count(), bench.positions()) == (0, {0: 0})


def test_keys_that_are_data_stop_the_run_before_the_table_is_full(bench: Bench) -> None:
    bench = made(bench)
    send(bench, [{"id": 1}] + [{"id": 2, f"k{n}": 1} for n in range(MOST_ADDED + 1)])
    with pytest.raises(TargetError, match="are data used as names"):
        bench.load()
    assert (bench.count(), bench.positions()) == (0, {0: 0})
    assert len(columns_of(bench)) == 1


def test_thousands_of_names_land_in_the_rest_column(bench: Bench) -> None:
    bench = made(bench, "id integer, _rest jsonb", evolution=Evolution.FREEZE, rest="_rest")
    send(bench, [{"id": n, f"k{n}": n, "same": n} for n in range(3_000)])
    bench.load()
    bench.assert_exactly_once()
    lost = "SELECT count(*) FROM {table} WHERE _rest IS DISTINCT FROM"
    lost += " jsonb_build_object('same', id, 'k' || id, id)"
    assert bench.query(lost) == [(0,)]


# -- names ---------------------------------------------------------------------------------------


def test_spellings_of_one_name_share_a_column_but_not_in_one_record(bench: Bench) -> None:
    bench = made(bench, "user_id integer")
    records = [
        {"user_id": 1},
        {"userId": 2},
        {"UserID": 3},
        {"userId": 4, "user_id": 5},
        {"user-id": 6},
    ]
    assert land(bench, records, ["user_id"]) == [
        {"user_id": "1"},
        {"user_id": "2"},
        {"user_id": "3"},
        Dead("encode", "name_collision", "user_id"),
        {"user_id": "6"},
    ]
    assert columns_of(bench) == {"user_id": "integer"}


def test_an_existing_column_wins_over_the_name_that_a_new_one_would_get(bench: Bench) -> None:
    bench = made(bench, '"userId" integer, user_id integer')
    assert land(bench, [{"userId": 1, "user_id": 2}], ["userId", "user_id"]) == [
        {"userId": "1", "user_id": "2"}
    ]


@pytest.mark.parametrize("naming", Naming)
def test_a_new_field_that_differs_in_case_only_makes_a_dead_letter(
    bench: Bench, naming: Naming
) -> None:
    bench = made(bench, "id integer", naming=naming)
    records = [{"id": 1, "userId": "a"}, {"id": 2, "userId": "b", "userid": "c"}]
    first, second = land(bench, records, ["id"])
    assert first == {"id": "1"}
    assert isinstance(second, Dead)
    assert second[:2] == ("encode", "name_collision")


def test_collisions_in_the_sample_are_refused_before_a_table_is_made(bench: Bench) -> None:
    bench.create_topic(1)
    send(bench, [{"userId": 1}, {"userid": 2}])
    with pytest.raises(TargetError, match="'userId' and 'userid'"):
        bench.load()
    assert columns_of(bench) == {}
    assert bench.with_stream(drop=["userid"]).load().counts.rows == 2


def test_a_long_name_gets_the_same_column_in_every_run(bench: Bench) -> None:
    bench = made(bench)
    name = "x" * 80
    for number in range(3):
        send(bench, [{"id": number, name: number, name + "y": -number}])
        bench.load()
    first, second = list(columns_of(bench))[1:]
    assert (len(first), len(second), first == second) == (63, 63, False)
    assert bench.query(f"SELECT {first}, {second} FROM {{table}} ORDER BY id") == [
        (0, 0),
        (1, -1),
        (2, -2),
    ]


def test_a_field_that_no_column_can_have_the_name_of_is_left_out(bench: Bench) -> None:
    bench = made(bench, "id integer, twice integer GENERATED ALWAYS AS (id * 2) STORED")
    records = [{"id": 1, "twice": 7, "ctid": 1, "": 2, "kafka_offset": "x"}, {"id": 2}]
    assert land(bench, records, ["id", "twice"]) == [
        {"id": "1", "twice": "2"},
        {"id": "2", "twice": "4"},
    ]


# -- several loaders, and other sessions ----------------------------------------------------------


def test_four_loaders_that_see_a_new_field_alter_the_table_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.create_topic(4)
    bench.query(f"CREATE TABLE {{table}} (id integer, {ANY})")
    bench.produce([{"id": n} for n in range(400)], partition=lambda n: n % 4)
    bench.load()
    bench.produce([{"id": 400 + n, "newField": n} for n in range(400)], partition=lambda n: n % 4)
    lanes = iter(range(4))
    plan_partitions = load.plan_partitions
    of_thread: dict[int, int] = {}
    starting = threading.Barrier(4)

    def plan_a_lane(*arguments: Any, **named: Any) -> Any:
        lane = of_thread.setdefault(threading.get_ident(), next(lanes, 0))
        return tuple(p for p in plan_partitions(*arguments, **named) if p.partition == lane)

    monkeypatch.setattr(load, "plan_partitions", plan_a_lane)

    def run(_: int) -> tuple[str, ...]:
        starting.wait()
        return bench.load().changes

    with ThreadPoolExecutor(4) as threads:
        changes = list(threads.map(run, range(4)))
    assert sorted(map(len, changes)) == [0, 0, 0, 1]
    assert [action for action, _ in audit(bench)] == ["add-columns"]
    assert bench.query("SELECT count(*), count(new_field) FROM {table}") == [(800, 400)]
    bench.assert_exactly_once()


@pytest.mark.parametrize("constraint", ["", "PRIMARY KEY"], ids=["plain", "staged"])
def test_a_table_grows_while_the_batch_before_is_written(bench: Bench, constraint: str) -> None:
    bench = made(
        bench.with_postgres(lock_timeout_seconds=2.0),
        f"id integer {constraint}",
        batch=BatchSettings(max_rows=300),
    )
    send(bench, [{"id": n, f"f{n // 300}": n, "w": "x" * 500} for n in range(6_000)])
    report = bench.load()
    assert (report.batches, len(report.changes)) == (20, 20)
    names = [f"f{number}" for number in range(20)]
    assert list(columns_of(bench)) == ["id", "f0", "w", *names[1:]]
    assert bench.query(f"SELECT count(*) FROM {{table}} WHERE id = coalesce({', '.join(names)})")[
        0
    ] == (6_000,)
    bench.assert_exactly_once()


@contextmanager
def locked(bench: Bench) -> Iterator[int]:
    """Another session that keeps the table; its pid."""
    schema, _, table = bench.stream.table.partition(".")
    connection = connect(bench.endpoints.postgres)
    connection.autocommit = False
    try:
        with connection.cursor() as cursor:
            cursor.execute(f'LOCK TABLE {schema}."{table}" IN ACCESS SHARE MODE')
            cursor.execute("SELECT pg_backend_pid()")
            yield cursor.fetchone()[0]
    finally:
        connection.close()


def test_a_lock_in_the_way_of_a_new_column_is_named_by_its_holder(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "PATIENCE_SECONDS", 0.0)
    bench = made(bench.with_postgres(lock_timeout_seconds=0.3))
    send(bench, [{"id": 1, "a": 1}])
    with locked(bench) as pid, pytest.raises(ContentionError, match=rf"pid {pid}\b"):
        bench.load()
    assert (bench.count(), bench.positions()) == (0, {0: 0})
    assert bench.load().counts.rows == 1


def test_a_column_dropped_during_the_run_ends_it_and_moves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = made(bench, "id integer, gone integer")
    send(bench, [{"id": 1, "gone": 1}])
    ensure_target = load.ensure_target

    def ensure_and_drop(*arguments: Any, **named: Any) -> Any:
        target = ensure_target(*arguments, **named)
        bench.query("ALTER TABLE {table} DROP COLUMN gone")
        return target

    monkeypatch.setattr(load, "ensure_target", ensure_and_drop)
    with pytest.raises(TargetError, match=r"42703.*not what it was when the run started"):
        bench.load()
    assert (bench.count(), bench.positions()) == (0, {0: 0})


def test_a_not_null_column_that_no_field_fills_makes_dead_letters_that_name_it(
    bench: Bench,
) -> None:
    bench = made(bench, "id integer, needed integer NOT NULL")
    records = [{"id": 1, "needed": 1}, {"id": 2}, {"id": 3, "needed": None}]
    assert land(bench, records, ["id"]) == [
        {"id": "1"},
        Dead("encode", "missing_value", "needed"),
        Dead("encode", "missing_value", "needed"),
    ]


def test_a_partitioned_table_gets_the_column_in_all_its_partitions(bench: Bench) -> None:
    bench.create_topic(1)
    schema = bench.stream.table.partition(".")[0]
    bench.query(f"CREATE TABLE {{table}} (id integer, {ANY}) PARTITION BY RANGE (id)")
    for low in (0, 10):
        bench.query(
            f"CREATE TABLE {schema}.p{low} PARTITION OF {{table}} FOR VALUES FROM ({low})"
            f" TO ({low + 10})"
        )
    send(bench, [{"id": 1, "a": "x"}, {"id": 11, "a": "y"}])
    bench.load()
    assert bench.query(f"SELECT a FROM {schema}.p10") == [("y",)]
