"""Each format through the whole loader: rows of the right types, dead letters, outages, keys."""

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from kafka_pg_pipeline.adapters import schema_registry
from kafka_pg_pipeline.domain.batches import BatchCounts
from kafka_pg_pipeline.domain.schemas import RegisteredSchema
from kafka_pg_pipeline.errors import ConfigurationError, RegistryUnavailableError
from kafka_pg_pipeline.formats.protobuf import ProtoCompiler
from kafka_pg_pipeline.pipeline import load
from kafka_pg_pipeline.settings.models import BatchSettings, SchemaRegistrySettings
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_registry import RegistryServer
from kafka_pg_pipeline_tests.fix_streams import Bench

VALUE = SerializationContext("orders", MessageField.VALUE)
AT = datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=timezone.utc)
MILLISECONDS = 1_769_860_800_123
AVRO = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "id", "type": "long"},
            {
                "name": "price",
                "type": {"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 2},
            },
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "token", "type": "bytes"},
            {"name": "note", "type": ["null", "string"]},
        ],
    }
)
PROTO = """
syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Order {
  int64 id = 1; string price = 2; google.protobuf.Timestamp at = 3; bytes token = 4;
  optional string note = 5;
}
"""
JSON_SCHEMA = json.dumps({"title": "Order", "type": "object"})
CONNECT_FIELDS = [
    {"field": "id", "type": "int64"},
    {
        "field": "price",
        "type": "bytes",
        "name": "org.apache.kafka.connect.data.Decimal",
        "parameters": {"scale": "2", "connect.decimal.precision": "40"},
    },
    {"field": "at", "type": "int64", "name": "org.apache.kafka.connect.data.Timestamp"},
    {"field": "token", "type": "bytes"},
    {"field": "note", "type": "string", "optional": True},
]


@dataclass(frozen=True)
class Format:
    """How a format writes an order, and breaks one."""

    name: str
    write: Callable[[RegistryServer, int, str, str | None], bytes]
    broken: bytes


def _avro(registry: RegistryServer, number: int, price: str, note: str | None) -> bytes:
    serialize = AvroSerializer(SchemaRegistryClient({"url": registry.url}), AVRO)
    order = {"id": number, "price": Decimal(price), "at": AT, "token": b"\0\xff", "note": note}
    return serialize(order, VALUE) or b""


def _protobuf(registry: RegistryServer, number: int, price: str, note: str | None) -> bytes:
    schema_id = registry.register("orders-value", PROTO, "PROTOBUF")
    compiler = ProtoCompiler()
    kind = compiler.make_class(compiler.compile(RegisteredSchema("PROTOBUF", PROTO)), (0,))
    order = kind(id=number, price=price, token=b"\0\xff", note=note)
    order.at.FromMilliseconds(MILLISECONDS)
    return b"\0" + schema_id.to_bytes(4, "big") + b"\0" + bytes(order.SerializeToString())


def _plain(number: int, price: str, note: str | None) -> dict[str, Any]:
    at = "2026-01-31T12:00:00.123Z"
    return {"id": number, "price": price, "at": at, "token": "\\x00ff", "note": note}


def _json(_: RegistryServer, number: int, price: str, note: str | None) -> bytes:
    return json.dumps(_plain(number, price, note)).encode()


def _json_schema(registry: RegistryServer, number: int, price: str, note: str | None) -> bytes:
    serialize = JSONSerializer(JSON_SCHEMA, SchemaRegistryClient({"url": registry.url}))
    return serialize(_plain(number, price, note), VALUE) or b""


def _connect_payload(number: int, price: str, note: str | None) -> dict[str, Any]:
    unscaled = int(price.replace(".", ""))
    return {
        "id": number,
        "price": base64.b64encode(unscaled.to_bytes(17, "big", signed=True)).decode(),
        "at": MILLISECONDS,
        "token": "AP8=",
        "note": note,
    }


def _connect(_: RegistryServer, number: int, price: str, note: str | None) -> bytes:
    schema = {"type": "struct", "fields": CONNECT_FIELDS}
    payload = _connect_payload(number, price, note)
    return json.dumps({"schema": schema, "payload": payload}).encode()


def _debezium(_: RegistryServer, number: int, price: str, note: str | None) -> bytes:
    row = {"type": "struct", "fields": CONNECT_FIELDS}
    fields = [{**row, "field": "before"}, {**row, "field": "after"}]
    payload = {"before": None, "after": _connect_payload(number, price, note), "op": "c"}
    schema = {"type": "struct", "fields": fields}
    return json.dumps({"schema": schema, "payload": payload}).encode()


UNKNOWN_ID = b"\0\0\0\x03\xe7{}"
FORMATS = [
    Format("json", _json, b"{broken"),
    Format("json-schema", _json_schema, UNKNOWN_ID),
    Format("avro", _avro, UNKNOWN_ID),
    Format("protobuf", _protobuf, UNKNOWN_ID),
    Format("connect-json", _connect, b"{broken"),
    Format("debezium", _debezium, b'{"id": 1}'),
]
each_format = pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)


def one_partition(_: int) -> int:
    return 0


@pytest.fixture
def make(bench: Bench, registry: RegistryServer) -> Callable[..., Bench]:
    """A stream of a format, on a topic of one partition."""

    def make_bench(name: str, **changes: Any) -> Bench:
        made = with_registry(bench.with_stream(format=name, **changes), registry.url)
        made.create_topic(1)
        return made

    return make_bench


def with_registry(bench: Bench, url: str) -> Bench:
    settings = SchemaRegistrySettings(url=url, request_timeout_seconds=2)
    return replace(bench, endpoints=replace(bench.endpoints, schema_registry=settings))


def produce(bench: Bench, values: Sequence[Any]) -> None:
    bench.produce(values, partition=one_partition)


TABLE = (
    "CREATE TABLE {table} (id bigint PRIMARY KEY, price numeric, at timestamptz, token bytea,"
    " note text, kafka_partition integer, kafka_offset bigint)"
)
ROWS = "SELECT id, price::text, at, token, note FROM {table} ORDER BY id"
LARGE = "12345678901234567890123456789012345678.90"


@each_format
def test_an_order_lands_whatever_its_format(
    make: Callable[..., Bench], registry: RegistryServer, kind: Format
) -> None:
    bench = make(kind.name, mode="upsert", key=["id"])
    bench.query(TABLE)
    produce(bench, [kind.write(registry, 1, LARGE, "ü\t\n"), kind.write(registry, 2, "0.10", None)])
    assert bench.load().counts == BatchCounts(rows=2)
    rows = [(n, price, at, bytes(token), note) for n, price, at, token, note in bench.query(ROWS)]
    assert rows == [
        (1, LARGE, AT, b"\0\xff", "ü\t\n"),
        (2, "0.10", AT, b"\0\xff", None),
    ]
    assert bench.findings() == []


@each_format
def test_case_3_the_last_record_of_a_key_wins(
    make: Callable[..., Bench], registry: RegistryServer, kind: Format
) -> None:
    bench = make(kind.name, mode="upsert", key=["id"])
    bench.query(TABLE)
    orders = [(1, "v1"), (1, "v2"), (2, "w1"), (1, "v3")]
    produce(bench, [kind.write(registry, number, "1.00", note) for number, note in orders])
    assert bench.load().counts == BatchCounts(rows=2, superseded=2)
    assert bench.query("SELECT id, note FROM {table} ORDER BY id") == [(1, "v3"), (2, "w1")]


@each_format
def test_case_4_a_tombstone_deletes_the_row_of_its_key(
    make: Callable[..., Bench], registry: RegistryServer, kind: Format
) -> None:
    bench = make(kind.name, mode="upsert", key=["id"], key_format="json")
    bench.query(TABLE)

    def put(number: int) -> FakeRecord:
        return FakeRecord(kind.write(registry, number, "1.00", "v"), key=b"%d" % number)

    produce(bench, [FakeRecord(None, key=b"1"), put(1), put(2), FakeRecord(None, key=b'{"id":2}')])
    counts = bench.load().counts
    assert (counts.rows, counts.total) == (1, 4)
    assert bench.query("SELECT id FROM {table}") == [(1,)]
    produce(bench, [FakeRecord(None, key=b"1"), FakeRecord(None, key=b"9"), FakeRecord(None)])
    assert bench.load().counts == BatchCounts(deleted=1, ignored=1, dead=1)
    assert bench.count() == 0


@each_format
def test_case_7_bad_records_are_dead_letters_beside_good_neighbours(
    make: Callable[..., Bench], registry: RegistryServer, kind: Format
) -> None:
    bench = make(kind.name)
    bench.query(TABLE.replace("at timestamptz", "at timestamptz CHECK (id <> 4)"))
    good = [kind.write(registry, number, "1.00", None) for number in (1, 2, 3)]
    rejected = kind.write(registry, 4, "1.00", None)
    produce(bench, [good[0], kind.broken, good[1], rejected, good[2]])
    assert bench.load().counts == BatchCounts(rows=3, dead=2)
    letters = bench.query("SELECT record_offset, value FROM {schema}.dead_letter ORDER BY 1")
    assert [(offset, bytes(value)) for offset, value in letters] == [
        (1, kind.broken),
        (3, rejected),
    ]
    assert bench.findings() == []


@each_format
def test_case_8_text_that_postgresql_cannot_hold_is_a_dead_letter(
    make: Callable[..., Bench], registry: RegistryServer, kind: Format
) -> None:
    bench = make(kind.name)
    bench.query(TABLE)
    notes = ["a\0b", r"\N", "tab\tnew\nline\\"]
    produce(bench, [kind.write(registry, n, "1.00", note) for n, note in enumerate(notes)])
    assert bench.load().counts == BatchCounts(rows=2, dead=1)
    assert bench.query("SELECT note FROM {table} ORDER BY id") == [(r"\N",), ("tab\tnew\nline\\",)]
    assert bench.query("SELECT reason, column_name FROM {schema}.dead_letter") == [
        ("nul_character", "note")
    ]


TYPED = ("avro", "protobuf", "connect-json", "debezium")


@pytest.mark.parametrize(
    "kind", [kind for kind in FORMATS if kind.name in TYPED], ids=lambda kind: kind.name
)
def test_a_new_table_has_the_types_of_the_schema(
    make: Callable[..., Bench], registry: RegistryServer, kind: Format
) -> None:
    bench = make(kind.name, metadata={})
    produce(bench, [kind.write(registry, 1, "1.10", None)])
    bench.load()
    types = dict(
        bench.query(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0",
            bench.stream.table,
        )
    )
    moment = "timestamp with time zone"
    if kind.name in ("connect-json", "debezium"):
        moment = "timestamp without time zone"  # Connect's Timestamp is what its source says
    price = "text" if kind.name == "protobuf" else "numeric(40,2)"
    assert types == {"id": "bigint", "price": price, "at": moment, "token": "bytea", "note": "text"}


def test_case_12_a_field_of_a_newer_schema_becomes_a_column(
    make: Callable[..., Bench], registry: RegistryServer
) -> None:
    bench = make("avro", batch=BatchSettings(max_rows=2))
    schema = json.loads(AVRO)
    schema["fields"] += [
        {
            "name": "taxRate",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 4},
        }
    ]
    serialize = AvroSerializer(SchemaRegistryClient({"url": registry.url}), json.dumps(schema))
    order = {"id": 9, "price": Decimal("1"), "at": AT, "token": b"", "note": None}
    newer = serialize({**order, "taxRate": Decimal("0.0700")}, VALUE)
    older = [_avro(registry, number, "1.00", None) for number in range(5)]
    produce(bench, [*older, newer, older[0]])
    assert bench.load().counts.rows == 7
    assert bench.query("SELECT id, tax_rate::text FROM {table} WHERE tax_rate IS NOT NULL") == [
        (9, "0.0700")
    ]
    assert bench.query(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attname = 'tax_rate'",
        bench.stream.table,
    ) == [("numeric(6,4)",)]


@pytest.mark.parametrize("name", ["avro", "protobuf", "json-schema"])
def test_a_registry_that_is_gone_moves_nothing_and_makes_no_dead_letter(
    make: Callable[..., Bench],
    registry: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(schema_registry, "_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(load, "PATIENCE_SECONDS", 0.1)
    (kind,) = [kind for kind in FORMATS if kind.name == name]
    bench = make(name)
    bench.query(TABLE)
    produce(bench, [kind.write(registry, 1, "1.00", None)])
    with pytest.raises(RegistryUnavailableError):
        with_registry(bench, "http://127.0.0.1:9").load()
    assert bench.query("SELECT count(*) FROM {schema}.dead_letter") == [(0,)]
    assert (bench.count(), bench.positions()) == (0, {0: 0})
    assert bench.load().counts.rows == 1


def test_an_avro_schema_from_a_file(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "order.avsc"
    path.write_text('{"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]}')
    bench = bench.with_stream(format="avro", schema_file=path)
    bench.create_topic(1)
    data = io.BytesIO()
    fastavro.schemaless_writer(data, fastavro.parse_schema(json.loads(path.read_text())), {"id": 7})
    produce(bench, [data.getvalue(), b"\xff"])
    assert bench.load().counts == BatchCounts(rows=1, dead=1)
    assert bench.query("SELECT id FROM {table}") == [(7,)]


@pytest.mark.parametrize(
    ("name", "text"), [("none.avsc", None), ("bad.avsc", "{"), ("odd.avsc", '{"type": "rec"}')]
)
def test_a_schema_file_that_is_none_is_named(
    bench: Bench, tmp_path: Path, name: str, text: str | None
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with (
        pytest.raises(ConfigurationError, match=rf"schema_file: .*{name}"),
        bench.with_stream(format="avro", schema_file=path).session(),
    ):
        raise AssertionError("a session was opened")


def test_a_format_without_its_registry_says_what_to_set(bench: Bench) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"SCHEMA_REGISTRY_URL"),
        bench.with_stream(format="avro").session(),
    ):
        raise AssertionError("a session was opened")


@pytest.mark.parametrize(
    ("name", "column", "landed"),
    [("text", "text", "ü\t"), ("bytes", "bytea", "\\xc3bc09")],
)
def test_values_without_structure_land_in_one_column(
    make: Callable[..., Bench], name: str, column: str, landed: str
) -> None:
    bench = make(name)
    bench.query(
        f"CREATE TABLE {{table}} (value {column}, kafka_partition int, kafka_offset bigint)"
    )
    produce(bench, ["ü\t".encode(), b""])
    assert bench.load().counts.rows == 2
    (first, second) = bench.query("SELECT value::text FROM {table} ORDER BY kafka_offset")
    assert first[0] == ("\\xc3bc09" if name == "bytes" else landed)
    assert second[0] == ("\\x" if name == "bytes" else "")


def test_keys_of_avro_fill_columns_of_their_own(
    make: Callable[..., Bench], registry: RegistryServer
) -> None:
    bench = make(
        "json", key_format="avro", mode="upsert", key=["sku"], key_source="record_key", metadata={}
    )
    schema = '{"type": "record", "name": "K", "fields": [{"name": "sku", "type": "string"}]}'
    serialize = AvroSerializer(SchemaRegistryClient({"url": registry.url}), schema)
    context = SerializationContext("orders", MessageField.KEY)
    keys = {sku: serialize({"sku": sku}, context) for sku in ("a", "b")}
    produce(
        bench,
        [
            FakeRecord(b'{"v": 1}', key=keys["a"]),
            FakeRecord(b'{"v": 2}', key=keys["b"]),
            FakeRecord(None, key=keys["a"]),
        ],
    )
    bench.load()
    assert bench.query("SELECT sku, v FROM {table}") == [("b", 2)]


def test_keys_from_headers(make: Callable[..., Bench]) -> None:
    bench = make("json", mode="upsert", key=["tenant"], key_source="headers", metadata={})
    produce(
        bench,
        [
            FakeRecord(b'{"v": 1}', headers=(("tenant", b"x"),)),
            FakeRecord(b'{"v": 2}', headers=(("tenant", b"y"),)),
            FakeRecord(b'{"v": 3}', headers=(("tenant", b"x"),)),
            FakeRecord(None, headers=(("tenant", b"y"),)),
            FakeRecord(b'{"v": 4}'),
        ],
    )
    bench.load()
    assert bench.query("SELECT tenant, v FROM {table}") == [("x", 3)]
    assert bench.query("SELECT reason, column_name FROM {schema}.dead_letter") == [
        ("missing_key", "tenant")
    ]
