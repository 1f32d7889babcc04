"""Protobuf to documents: each kind of field exactly, by the .proto text of a registry."""

import json
import math
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from kafka_pg_pipeline.adapters.schema_registry import HttpSchemaRegistry
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.schemas import RegisteredSchema
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.formats.protobuf import MessageWriter, ProtobufDecoder, ProtoCompiler
from kafka_pg_pipeline.settings.models import SchemaRegistrySettings
from kafka_pg_pipeline_tests.fix_registry import RegistryServer

PROTO = """
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "common/money.proto";

message Customer { string name = 1; }

message Order {
  enum State { STATE_UNKNOWN = 0; PAID = 1; }
  message Item { string sku = 1; uint32 pieces = 2; }
  int64 id = 1;
  sint32 delta = 2;
  uint64 large = 3;
  fixed32 small = 4;
  double weight = 5;
  float ratio = 6;
  bool gift = 7;
  string note = 8;
  bytes token = 9;
  State state = 10;
  optional int32 rank = 11;
  repeated Item items = 12;
  map<string, int64> counts = 13;
  map<int32, bytes> blobs = 14;
  Customer customer = 15;
  oneof payment { string card = 16; int64 voucher = 17; }
  google.protobuf.Timestamp at = 18;
  google.protobuf.Duration took = 19;
  google.protobuf.Int64Value maybe = 20;
  google.protobuf.Struct extra = 21;
  common.Money price = 22;
  repeated double samples = 23;
}
"""
MONEY = 'syntax = "proto3"; package common; message Money { int64 cents = 1; }'
SCHEMA = RegisteredSchema("PROTOBUF", PROTO, (("common/money.proto", RegisteredSchema("", MONEY)),))
EXTRA = Struct()
EXTRA.update({"a": [1, 2.5, None, {"b": True}]})
COMPILER = ProtoCompiler()
ORDER = COMPILER.make_class(COMPILER.compile(SCHEMA), (1,))


def written(**fields: Any) -> dict[str, Any]:
    document = MessageWriter().write(ORDER(**fields))
    assert isinstance(document, dict)
    return document


def test_what_is_not_set_is_null_or_its_default() -> None:
    assert written() == {
        "id": 0,
        "delta": 0,
        "large": 0,
        "small": 0,
        "weight": 0.0,
        "ratio": 0.0,
        "gift": False,
        "note": "",
        "token": "\\x",
        "state": "STATE_UNKNOWN",
        "rank": None,
        "items": [],
        "counts": {},
        "blobs": {},
        "customer": None,
        "card": None,
        "voucher": None,
        "at": None,
        "took": None,
        "maybe": None,
        "extra": None,
        "price": None,
        "samples": [],
    }


def test_each_kind_of_field_is_written_exactly() -> None:
    order = ORDER(
        id=-(2**63),
        large=2**64 - 1,
        weight=math.nan,
        ratio=-math.inf,
        token=b"\x00\xff",
        state=1,
        rank=0,
        items=[ORDER.Item(sku="A", pieces=2**32 - 1)],
        counts={"a": 1},
        blobs={-1: b"z"},
        voucher=0,
        samples=[0.1, math.inf],
    )
    order.customer.SetInParent()
    order.at.FromNanoseconds(1_700_000_000_123_456_789)
    order.took.FromMicroseconds(1_500_000)
    order.maybe.value = 0
    order.extra.ParseFromString(EXTRA.SerializeToString())
    order.price.cents = 990
    document = MessageWriter().write(order)
    changed = {name: value for name, value in document.items() if written()[name] != value}
    assert changed == {
        "id": -(2**63),
        "large": 2**64 - 1,
        "weight": "NaN",
        "ratio": "-Infinity",
        "token": "\\x00ff",
        "state": "PAID",
        "rank": 0,
        "items": [{"sku": "A", "pieces": 2**32 - 1}],
        "counts": {"a": 1},
        "blobs": {"-1": "\\x7a"},
        "customer": {"name": ""},
        "voucher": 0,
        "at": "2023-11-14 22:13:20.123456789+00",
        "took": "1500000 microseconds",
        "maybe": 0,
        "extra": {"a": [1, 2.5, None, {"b": True}]},
        "price": {"cents": 990},
        "samples": [0.1, "Infinity"],
    }


def test_an_enum_of_a_newer_schema_is_its_number() -> None:
    order = ORDER()
    order.state = 9
    assert MessageWriter().write(order)["state"] == 9


@given(
    st.integers(-(2**63), 2**63 - 1),
    st.text(),
    st.binary(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.dictionaries(st.text(), st.integers(-(2**63), 2**63 - 1)),
)
def test_whatever_a_message_holds_is_in_its_document(
    number: int, text: str, data: bytes, fraction: float, counts: dict[str, int]
) -> None:
    document = written(id=number, note=text, token=data, weight=fraction, counts=counts)
    assert (document["id"], document["note"], document["weight"]) == (number, text, fraction)
    assert (document["token"], document["counts"]) == ("\\x" + data.hex(), counts)


# -- by a registry -------------------------------------------------------------------------------


def decoder_for(registry: RegistryServer) -> ProtobufDecoder:
    return ProtobufDecoder(HttpSchemaRegistry(SchemaRegistrySettings(url=registry.url)))


def register(registry: RegistryServer) -> int:
    registry.register("money", MONEY, "PROTOBUF")
    reference = {"name": "common/money.proto", "subject": "money", "version": 1}
    return registry.register("orders-value", PROTO, "PROTOBUF", [reference])


def framed(schema_id: int, indexes: bytes, message: Any) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + indexes + message.SerializeToString()


def test_what_confluents_serializer_writes_is_read(registry: RegistryServer) -> None:
    text = 'syntax = "proto3"; message A { int64 x = 1; } message B { bytes y = 1; }'
    registry.register("shop.orders-value", text, "PROTOBUF")
    file = COMPILER.compile(RegisteredSchema("PROTOBUF", text))
    client = SchemaRegistryClient({"url": registry.url})
    decoder = decoder_for(registry)
    for indexes, fields, document in [((0,), {"x": 7}, b'{"x":7}'), ((1,), {"y": b"z"}, None)]:
        kind = COMPILER.make_class(file, indexes)
        serialize = ProtobufSerializer(
            kind,
            client,
            {
                "use.deprecated.format": False,
                "auto.register.schemas": False,
                "use.latest.version": True,
            },
        )
        data = serialize(kind(**fields), SerializationContext("shop.orders", MessageField.VALUE))
        assert data is not None
        assert decoder.decode(data).document == (document or rb'{"y":"\\x7a"}')


def test_a_message_is_found_by_its_indexes_and_its_imports(registry: RegistryServer) -> None:
    schema_id = register(registry)
    data = framed(schema_id, b"\x02\x02", ORDER(id=5))
    document = json.loads(decoder_for(registry).decode(data).document or b"")
    assert (document["id"], document["price"]) == (5, None)
    item = framed(schema_id, b"\x04\x02\x00", ORDER.Item(sku="A"))
    assert decoder_for(registry).decode(item).document == b'{"sku":"A","pieces":0}'


def test_the_message_tells_the_types_of_a_new_table(registry: RegistryServer) -> None:
    data = framed(register(registry), b"\x02\x02", ORDER())
    types = decoder_for(registry).column_types(data)
    assert {name: types[name] for name in ("id", "delta", "large", "small", "token", "at")} == {
        "id": "bigint",
        "delta": "integer",
        "large": "numeric",
        "small": "bigint",
        "token": "bytea",
        "at": "timestamp with time zone",
    }
    assert (types["items"], types["maybe"], types["state"]) == ("jsonb", "bigint", "text")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda _: b"{}", Reason.NO_SCHEMA_ID),
        (lambda data: b"\0\0\0\0\x63" + data[5:], Reason.UNKNOWN_SCHEMA),
        (lambda data: data[:5], Reason.UNDECODABLE),
        (lambda data: data[:5] + b"\x02\x12" + data[7:], Reason.UNDECODABLE),
        (lambda data: data[:5] + b"\x02\x01" + data[7:], Reason.UNDECODABLE),
        (lambda data: data + b"\x0b", Reason.UNDECODABLE),
    ],
)
def test_bytes_that_are_no_such_message_are_rejected(
    registry: RegistryServer, spoil: Any, reason: Reason
) -> None:
    data = framed(register(registry), b"\x02\x02", ORDER(id=5))
    with pytest.raises(Rejected) as verdict:
        decoder_for(registry).decode(spoil(data))
    assert verdict.value.reason is reason


def test_a_schema_that_is_none_rejects_its_records(
    registry: RegistryServer, capfd: pytest.CaptureFixture[str]
) -> None:
    schema_id = registry.register("a", "message {", "PROTOBUF")
    with pytest.raises(Rejected) as verdict:
        decoder_for(registry).decode(b"\0" + schema_id.to_bytes(4, "big") + b"\0")
    assert verdict.value.reason is Reason.UNKNOWN_SCHEMA
