"""From records to rows as the file says it: sources, selection, nesting, transforms, bad text."""

import sys
from types import ModuleType
from typing import Any

import pytest

from kafka_pg_pipeline.domain.policies import Evolution, InvalidText
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.models import ColumnSettings
from kafka_pg_pipeline_tests.content.landing import Dead, fates_by_offset, one_partition
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_streams import Bench


def with_columns(bench: Bench, columns: dict[str, Any], **changes: Any) -> Bench:
    sections = {name: ColumnSettings.model_validate(given) for name, given in columns.items()}
    return bench.with_stream(columns=sections, **changes)


def land(bench: Bench, records: list[Any]) -> list[tuple[Any, ...]]:
    bench.create_topic(1)
    bench.produce(records, partition=one_partition)
    bench.load()
    return bench.query("SELECT * FROM {table} ORDER BY kafka_offset")


def names_of(bench: Bench) -> list[str]:
    schema, _, table = bench.stream.table.partition(".")
    found = bench.query(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
        schema,
        table,
    )
    return [name for (name,) in found]


def test_columns_come_from_fields_headers_and_constants(bench: Bench) -> None:
    bench = with_columns(
        bench,
        {
            "customer": {"field": "custNo", "type": "integer"},
            "paid_at": {"field": "ts", "type": "timestamptz", "unit": "s"},
            "trace": {"header": "trace-id", "type": "uuid"},
            "source": {"constant": "shop"},
        },
    )
    trace = "0c2d1d1e-9f5a-4a6e-8a53-6f6f6b8f2f11"
    record = FakeRecord(
        b'{"custNo": 7, "ts": 1700000000, "totalEur": 1.5}',
        headers=(("trace-id", trace.encode()),),
    )
    ((customer, paid_at, total, shown, source, *_),) = land(bench, [record])
    assert names_of(bench)[:5] == ["customer", "paid_at", "total_eur", "trace", "source"]
    assert (customer, total, shown, source) == (7, 1.5, trace, "shop")
    assert paid_at.timestamp() == 1_700_000_000
    bench.assert_exactly_once()


def test_select_leaves_the_others_to_the_rest_column_and_drop_leaves_nothing(
    bench: Bench,
) -> None:
    bench = bench.with_stream(select=["id", "userName"], drop=["secret"], rest="_rest")
    record = {"id": 1, "userName": "a", "more": [1, {"x": None}], "secret": "s"}
    assert land(bench, [record, {"id": 2}]) == [
        (1, "a", {"more": [1, {"x": None}]}, 0, 0),
        (2, None, None, 0, 1),
    ]
    assert names_of(bench)[:3] == ["id", "user_name", "_rest"]
    bench.assert_exactly_once()


def test_a_dropped_field_does_not_fill_the_column_of_its_name(bench: Bench) -> None:
    bench = bench.with_stream(drop=["state"])
    bench.query(
        "CREATE TABLE {table} (id integer, state text DEFAULT 'new',"
        " kafka_partition int, kafka_offset bigint)"
    )
    assert land(bench, [{"id": 1, "state": "old"}]) == [(1, "new", 0, 0)]


def test_nested_objects_become_columns_and_new_ones_are_added(bench: Bench) -> None:
    bench = bench.with_stream(nested="flatten")
    land(bench, [{"id": 1, "shipTo": {"city": "Oslo", "geo": {"lat": 59.9}}, "tags": [1]}])
    assert names_of(bench)[:4] == ["id", "ship_to_city", "ship_to_geo_lat", "tags"]
    bench.produce([{"id": 2, "shipTo": {"zip": "0150"}}], partition=one_partition)
    bench.load()
    assert bench.query("SELECT ship_to_city, ship_to_geo_lat, ship_to_zip FROM {table}") == [
        ("Oslo", 59.9, None),
        (None, None, "0150"),
    ]
    bench.assert_exactly_once()


@pytest.mark.parametrize(
    ("policy", "fate"),
    [
        (InvalidText.DEAD_LETTER, None),
        (InvalidText.STRIP, {"t": "ab", "j": '{"k": "x"}'}),
        (InvalidText.REPLACE, {"t": "a\ufffdb", "j": '{"k\ufffd": "x\ufffd"}'}),
    ],
)
@pytest.mark.parametrize("constraint", ["", "PRIMARY KEY"], ids=["plain", "staged"])
def test_awkward_text_meets_text_and_jsonb_alike(
    bench: Bench, policy: InvalidText, fate: Any, constraint: str
) -> None:
    bench = bench.with_stream(invalid_text=policy)
    bench.create_topic(1)
    bench.query(
        f"CREATE TABLE {{table}} (id int {constraint}, t text, j jsonb,"
        " kafka_partition int, kafka_offset bigint)"
    )
    records = [
        rb'{"id": 1, "t": "a\u0000b", "j": {"k": "x"}}',
        rb'{"id": 2, "t": "ab", "j": {"k\ud800": "x\udfff"}}',
        rb'{"id": 3, "t": "\\u0000"}',
    ]
    bench.produce(records, partition=one_partition)
    bench.load()
    bench.assert_exactly_once()
    fates = fates_by_offset(bench, ["t", "j"])
    if fate is None:
        assert fates[0] == Dead("encode", "nul_character", "t")
        assert fates[1] in (
            Dead("encode", "lone_surrogate", "j"),
            Dead("decode", "lone_surrogate", None),
        )
    else:
        assert fates[0] == {"t": fate["t"], "j": '{"k": "x"}'}
        assert fates[1] == {"t": "ab", "j": fate["j"]}
    assert fates[2] == {"t": r"\u0000"}


def test_a_transform_makes_rows_leaves_records_out_and_fails_for_one_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("shop_rows")

    def to_row(fields: dict[str, Any], record: Any) -> dict[str, Any] | None:
        if fields["id"] == 3:
            return None
        return {"id": fields["id"], "share": 1 / (4 - fields["id"]), "at": record.offset}

    module.to_row = to_row  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_rows", module)
    bench = bench.with_stream(transform="shop_rows:to_row")
    assert land(bench, [{"id": 2}, {"id": 3}, {"id": 4}, {"name": "x"}]) == [(2, 0.5, 0, 0, 0)]
    counts = bench.query("SELECT rows, filtered, dead, absent FROM {schema}.ledger")
    assert counts == [(1, 1, 2, 0)]
    reasons = bench.query("SELECT stage, reason FROM {schema}.dead_letter")
    assert reasons == [("decode", "transform_failed")] * 2
    assert bench.findings() == []


def test_a_transform_that_is_missing_stops_the_run_before_anything_is_read(bench: Bench) -> None:
    bench = bench.with_stream(transform="no_such_module:f")
    bench.create_topic(1)
    bench.produce([{"id": 1}], partition=one_partition)
    with pytest.raises(ConfigurationError, match="no_such_module"):
        bench.load()
    assert bench.positions() == {}


def test_an_upsert_finds_its_key_under_another_spelling(bench: Bench) -> None:
    bench = bench.with_stream(mode="upsert", key=["user_id"], evolution=Evolution.ADD)
    bench.create_topic(1)
    records = [
        FakeRecord(b'{"userId": 1, "v": "a"}', key=b"1"),
        FakeRecord(b'{"userId": 2, "v": "b"}', key=b"2"),
        FakeRecord(b'{"userId": 1, "newField": "c"}', key=b"1"),
        FakeRecord(None, key=b"2"),
    ]
    bench.produce(records, partition=one_partition)
    bench.load()
    assert bench.query("SELECT user_id, v, new_field FROM {table}") == [(1, None, "c")]
    assert bench.findings() == []


def test_generated_and_identity_columns_are_left_alone_and_defaults_kept(bench: Bench) -> None:
    bench.query(
        "CREATE TABLE {table} (id bigint GENERATED ALWAYS AS IDENTITY, n integer,"
        " twice integer GENERATED ALWAYS AS (n * 2) STORED,"
        " serial bigint GENERATED BY DEFAULT AS IDENTITY (START 100),"
        " state text DEFAULT 'new', kafka_partition int, kafka_offset bigint)"
    )
    records = [{"id": 9, "n": 1, "twice": 9}, {"n": 2, "serial": 7, "state": None}]
    assert land(bench, records) == [(1, 1, 2, 100, "new", 0, 0), (2, 2, 4, 7, None, 0, 1)]
