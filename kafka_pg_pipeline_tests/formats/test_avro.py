"""Avro to documents: each type exactly, in the wire format and from a file."""

import io
import json
import math
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_pg_pipeline.adapters.schema_registry import HttpSchemaRegistry
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.formats.avro import AvroDecoder, AvroFileDecoder
from kafka_pg_pipeline.settings.models import SchemaRegistrySettings
from kafka_pg_pipeline_tests.fix_registry import RegistryServer

VALUE = SerializationContext("shop.orders", MessageField.VALUE)


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


def fixed(name: str, size: int, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size, **more}


def decode(kind: Any, datum: Any) -> str:
    """The JSON text of a datum, written by fastavro with the plain type."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "v", "type": kind}]}
    data = io.BytesIO()
    fastavro.schemaless_writer(data, fastavro.parse_schema(without_logical(schema)), {"v": datum})
    document = AvroFileDecoder(json.dumps(schema)).decode(data.getvalue()).document or b""
    assert document.startswith(b'{"v":')
    return document[5:-1].decode()


def without_logical(schema: Any) -> Any:
    """The schema with plain types alone, so that any number can be written."""
    if isinstance(schema, list):
        return [without_logical(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {k: v for k, v in schema.items() if k != "logicalType"}
    return {k: v if k == "symbols" else without_logical(v) for k, v in kept.items()}


BILLION = 10**9
CASES = [
    ("null", None, "null"),
    ("boolean", True, "true"),
    ("int", -(2**31), "-2147483648"),
    ("long", 2**63 - 1, "9223372036854775807"),
    ("double", 0.1, "0.1"),
    ("double", 1e300, "1e300"),
    ("double", math.nan, '"NaN"'),
    ("double", -math.inf, '"-Infinity"'),
    ("float", math.inf, '"Infinity"'),
    ("float", 0.5, "0.5"),
    ("bytes", b"\x00\xff", r'"\\x00ff"'),
    ("bytes", b"", r'"\\x"'),
    ("string", 'ü"\n', r'"ü\"\n"'),
    (fixed("F", 3), b"abc", r'"\\x616263"'),
    ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", '"B"'),
    ({"type": "array", "items": "bytes"}, [b"a", b""], r'["\\x61","\\x"]'),
    ({"type": "map", "values": "long"}, {"k": 1}, '{"k":1}'),
    (["null", "long", "string"], "x", '"x"'),
    (["null", "long", "string"], None, "null"),
    (
        {"type": "record", "name": "N", "fields": [{"name": "x", "type": ["null", "bytes"]}]},
        {"x": b"\x01"},
        r'{"x":"\\x01"}',
    ),
    (logical("bytes", "decimal", precision=4, scale=2), b"\x04\xd2", "12.34"),
    (logical("bytes", "decimal", precision=4, scale=2), b"\xff", "-0.01"),
    (logical("bytes", "decimal", precision=40), (10**39).to_bytes(17, "big"), "1" + "0" * 39),
    (fixed("D", 4, logicalType="decimal", precision=9, scale=3), b"\x00\x00\x00\x01", "0.001"),
    (logical("int", "date"), 0, '"1970-01-01"'),
    (logical("int", "date"), -719_163, '"0001-12-31 BC"'),
    (logical("int", "date"), 2_932_897, '"10000-01-01"'),
    (logical("int", "time-millis"), 86_399_999, '"23:59:59.999"'),
    (logical("long", "time-micros"), 1, '"00:00:00.000001"'),
    (logical("long", "timestamp-millis"), 1_700_000_000_123, '"2023-11-14 22:13:20.123+00"'),
    (logical("long", "timestamp-micros"), -1, '"1969-12-31 23:59:59.999999+00"'),
    (logical("long", "timestamp-micros"), 253_402_300_800_000_000, '"10000-01-01 00:00:00.000+00"'),
    (logical("long", "timestamp-nanos"), 1, '"1970-01-01 00:00:00.000000001+00"'),
    (logical("long", "timestamp-nanos"), BILLION + 1000, '"1970-01-01 00:00:01.000001+00"'),
    (logical("long", "local-timestamp-millis"), 0, '"1970-01-01 00:00:00.000"'),
    (logical("long", "local-timestamp-micros"), 0, '"1970-01-01 00:00:00.000"'),
    (logical("string", "uuid"), str(UUID(int=1)), '"00000000-0000-0000-0000-000000000001"'),
    (
        fixed("U", 16, logicalType="uuid"),
        UUID(int=1).bytes,
        '"00000000-0000-0000-0000-000000000001"',
    ),
    (
        fixed("T", 12, logicalType="duration"),
        b"\x01\0\0\0\x02\0\0\0\x03\0\0\0",
        '"1 months 2 days 3 milliseconds"',
    ),
    (
        {"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"},
        1_700_000_000_123_456,
        '"2023-11-14 22:13:20.123456"',
    ),
    (
        {"type": "string", "connect.name": "io.debezium.data.Json"},
        '{"a": 1.10}',
        '{"a": 1.10}',
    ),
]


@pytest.mark.parametrize(("kind", "datum", "text"), CASES, ids=repr)
def test_each_type_becomes_what_postgresql_reads(kind: Any, datum: Any, text: str) -> None:
    assert decode(kind, datum) == text


@given(st.integers(-(2**127), 2**127 - 1), st.integers(0, 30))
def test_every_digit_of_a_decimal_is_kept(unscaled: int, scale: int) -> None:
    kind = logical("bytes", "decimal", precision=40, scale=scale)
    text = decode(kind, unscaled.to_bytes(16, "big", signed=True))
    digits = tuple(map(int, str(abs(unscaled))))
    assert Decimal(text).as_tuple() == (int(unscaled < 0), digits, -scale)


@given(st.datetimes(timezones=st.just(timezone.utc)))
def test_moments_are_those_of_the_calendar(moment: datetime) -> None:
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)
    text = json.loads(decode(logical("long", "timestamp-micros"), microseconds))
    assert datetime.fromisoformat(text.replace("+00", "+00:00")) == moment


@given(st.dates())
def test_dates_are_those_of_the_calendar(day: date) -> None:
    text = decode(logical("int", "date"), (day - date(1970, 1, 1)).days)
    assert json.loads(text) == day.isoformat()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TREE = {
    "type": "record",
    "name": "Tree",
    "fields": [
        {
            "name": "v",
            "type": [
                "null",
                "boolean",
                "long",
                "string",
                {"type": "array", "items": "Tree"},
                {"type": "map", "values": "Tree"},
            ],
        }
    ],
}


def plant(value: Any) -> Any:
    if isinstance(value, list):
        return {"v": [plant(item) for item in value]}
    if isinstance(value, dict):
        return {"v": {key: plant(item) for key, item in value.items()}}
    return {"v": value}


@given(PLAIN)
@settings(max_examples=200)
def test_a_schema_that_holds_itself_is_read_whatever_it_holds(value: Any) -> None:
    data = io.BytesIO()
    fastavro.schemaless_writer(data, fastavro.parse_schema(TREE), plant(value))
    document = AvroFileDecoder(json.dumps(TREE)).decode(data.getvalue()).document or b""
    assert json.loads(document) == plant(value)


SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "price", "type": logical("bytes", "decimal", precision=12, scale=2)},
            {"name": "at", "type": logical("long", "timestamp-millis")},
            {"name": "note", "type": ["null", "string"], "default": None},
        ],
    }
)
ORDER = {
    "id": 7,
    "price": Decimal("9.90"),
    "at": datetime(2026, 1, 31, 12, tzinfo=timezone.utc),
    "note": None,
}
DOCUMENT = b'{"id":7,"price":9.90,"at":"2026-01-31 12:00:00.000+00","note":null}'


def decoder_for(registry: RegistryServer) -> AvroDecoder:
    return AvroDecoder(HttpSchemaRegistry(SchemaRegistrySettings(url=registry.url)))


def serialize(registry: RegistryServer, schema: str, datum: Any) -> bytes:
    serializer = AvroSerializer(SchemaRegistryClient({"url": registry.url}), schema)
    data = serializer(datum, VALUE)
    assert data is not None
    return data


def test_what_confluents_serializer_writes_is_read(registry: RegistryServer) -> None:
    data = serialize(registry, SCHEMA, ORDER)
    decoder = decoder_for(registry)
    assert decoder.decode(data).document == DOCUMENT
    assert decoder.decode(data).document == DOCUMENT
    assert decoder.column_types(data) == {
        "id": "bigint",
        "price": "numeric(12,2)",
        "at": "timestamp with time zone",
        "note": "text",
    }


def test_a_schema_may_refer_to_others(registry: RegistryServer) -> None:
    registry.register("item", '{"type": "record", "name": "Item", "fields": []}')
    schema_id = registry.register(
        "order",
        '{"type": "record", "name": "Order", "fields": [{"name": "item", "type": "Item"}]}',
        references=[{"name": "Item", "subject": "item", "version": 1}],
    )
    data = b"\0" + schema_id.to_bytes(4, "big")
    assert decoder_for(registry).decode(data).document == b'{"item":{}}'


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: b"\1" + data[1:], Reason.NO_SCHEMA_ID),
        (lambda _: b"", Reason.NO_SCHEMA_ID),
        (lambda _: b"{}", Reason.NO_SCHEMA_ID),
        (lambda data: b"\0\0\0\0\x63" + data[5:], Reason.UNKNOWN_SCHEMA),
        (lambda data: data[:-1], Reason.UNDECODABLE),
        (lambda data: data + b"\0", Reason.UNDECODABLE),
        (lambda data: data[:5], Reason.UNDECODABLE),
        (lambda data: data[:5] + b"\xff" * 20, Reason.UNDECODABLE),
        (lambda data: data[:-1] + b"\x02\x04\xff\xfe", Reason.INVALID_UTF8),
    ],
)
def test_bytes_that_are_no_such_record_are_rejected(
    registry: RegistryServer, spoil: Any, reason: Reason
) -> None:
    data = serialize(registry, SCHEMA, ORDER)
    with pytest.raises(Rejected) as verdict:
        decoder_for(registry).decode(spoil(data))
    assert verdict.value.reason is reason


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_rejected(data: bytes) -> None:
    decoder = AvroFileDecoder(SCHEMA)
    try:
        document = decoder.decode(data).document or b""
    except Rejected:
        return
    assert json.loads(document).keys() == {"id", "price", "at", "note"}
