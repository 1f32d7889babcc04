"""What each part of a Protobuf message becomes, by the texts that a registry shows."""

from collections.abc import Iterator
from contextlib import closing, suppress
from decimal import Decimal
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_pg_pipeline.adapters.schema_registry import HttpSchemaRegistry
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.formats.protobuf import ProtobufDecoder
from kafka_pg_pipeline.settings.models import SchemaRegistrySettings
from kafka_pg_pipeline_tests.fix_registry import RegistryServer
from kafka_pg_pipeline_tests.formats.avro_data import read_json
from kafka_pg_pipeline_tests.formats.proto_messages import compile_messages

SCALARS = """
syntax = "proto3";
package shop;
enum Color { COLOR_UNKNOWN = 0; RED = 5; }
message Scalars {
  int32 a_int32 = 1; int64 aInt64 = 2; uint32 a_uint32 = 3; uint64 a_uint64 = 4;
  sint32 a_sint32 = 5; sint64 a_sint64 = 6; fixed32 a_fixed32 = 7; fixed64 a_fixed64 = 8;
  sfixed32 a_sfixed32 = 9; sfixed64 a_sfixed64 = 10; float a_float = 11; double a_double = 12;
  bool a_bool = 13; string a_string = 14; bytes a_bytes = 15; Color a_color = 16;
}
"""
SHAPES = """
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/wrappers.proto";
message Shapes {
  message Inner { int64 n = 1; Shapes back = 2; }
  enum Size { NONE = 0; BIG = 1; }
  optional int32 maybe = 1;
  Inner inner = 2;
  repeated bytes parts = 3;
  repeated Inner inners = 4;
  map<string, Inner> by_name = 5;
  map<int64, double> by_number = 6;
  map<bool, Size> by_flag = 7;
  oneof choice { string text = 8; Inner other = 9; }
  google.protobuf.Timestamp at = 10;
  google.protobuf.Duration took = 11;
  google.protobuf.Struct anything = 12;
  google.protobuf.Value value = 13;
  google.protobuf.ListValue items = 14;
  google.protobuf.Int64Value wrapped = 15;
  google.protobuf.BytesValue wrapped_bytes = 16;
  google.protobuf.DoubleValue wrapped_double = 17;
  repeated string names = 18;
}
"""
UNSET: dict[str, Any] = {
    "maybe": None,
    "inner": None,
    "parts": [],
    "inners": [],
    "by_name": {},
    "by_number": {},
    "by_flag": {},
    "text": None,
    "other": None,
    "at": None,
    "took": None,
    "anything": None,
    "value": None,
    "items": None,
    "wrapped": None,
    "wrapped_bytes": None,
    "wrapped_double": None,
    "names": [],
}


class _Producer:
    """Writes messages of one schema, which the registry has as text."""

    def __init__(self, server: RegistryServer, text: str, **references: str) -> None:
        for name, referred in references.items():
            server.register(name, referred, "PROTOBUF")
        self.schema_id = server.register(
            "top",
            text,
            "PROTOBUF",
            references=[
                {"name": f"{name}.proto", "subject": name, "version": 1} for name in references
            ],
        )
        files = {f"{name}.proto": referred for name, referred in references.items()}
        self.message = compile_messages({**files, "top.proto": text})

    def frame(self, message: Any, indexes: bytes = b"\0") -> bytes:
        return self.head() + indexes + message.SerializeToString()

    def head(self) -> bytes:
        return b"\0" + self.schema_id.to_bytes(4, "big")


@pytest.fixture
def decoder(registry: RegistryServer) -> Iterator[ProtobufDecoder]:
    with closing(HttpSchemaRegistry(SchemaRegistrySettings(url=registry.url))) as client:
        yield ProtobufDecoder(client)


@pytest.fixture
def shapes(registry: RegistryServer) -> _Producer:
    return _Producer(registry, SHAPES)


def document_of(decoder: ProtobufDecoder, producer: _Producer, name: str, **fields: Any) -> Any:
    message = producer.message(name)(**fields)
    return read_json(decoder.decode(producer.frame(message)).document)


def reason_of(decoder: ProtobufDecoder, data: bytes) -> Reason:
    with pytest.raises(Rejected) as verdict:
        decoder.decode(data)
    assert verdict.value.stage is Stage.DECODE
    assert verdict.value.__cause__ is None
    return verdict.value.reason


# -- values ---------------------------------------------------------------------------------------


def test_scalars_keep_every_digit(decoder: ProtobufDecoder, registry: RegistryServer) -> None:
    largest: dict[str, Any] = {
        "a_int32": -(2**31),
        "aInt64": -(2**63),
        "a_uint32": 2**32 - 1,
        "a_uint64": 2**64 - 1,
        "a_sint32": 2**31 - 1,
        "a_sint64": 2**63 - 1,
        "a_fixed32": 2**32 - 1,
        "a_fixed64": 2**64 - 1,
        "a_sfixed32": -1,
        "a_sfixed64": -(2**63),
    }
    document = document_of(
        decoder,
        _Producer(registry, SCALARS),
        "shop.Scalars",
        **largest,
        a_float=0.1,
        a_double=0.1,
        a_bool=True,
        a_string="naïve",
        a_bytes=b"\x00\xff",
        a_color=5,
    )
    assert document == {
        **{name: str(number) for name, number in largest.items()},
        "a_float": "0.10000000149011612",
        "a_double": "0.1",
        "a_bool": True,
        "a_string": "naïve",
        "a_bytes": "\\x00ff",
        "a_color": "RED",
    }


def test_scalars_that_were_never_set_have_their_defaults(
    decoder: ProtobufDecoder, registry: RegistryServer
) -> None:
    document = document_of(decoder, _Producer(registry, SCALARS), "shop.Scalars")
    assert document["a_int32"] == "0"
    assert document["a_double"] == "0.0"
    assert document["a_string"] == ""
    assert document["a_bytes"] == "\\x"
    assert document["a_bool"] is False
    assert document["a_color"] == "COLOR_UNKNOWN"


@pytest.mark.parametrize(
    ("number", "word"),
    [(float("nan"), "NaN"), (float("inf"), "Infinity"), (-float("inf"), "-Infinity")],
)
def test_numbers_that_json_lacks_are_postgresqls_words(
    decoder: ProtobufDecoder, registry: RegistryServer, number: float, word: str
) -> None:
    producer = _Producer(registry, SCALARS)
    document = document_of(decoder, producer, "shop.Scalars", a_float=number, a_double=number)
    assert (document["a_float"], document["a_double"]) == (word, word)


def test_an_enums_unknown_number_stays_a_number(
    decoder: ProtobufDecoder, registry: RegistryServer
) -> None:
    producer = _Producer(registry, SCALARS)
    assert document_of(decoder, producer, "shop.Scalars", a_color=77)["a_color"] == "77"


def test_what_may_be_missing_is_null(decoder: ProtobufDecoder, shapes: _Producer) -> None:
    assert document_of(decoder, shapes, "shop.Shapes") == UNSET


def test_an_optional_that_is_set_to_its_default_is_not_null(
    decoder: ProtobufDecoder, shapes: _Producer
) -> None:
    document = document_of(decoder, shapes, "shop.Shapes", maybe=0, text="", wrapped={})
    assert document == {**UNSET, "maybe": "0", "text": "", "wrapped": "0"}


def test_messages_lists_and_maps_nest(decoder: ProtobufDecoder, shapes: _Producer) -> None:
    document = document_of(
        decoder,
        shapes,
        "shop.Shapes",
        inner={"n": 1, "back": {"maybe": 2}},
        parts=[b"\1", b""],
        inners=[{"n": 3}],
        by_name={"b": {"n": 4}, "a": {}},
        by_number={-5: float("nan"), 10: 1.5},
        by_flag={True: 1, False: 9},
        other={"n": 6},
        names=["x", "y"],
    )
    back = {**UNSET, "maybe": "2"}
    assert document == {
        **UNSET,
        "inner": {"n": "1", "back": back},
        "parts": ["\\x01", "\\x"],
        "inners": [{"n": "3", "back": None}],
        "by_name": {"a": {"n": "0", "back": None}, "b": {"n": "4", "back": None}},
        "by_number": {"-5": "NaN", "10": "1.5"},
        "by_flag": {"false": "9", "true": "BIG"},
        "other": {"n": "6", "back": None},
        "names": ["x", "y"],
    }
    assert list(document["by_name"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("seconds", "nanos", "text"),
    [
        (0, 0, "1970-01-01 00:00:00.000+00"),
        (0, 1, "1970-01-01 00:00:00.000000001+00"),
        (-1, 999_999_000, "1969-12-31 23:59:59.999999+00"),
        (253_402_300_800, 0, "10000-01-01 00:00:00.000+00"),
        (-62_135_596_801, 0, "0001-12-31 23:59:59.000+00 BC"),
    ],
)
def test_a_timestamp_is_a_moment_in_utc(
    decoder: ProtobufDecoder, shapes: _Producer, seconds: int, nanos: int, text: str
) -> None:
    at = {"seconds": seconds, "nanos": nanos}
    assert document_of(decoder, shapes, "shop.Shapes", at=at)["at"] == text


def test_a_timestamp_beyond_postgresqls_is_out_of_range(
    decoder: ProtobufDecoder, shapes: _Producer
) -> None:
    message = shapes.message("shop.Shapes")(at={"seconds": 2**62})
    assert reason_of(decoder, shapes.frame(message)) is Reason.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("seconds", "nanos", "text"),
    [
        (0, 0, "0 microseconds"),
        (90, 0, "90000000 microseconds"),
        (1, 500_000_001, "1500000.001 microseconds"),
        (0, -1, "-0.001 microseconds"),
        (-1, -500_000_000, "-1500000 microseconds"),
        (-315_576_000_000, -999_999_999, "-315576000000999999.999 microseconds"),
    ],
)
def test_a_duration_is_an_interval(
    decoder: ProtobufDecoder, shapes: _Producer, seconds: int, nanos: int, text: str
) -> None:
    took = {"seconds": seconds, "nanos": nanos}
    assert document_of(decoder, shapes, "shop.Shapes", took=took)["took"] == text


def test_structs_and_wrappers_are_the_json_that_they_hold(
    decoder: ProtobufDecoder, shapes: _Producer
) -> None:
    message = shapes.message("shop.Shapes")()
    message.anything.fields["b"].number_value = 1.5
    message.anything.fields["a"].struct_value.fields["deep"].null_value = 0
    message.value.list_value.values.add().bool_value = True
    message.items.values.add().string_value = "x"
    message.items.values.add().number_value = float("nan")
    message.wrapped.value = 2**63 - 1
    message.wrapped_bytes.value = b"\1"
    message.wrapped_double.value = float("inf")
    document = read_json(decoder.decode(shapes.frame(message)).document)
    assert document == {
        **UNSET,
        "anything": {"a": {"deep": None}, "b": "1.5"},
        "value": [True],
        "items": ["x", "NaN"],
        "wrapped": "9223372036854775807",
        "wrapped_bytes": "\\x01",
        "wrapped_double": "Infinity",
    }


def test_proto2_defaults_are_the_values_of_fields_that_were_not_set(
    decoder: ProtobufDecoder, registry: RegistryServer
) -> None:
    text = """
    syntax = "proto2";
    message Old { optional int32 a = 1 [default = 7]; optional int32 b = 2; required string c = 3;
      optional group Part = 4 { optional bytes d = 5; } }
    """
    producer = _Producer(registry, text)
    document = document_of(decoder, producer, "Old", c="x", part={"d": b"\1"})
    assert document == {"a": "7", "b": None, "c": "x", "part": {"d": "\\x01"}}


def test_confluents_decimal_is_a_number(decoder: ProtobufDecoder, registry: RegistryServer) -> None:
    text = """
    syntax = "proto3";
    import "confluent/meta.proto";
    import "confluent/type/decimal.proto";
    message Priced {
      confluent.type.Decimal price = 1 [(confluent.field_meta) = {
        doc: "in euros", params: [{key: "scale", value: "2"}]
      }];
    }
    """
    schema_id = registry.register("top", text, "PROTOBUF")
    value = (-123456).to_bytes(3, "big", signed=True)
    decimal = b"\x0a\x03" + value + b"\x18\x02"
    data = b"\0" + schema_id.to_bytes(4, "big") + b"\0" + b"\x0a" + bytes([len(decimal)]) + decimal
    assert decoder.decode(data).document == b'{"price":-1234.56}'
    assert decoder.column_types(data) == {"price": "numeric"}
    assert Decimal("-1234.56") == Decimal(read_json(decoder.decode(data).document)["price"])


# -- which message --------------------------------------------------------------------------------

PLACES = """
syntax = "proto3";
package a.b;
message First { message Inside { string first_inside = 1; } string first = 1; }
message Second {
  message Zero { string zero = 1; }
  message One { message Deep { string deep = 1; } string one = 1; }
  string second = 1;
}
"""


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("First", "first"),
        ("First.Inside", "first_inside"),
        ("Second", "second"),
        ("Second.Zero", "zero"),
        ("Second.One", "one"),
        ("Second.One.Deep", "deep"),
    ],
)
def test_any_message_of_a_schema_is_found(
    decoder: ProtobufDecoder, registry: RegistryServer, name: str, field: str
) -> None:
    producer = _Producer(registry, PLACES)
    kind = producer.message(f"a.b.{name}")
    data = serialize(registry, kind, kind(**{field: "x"}))
    # The serializer has registered descriptors; a registry would show them as the text.
    decoded = decoder.decode(producer.head() + data[5:])
    assert decoded.document == b'{"%s":"x"}' % field.encode()


def serialize(server: RegistryServer, kind: Any, message: Any) -> bytes:
    """What confluent-kafka's serializer puts on a topic."""
    with SchemaRegistryClient({"url": server.url}) as client:
        write = ProtobufSerializer(kind, client, {"use.deprecated.format": False})
        data = write(message, SerializationContext("orders", MessageField.VALUE))
    assert data is not None
    return data


@pytest.mark.parametrize(
    "indexes", [b"\x02\x04", b"\x04\x00\x08", b"\x02\x01", b"\x03", b"", b"\x80"]
)
def test_a_message_that_the_schema_lacks_is_undecodable(
    decoder: ProtobufDecoder, registry: RegistryServer, indexes: bytes
) -> None:
    producer = _Producer(registry, PLACES)
    assert reason_of(decoder, producer.head() + indexes) is Reason.UNDECODABLE


def test_each_record_is_read_with_its_own_schema(
    decoder: ProtobufDecoder, registry: RegistryServer
) -> None:
    old = _Producer(registry, 'syntax = "proto3"; message Order { int32 id = 1; }')
    new = _Producer(registry, 'syntax = "proto3"; message Order { int32 id = 1; bytes b = 2; }')
    for _ in range(2):
        assert document_of(decoder, old, "Order", id=1) == {"id": "1"}
        assert document_of(decoder, new, "Order", id=1, b=b"x") == {"id": "1", "b": "\\x78"}


def test_imports_are_the_schemas_references(
    decoder: ProtobufDecoder, registry: RegistryServer
) -> None:
    address = 'syntax = "proto3"; package geo; message Address { bytes b = 1; }'
    text = """
    syntax = "proto3";
    import "geo.proto";
    message Person { geo.Address home = 1; repeated geo.Address others = 2; }
    """
    producer = _Producer(registry, text, geo=address)
    kind = producer.message("Person")
    data = serialize(registry, kind, kind(home={"b": b"\1"}, others=[{"b": b"\2"}]))
    decoded = decoder.decode(producer.head() + data[5:])
    assert decoded.document == b'{"home":{"b":"\\\\x01"},"others":[{"b":"\\\\x02"}]}'


def test_a_map_that_the_registry_shows_as_its_entries_is_a_map(
    decoder: ProtobufDecoder, registry: RegistryServer
) -> None:
    shown = """
    syntax = "proto3";
    package shop;
    message Order {
      repeated .shop.Order.LabelsEntry labels = 1;
      message LabelsEntry { option map_entry = true; string key = 1; int32 value = 2; }
    }
    """
    written = 'syntax = "proto3"; package shop; message Order { map<string, int32> labels = 1; }'
    producer = _Producer(registry, written)
    schema_id = registry.register("top", shown, "PROTOBUF")
    data = producer.message("shop.Order")(labels={"a": 1}).SerializeToString()
    decoded = decoder.decode(b"\0" + schema_id.to_bytes(4, "big") + b"\0" + data)
    assert decoded.document == b'{"labels":{"a":1}}'


# -- what goes wrong ------------------------------------------------------------------------------


@given(data=st.data())
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_broken_bytes_are_rejected_or_read(
    decoder: ProtobufDecoder, shapes: _Producer, data: st.DataObject
) -> None:
    message = shapes.message("shop.Shapes")(
        inner={"n": 300}, parts=[b"abc"], by_name={"k": {"n": 1}}, at={"nanos": 5}, names=["é"]
    )
    broken = bytearray(shapes.frame(message))
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(5, len(broken) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(5, len(broken)))
    with suppress(Rejected):
        read_json(decoder.decode(bytes(broken[:end])).document)


def test_truncated_bytes_are_undecodable(decoder: ProtobufDecoder, shapes: _Producer) -> None:
    data = shapes.frame(shapes.message("shop.Shapes")(names=["abc"]))
    assert reason_of(decoder, data[:-1]) is Reason.UNDECODABLE


def test_a_message_nested_too_deeply_is_rejected(
    decoder: ProtobufDecoder, shapes: _Producer
) -> None:
    body = b""
    for _ in range(2_000):
        for field in (b"\x12", b"\x12"):
            length = len(body)
            size = bytearray()
            while length > 127:
                size.append(length & 127 | 128)
                length >>= 7
            body = field + bytes([*size, length]) + body
    reason = reason_of(decoder, shapes.head() + b"\0" + body)
    assert reason in (Reason.UNDECODABLE, Reason.TOO_DEEP)


def test_a_text_that_is_no_schema_is_compiled_once(
    decoder: ProtobufDecoder,
    registry: RegistryServer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    schema_id = registry.register("top", "message {", "PROTOBUF")
    for _ in range(3):
        assert reason_of(decoder, b"\0" + schema_id.to_bytes(4, "big") + b"\0") is (
            Reason.UNKNOWN_SCHEMA
        )
    assert capfd.readouterr().err.count("Expected message name") == 1


def test_a_reference_cannot_be_written_elsewhere(
    decoder: ProtobufDecoder, registry: RegistryServer
) -> None:
    registry.register("evil", 'syntax = "proto3";', "PROTOBUF")
    for name in ("../evil.proto", "/tmp/evil.proto"):
        schema_id = registry.register(
            "top",
            f'syntax = "proto3"; message M {{}} // {name}',
            "PROTOBUF",
            references=[{"name": name, "subject": "evil", "version": 1}],
        )
        data = b"\0" + schema_id.to_bytes(4, "big") + b"\0"
        assert reason_of(decoder, data) is Reason.UNKNOWN_SCHEMA


def test_no_header_and_an_unknown_schema_are_told_apart(decoder: ProtobufDecoder) -> None:
    assert reason_of(decoder, b"\x08\x01") is Reason.NO_SCHEMA_ID
    assert reason_of(decoder, b"\0\0\0\0\7\0") is Reason.UNKNOWN_SCHEMA


@pytest.mark.parametrize(
    "indexes",
    [b"\xff" * 10**6, b"\xfe\xff\xff\xff\x0f" + b"\0" * 10**6],
    ids=["number", "count"],
)
@pytest.mark.timeout(10)
def test_a_large_record_of_something_else_is_rejected_at_once(
    decoder: ProtobufDecoder, shapes: _Producer, indexes: bytes
) -> None:
    assert reason_of(decoder, shapes.head() + indexes) is Reason.UNDECODABLE


def test_a_schema_may_import_one_of_any_name(
    decoder: ProtobufDecoder, registry: RegistryServer
) -> None:
    producer = _Producer(
        registry,
        'syntax = "proto3"; import "schema.proto"; message Top { Part part = 1; }',
        schema='syntax = "proto3"; message Part { int32 n = 1; }',
    )
    assert document_of(decoder, producer, "Top", part={"n": 1}) == {"part": {"n": "1"}}


# -- columns --------------------------------------------------------------------------------------


def test_fields_have_column_types(
    decoder: ProtobufDecoder, registry: RegistryServer, shapes: _Producer
) -> None:
    scalars = _Producer(registry, SCALARS)
    assert decoder.column_types(scalars.head() + b"\0") == {
        "a_int32": "integer",
        "aInt64": "bigint",
        "a_uint32": "bigint",
        "a_uint64": "numeric",
        "a_sint32": "integer",
        "a_sint64": "bigint",
        "a_fixed32": "bigint",
        "a_fixed64": "numeric",
        "a_sfixed32": "integer",
        "a_sfixed64": "bigint",
        "a_float": "real",
        "a_double": "double precision",
        "a_bool": "boolean",
        "a_string": "text",
        "a_bytes": "bytea",
        "a_color": "text",
    }
    found = decoder.column_types(shapes.head() + b"\0")
    assert {name: kind for name, kind in found.items() if kind != "jsonb"} == {
        "maybe": "integer",
        "text": "text",
        "at": "timestamp with time zone",
        "took": "interval",
        "wrapped": "bigint",
        "wrapped_bytes": "bytea",
        "wrapped_double": "double precision",
    }
