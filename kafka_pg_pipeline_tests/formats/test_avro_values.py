"""Any value of any of Avro's types becomes its JSON, and what is broken a verdict."""

import json
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_pg_pipeline.adapters.schema_registry import HttpSchemaRegistry
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.formats.avro import AvroFileDecoder
from kafka_pg_pipeline.formats.debezium import DebeziumDecoder
from kafka_pg_pipeline.settings.models import SchemaRegistrySettings
from kafka_pg_pipeline_tests.fix_registry import RegistryServer
from kafka_pg_pipeline_tests.formats.avro_data import Sample, read_json, samples, write_avro

NODE = {
    "type": "record",
    "name": "shop.Node",
    "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "next", "type": ["null", "Node"], "default": None},
    ],
}
ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
        },
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}


def read_with(schema: Any) -> AvroFileDecoder:
    return AvroFileDecoder(json.dumps(schema))


def attribute(base: str, logical: str, **more: Any) -> dict[str, Any]:
    return {"type": base, "logicalType": logical, **more}


def record(*fields: tuple[str, Any]) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "R",
        "fields": [{"name": name, "type": schema} for name, schema in fields],
    }


def reason_of(decoder: AvroFileDecoder, data: bytes) -> Reason:
    with pytest.raises(Rejected) as verdict:
        decoder.decode(data)
    assert verdict.value.stage is Stage.DECODE
    assert verdict.value.__cause__ is None
    return verdict.value.reason


# -- values ---------------------------------------------------------------------------------------


@given(sample=samples())
@settings(max_examples=300, deadline=None)
def test_any_value_of_any_type_becomes_its_json(sample: Sample) -> None:
    data = write_avro(sample.schema, sample.value)
    assert read_json(read_with(sample.schema).decode(data).document) == sample.document


@pytest.mark.parametrize(
    ("logical", "count", "text"),
    [
        ("timestamp-millis", 253_402_300_800_000, "10000-01-01 00:00:00.000+00"),
        ("timestamp-millis", -62_135_596_800_001, "0001-12-31 23:59:59.999+00 BC"),
        ("timestamp-micros", -210_866_803_200_000_000, "4714-11-24 00:00:00.000+00 BC"),
        ("timestamp-micros", 9_223_372_036_854_775_807, "294247-01-10 04:00:54.775807+00"),
        ("timestamp-nanos", 1, "1970-01-01 00:00:00.000000001+00"),
        ("local-timestamp-millis", 253_402_300_800_000, "10000-01-01 00:00:00.000"),
        ("local-timestamp-micros", -62_135_596_800_000_001, "0001-12-31 23:59:59.999999 BC"),
        ("local-timestamp-nanos", -1, "1969-12-31 23:59:59.999999999"),
    ],
)
def test_moments_reach_as_far_as_postgresqls(logical: str, count: int, text: str) -> None:
    decoder = read_with(attribute("long", logical))
    assert read_json(decoder.decode(write_avro("long", count)).document) == text


def test_a_moment_beyond_postgresqls_is_out_of_range() -> None:
    decoder = read_with(attribute("long", "timestamp-millis"))
    assert reason_of(decoder, write_avro("long", 2**62)) is Reason.OUT_OF_RANGE


def test_a_decimal_keeps_all_its_digits() -> None:
    schema = attribute("bytes", "decimal", precision=6000, scale=3)
    data = (10**5000 + 1).to_bytes(2100, "big")
    decoded = read_with(schema).decode(write_avro("bytes", data)).document
    assert decoded == b"1" + b"0" * 4997 + b".001"


@pytest.mark.parametrize(
    ("schema", "value", "document"),
    [
        (attribute("string", "decimal"), "1.5", "1.5"),
        (attribute("long", "unheard-of"), 7, "7"),
        ({"type": "fixed", "name": "F", "size": 3, "logicalType": "uuid"}, b"abc", "\\x616263"),
    ],
)
def test_a_logical_type_that_does_not_fit_is_ignored(
    schema: Any, value: Any, document: Any
) -> None:
    plain = {key: item for key, item in schema.items() if key != "logicalType"}
    decoded = read_with(schema).decode(write_avro(plain, value))
    assert read_json(decoded.document) == document


def test_a_union_of_records_shows_no_record_names() -> None:
    left = {"type": "record", "name": "a.Left", "fields": [{"name": "l", "type": "int"}]}
    right = {"type": "record", "name": "a.Right", "fields": [{"name": "r", "type": "bytes"}]}
    schema = record(("one", [left, right]), ("again", ["null", "a.Right"]))
    value = {"one": ("a.Right", {"r": b"\1"}), "again": {"r": b""}}
    decoded = read_with(schema).decode(write_avro(schema, value))
    assert read_json(decoded.document) == {"one": {"r": "\\x01"}, "again": {"r": "\\x"}}


def test_a_recursive_record_becomes_nested_objects() -> None:
    value = {"at": 0, "next": {"at": 1, "next": None}}
    decoded = read_with(NODE).decode(write_avro(NODE, value))
    assert read_json(decoded.document) == {
        "at": "1970-01-01 00:00:00.000+00",
        "next": {"at": "1970-01-01 00:00:00.000001+00", "next": None},
    }


@pytest.mark.parametrize("depth", [10_000, 300_000])
def test_a_record_nested_too_deeply_is_rejected_and_kills_nothing(depth: int) -> None:
    data = b"\x00\x02" * depth + b"\x00\x00"
    assert reason_of(read_with(NODE), data) is Reason.TOO_DEEP


def test_defaults_that_are_not_of_their_type_do_not_matter() -> None:
    schema = record(("n", "int"))
    schema["fields"][0]["default"] = "none"
    decoded = read_with(schema).decode(write_avro(record(("n", "int")), {"n": 1}))
    assert decoded.document == b'{"n":1}'


# -- broken bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("recursive", [False, True])
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_broken_bytes_are_rejected_or_read(data: st.DataObject, recursive: bool) -> None:
    schema = record(
        ("s", "string"),
        ("b", ["null", "bytes"]),
        ("a", {"type": "array", "items": "double"}),
        ("m", {"type": "map", "values": "long"}),
        ("e", {"type": "enum", "name": "E", "symbols": ["A"]}),
        ("d", attribute("int", "date")),
        *([("r", ["null", "R"])] if recursive else []),
    )
    value = {"s": "abc", "b": b"xyz", "a": [1.0], "m": {"k": 1}, "e": "A", "d": 1, "r": None}
    broken = bytearray(write_avro(schema, value))
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(broken)))
    with suppress(Rejected):
        read_json(read_with(schema).decode(bytes(broken[:end])).document)


def test_missing_and_left_over_bytes_are_undecodable() -> None:
    data = write_avro(record(("s", "string"), ("n", "long")), {"s": "abc", "n": 300})
    decoder = read_with(record(("s", "string"), ("n", "long")))
    for broken in (data[:-1], data[:3], b"", data + b"\0"):
        assert reason_of(decoder, broken) is Reason.UNDECODABLE


def test_a_string_that_is_not_utf_8_is_told_apart() -> None:
    assert reason_of(read_with("string"), b"\x02\xff") is Reason.INVALID_UTF8


# -- what Kafka Connect names ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "schema", "value", "document"),
    [
        ("io.debezium.time.MicroTimestamp", "long", 1, "1970-01-01 00:00:00.000001"),
        ("io.debezium.time.Date", "int", 1, "1970-01-02"),
        ("io.debezium.data.Json", "string", '{"a": 1.50}', {"a": "1.50"}),
        ("io.debezium.time.Unheard", "long", 1, "1"),
    ],
)
def test_connects_names_say_how_a_value_is_read(
    name: str, schema: str, value: Any, document: Any
) -> None:
    named = ["null", {"type": schema, "connect.version": 1, "connect.name": name}]
    decoded = read_with(record(("v", named))).decode(b"\x02" + write_avro(schema, value))
    assert read_json(decoded.document) == {"v": document}


def test_a_struct_that_connect_names_is_read_whole() -> None:
    variable = {
        "type": "record",
        "name": "VariableScaleDecimal",
        "namespace": "io.debezium.data",
        "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
        "connect.name": "io.debezium.data.VariableScaleDecimal",
    }
    schema = record(("a", variable), ("b", ["null", "io.debezium.data.VariableScaleDecimal"]))
    value = {"a": {"scale": 2, "value": b"\x01\x00"}, "b": {"scale": 0, "value": b"\xff"}}
    decoder = read_with(schema)
    assert decoder.decode(write_avro(schema, value)).document == b'{"a":2.56,"b":-1}'
    assert decoder.column_types(b"") == {"a": "numeric", "b": "numeric"}


def test_a_struct_without_what_its_name_promises_is_undecodable() -> None:
    geometry = {
        "type": "record",
        "name": "Geometry",
        "connect.name": "io.debezium.data.geometry.Geometry",
        "fields": [{"name": "wkb", "type": ["null", "bytes"]}],
    }
    assert reason_of(read_with(geometry), b"\x00") is Reason.UNDECODABLE


def test_a_value_that_is_not_of_its_name_is_undecodable() -> None:
    schema = {"type": "string", "connect.name": "io.debezium.time.Date"}
    assert reason_of(read_with(schema), write_avro("string", "x")) is Reason.UNDECODABLE


# -- columns --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "type_name"),
    [
        ("int", "integer"),
        ("long", "bigint"),
        ("float", "real"),
        ("double", "double precision"),
        ("boolean", "boolean"),
        ("string", "text"),
        ("bytes", "bytea"),
        ({"type": "fixed", "name": "F", "size": 4}, "bytea"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "text"),
        ({"type": "array", "items": "int"}, "jsonb"),
        ({"type": "map", "values": "int"}, "jsonb"),
        (attribute("bytes", "decimal", precision=9, scale=2), "numeric(9,2)"),
        (attribute("bytes", "decimal", precision=9), "numeric(9,0)"),
        (attribute("int", "date"), "date"),
        (attribute("int", "time-millis"), "time without time zone"),
        (attribute("long", "timestamp-nanos"), "timestamp with time zone"),
        (attribute("long", "local-timestamp-micros"), "timestamp without time zone"),
        (attribute("string", "uuid"), "uuid"),
        (
            {"type": "long", "connect.name": "io.debezium.time.Timestamp"},
            "timestamp without time zone",
        ),
        (["null", "long"], "bigint"),
        ([attribute("int", "date"), "null"], "date"),
    ],
)
def test_a_field_has_a_column_type(schema: Any, type_name: str) -> None:
    columns: Mapping[str, str] = read_with(record(("f", schema))).column_types(b"")
    assert columns == {"f": type_name}


def test_what_is_no_record_has_no_columns() -> None:
    assert read_with("long").column_types(b"") == {}


def test_a_field_whose_type_stands_elsewhere_has_its_column_type() -> None:
    price = {**attribute("fixed", "decimal", precision=9, scale=2), "name": "Price", "size": 8}
    schema = record(("old", price), ("new", ["null", "Price"]))
    assert read_with(schema).column_types(b"") == {"old": "numeric(9,2)", "new": "numeric(9,2)"}


def test_a_debezium_row_tells_its_types_where_before_and_after_share_one(
    registry: RegistryServer,
) -> None:
    row = {
        "type": "record",
        "name": "Value",
        "fields": [{"name": "id", "type": "int"}, {"name": "note", "type": ["null", "string"]}],
    }
    envelope = {
        "type": "record",
        "name": "Envelope",
        "namespace": "shop.public.orders",
        "fields": [
            {"name": "before", "type": ["null", row]},
            {"name": "after", "type": ["null", "Value"]},
            {"name": "op", "type": "string"},
        ],
    }
    schema_id = registry.register("orders-value", json.dumps(envelope))
    event = {"before": None, "after": {"id": 7, "note": None}, "op": "c"}
    data = b"\0" + schema_id.to_bytes(4, "big") + write_avro(envelope, event)
    with closing(HttpSchemaRegistry(SchemaRegistrySettings(url=registry.url))) as client:
        decoder = DebeziumDecoder(client)
        assert decoder.decode(data).document == b'{"id":7,"note":null}'
        assert decoder.column_types(data) == {"id": "integer", "note": "text"}
