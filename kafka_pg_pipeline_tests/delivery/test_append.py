"""Append loads on real servers: what lands, what is counted, what a second run does."""

from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer
from pydantic import SecretStr

from kafka_pg_pipeline.assembly.preview import preview_run
from kafka_pg_pipeline.domain.policies import Evolution
from kafka_pg_pipeline.domain.reports import Outcome
from kafka_pg_pipeline.errors import TargetError, TopicMissingError
from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.fix_streams import Bench, load_in


def events(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": number, "name": f"n{number}"} for number in range(first, first + count)]


def test_records_become_rows_of_an_inferred_table(bench: Bench) -> None:
    bench.create_topic()
    bench.produce([{"id": 1, "name": "a", "ok": True, "at": "2026-01-02T03:04:05Z", "n": 1.5}])
    report = bench.load()
    assert report.outcome is Outcome.END_OF_STREAM
    types = bench.query(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema || '.' || table_name = %s ORDER BY ordinal_position",
        bench.stream.table,
    )
    assert types == [
        ("id", "bigint"),
        ("name", "text"),
        ("ok", "boolean"),
        ("at", "timestamp with time zone"),
        ("n", "double precision"),
        ("kafka_partition", "integer"),
        ("kafka_offset", "bigint"),
    ]
    assert bench.query("SELECT id, name, ok, n, at::text FROM {table}") == [
        (1, "a", True, 1.5, "2026-01-02 03:04:05+00")
    ]


def test_a_second_run_loads_only_what_is_new(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(300))
    assert bench.load().counts.rows == 300
    assert bench.load().partitions == ()
    bench.produce(events(30, first=300))
    report = bench.load()
    assert (report.counts.rows, report.lag_before, report.lag_after) == (30, 30, 0)
    bench.assert_exactly_once()


def test_small_batches_cover_the_topic_without_a_seam(bench: Bench) -> None:
    bench = bench.with_stream(batch=BatchSettings(max_rows=70))
    bench.create_topic()
    bench.produce(events(1000))
    report = bench.load()
    assert report.batches >= 1000 // 70
    assert report.counts.rows == 1000
    bench.assert_exactly_once()


def test_a_byte_budget_ends_a_batch(bench: Bench) -> None:
    bench = bench.with_stream(batch=BatchSettings(max_bytes=500_000))
    bench.create_topic()
    bench.produce([{"id": n, "text": "x" * 20_000} for n in range(200)])
    report = bench.load()
    assert report.counts.rows == 200
    assert report.batches > 1
    bench.assert_exactly_once()


def test_max_records_stops_at_that_record_and_the_next_run_goes_on(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(100))
    report = bench.load(max_records=37)
    assert (report.counts.rows, report.outcome) == (37, Outcome.LIMIT_REACHED)
    assert bench.load().counts.rows == 63
    bench.assert_exactly_once()


def test_an_existing_table_keeps_its_types_defaults_and_generated_columns(bench: Bench) -> None:
    bench.query(
        """CREATE TABLE {table} (
            serial bigserial, id integer NOT NULL, amount numeric(20, 4), doc jsonb, tags text[],
            twice integer GENERATED ALWAYS AS (id * 2) STORED,
            note text DEFAULT 'none', made timestamptz DEFAULT '2001-01-01Z',
            kafka_partition integer, kafka_offset bigint)"""
    )
    bench.create_topic()
    bench.produce(
        [
            {"id": 1, "amount": "12.3400", "doc": {"a": [1, None]}, "tags": ["x", 'y"z', None]},
            {"id": 2, "amount": 7, "note": "said", "unknown": 1},
            {"id": 3, "note": None},
        ]
    )
    assert bench.load().counts.rows == 3
    rows = bench.query(
        "SELECT id, amount::text, doc, tags, twice, note, made::text FROM {table} ORDER BY id"
    )
    made = "2001-01-01 00:00:00+00"
    assert rows == [
        (1, "12.3400", {"a": [1, None]}, ["x", 'y"z', None], 2, "none", made),
        (2, "7.0000", None, None, 4, "said", made),
        (3, None, None, None, 6, None, made),
    ]
    bench.assert_exactly_once()


@pytest.mark.parametrize("kind", ["text", "numeric", "smallint"])
def test_a_table_that_keeps_offsets_as_another_type_is_verified_too(
    bench: Bench, kind: str
) -> None:
    bench.query(f"CREATE TABLE {{table}} (id int, kafka_partition {kind}, kafka_offset {kind})")
    bench.create_topic()
    bench.produce([*events(10), b"no document"])
    assert bench.load().counts.rows == 10
    assert bench.findings() == []
    bench.query("DELETE FROM {table} WHERE id = 3")
    assert len(bench.findings()) == 1


def test_an_empty_topic_is_a_success_and_creates_no_table(bench: Bench) -> None:
    bench.create_topic()
    report = bench.load()
    assert (report.outcome, report.partitions) == (Outcome.END_OF_STREAM, ())
    assert bench.query("SELECT to_regclass(%s)", bench.stream.table) == [(None,)]


def test_a_start_at_the_latest_offset_holds_from_the_first_run_on(bench: Bench) -> None:
    bench = bench.with_stream(start="latest")
    bench.create_topic()
    bench.produce(events(10))
    assert bench.load().partitions == ()
    bench.produce(events(5, first=10))
    assert bench.load().counts.rows == 5
    assert bench.findings() == []


def test_partitions_added_later_start_at_their_first_record(bench: Bench) -> None:
    """Case 11, its first half: start latest, 500 records in partitions not seen before."""
    bench = bench.with_stream(start="latest")
    bench.create_topic(partitions=3)
    bench.produce(events(30))
    bench.load()
    bench.add_partitions(6)
    bench.produce(events(500, first=30), partition=lambda index: 3 + index % 3)
    assert bench.load().counts.rows == 500
    assert sorted(bench.positions()) == [0, 1, 2, 3, 4, 5]
    assert bench.findings() == []


def test_a_missing_topic_is_named_and_nothing_is_created(bench: Bench) -> None:
    with pytest.raises(TopicMissingError, match=bench.stream.topic):
        bench.load()


def test_a_table_that_was_dropped_after_loads_stops_the_stream(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(3))
    bench.load()
    positions = bench.positions()
    bench.query("DROP TABLE {table}")
    bench.produce(events(3))
    with pytest.raises(TargetError, match="does not exist, though rows were loaded"):
        bench.load()
    assert bench.positions() == positions


def test_a_table_that_was_replaced_is_reported(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(3))
    bench.load()
    schema, _, name = bench.stream.table.partition(".")
    bench.query(f"CREATE TABLE {schema}.copy_of AS TABLE {{table}}")
    bench.query("DROP TABLE {table}")
    bench.query(f"ALTER TABLE {schema}.copy_of RENAME TO {name}")
    bench.produce(events(3))
    report = bench.load()
    assert report.counts.rows == 3
    assert "is not the one filled before" in report.warnings[0]
    assert bench.query("SELECT action FROM {schema}.audit ORDER BY id") == [
        ("create-table",),
        ("target-changed",),
    ]


def test_a_column_that_the_stream_names_and_the_table_lacks_is_named(bench: Bench) -> None:
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id bigint, kafka_partition integer)")
    bench.produce(events(1))
    with pytest.raises(TargetError, match="'kafka_offset'"):
        bench.load()
    assert bench.count() == 0


def test_a_column_dropped_between_plan_and_write_moves_nothing(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(5))
    bench.load()
    positions = bench.positions()
    bench.produce(events(5, first=5))
    with bench.session() as session:
        target = session.catalog.fetch_target()
        assert target is not None
        session.catalog.fetch_target = lambda: target  # type: ignore[method-assign]
        bench.query("ALTER TABLE {table} DROP COLUMN name")
        with pytest.raises(TargetError, match="is not what it was"):
            load_in(session)
    assert bench.positions() == positions
    assert bench.load().counts.rows == 5
    bench.assert_exactly_once()


def test_an_unlogged_table_is_refused_since_a_crash_would_empty_it(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(3))
    bench.query("CREATE UNLOGGED TABLE {table} (id bigint, kafka_partition int, kafka_offset int)")
    with pytest.raises(TargetError, match=r"ALTER TABLE .* SET LOGGED"):
        bench.load()
    bench.query("ALTER TABLE {table} SET LOGGED")
    assert bench.load().counts.rows == 3


def test_a_view_that_takes_the_tables_place_moves_nothing(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(5))
    bench.load()
    bench.produce(events(5, first=5))
    positions = bench.positions()
    with bench.session() as session:
        target = session.catalog.fetch_target()
        assert target is not None
        session.catalog.fetch_target = lambda: target  # type: ignore[method-assign]
        schema, _, name = bench.stream.table.partition(".")
        bench.query(f"ALTER TABLE {schema}.{name} RENAME TO other")
        bench.query(f"CREATE VIEW {schema}.{name} AS SELECT *, 1 AS more FROM {schema}.other")
        with pytest.raises(TargetError, match="is not what it was"):
            load_in(session)
    assert bench.positions() == positions


@pytest.mark.parametrize("where", ["value", "headers"])
def test_a_batch_of_large_records_keeps_to_its_bytes(bench: Bench, where: str) -> None:
    bench = bench.with_stream(batch=BatchSettings(max_bytes=1024 * 1024))
    bench.create_topic()
    filler = b"x" * 100_000
    producer = Producer({"bootstrap.servers": bench.bootstrap_servers, "compression.type": "lz4"})
    for number in range(200):
        value = b'{"id": %d, "filler": "%s"}' % (number, filler if where == "value" else b"")
        headers = [("filler", filler)] if where == "headers" else None
        producer.produce(bench.stream.topic, value, headers=headers, partition=0)
        producer.poll(0)
    assert producer.flush(60) == 0
    assert bench.load().counts.rows == 200
    [(largest, batches)] = bench.query("SELECT max(record_bytes), count(*) FROM {schema}.ledger")
    assert largest < 2 * 1024 * 1024
    assert batches >= 10
    bench.assert_exactly_once()


def test_a_role_whose_search_path_hides_the_stage_loads_all_the_same(bench: Bench) -> None:
    """A permanent table of the stage's name comes first in the role's search path."""
    schema = bench.stream.table.partition(".")[0]
    role = bench.name.replace("s_", "r_")
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id bigint PRIMARY KEY, kafka_partition int, kafka_offset int)"
    )
    bench.query(f"CREATE TABLE {schema}.kafka_pg_stage (LIKE {schema}.events)")
    bench.query(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'secret'")
    bench.query(f"ALTER ROLE {role} SET search_path = {schema}, pg_temp")
    try:
        limited = bench.with_postgres(user=role, password=SecretStr("secret"))
        for first in (0, 20):
            bench.produce(events(20, first=first))
            assert limited.load().counts.rows == 20
        assert bench.query(f"SELECT count(*) FROM {schema}.kafka_pg_stage") == [(0,)]
    finally:
        bench.query(f"DROP OWNED BY {role} CASCADE")
        bench.query(f"DROP ROLE {role}")


def test_a_renamed_stream_loads_nothing_a_second_time(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(9))
    bench.load()
    renamed = replace(bench, name=f"{bench.name}_renamed")
    with pytest.raises(TargetError, match=f"loaded as stream '{bench.name}'"):
        renamed.load()
    assert bench.count() == 9
    with renamed.session() as session, pytest.raises(TargetError):
        preview_run(session)


def test_a_topic_that_has_nothing_in_common_with_its_table_is_refused(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(9))
    bench.query("CREATE TABLE {table} (other int, kafka_partition int, kafka_offset bigint)")
    with pytest.raises(TargetError, match="do not belong together"):
        bench.load()
    assert bench.count() == 0
    bench.query("ALTER TABLE {table} ADD id bigint")
    report = bench.with_stream(evolution=Evolution.FREEZE).load()
    assert (report.counts.rows, report.untaken_fields) == (9, 1)


def test_a_missing_schema_is_named(bench: Bench) -> None:
    bench = bench.with_stream(table=f"no_{bench.name}.events")
    bench.create_topic()
    bench.produce(events(3))
    with pytest.raises(TargetError, match="there is no schema 'no_"):
        bench.load()
