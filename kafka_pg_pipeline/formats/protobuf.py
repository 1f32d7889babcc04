"""Protobuf, its schema from a registry.

The registry keeps .proto files; protoc, which comes with grpcio-tools, compiles them. A message
becomes a document by its descriptor, field by field: protobuf's own JSON writes 64-bit integers
as strings and bytes in base64, which says less than the message does.
"""

import re
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from kafka_pg_pipeline.domain.documents import Decoded
from kafka_pg_pipeline.domain.moments import format_nanoseconds
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.schemas import RegisteredSchema
from kafka_pg_pipeline.domain.verdicts import Rejected, Unfit
from kafka_pg_pipeline.extras import import_extra
from kafka_pg_pipeline.formats.fractions import write_fraction
from kafka_pg_pipeline.formats.semantic_types import format_decimal
from kafka_pg_pipeline.formats.wire import split_indexes, split_schema_id
from kafka_pg_pipeline.ports import SchemaRegistry

Descriptor = Any
Convert = Callable[[Any], Any]

_import = partial(import_extra, extra="protobuf", needed_by="this format")
_MAIN = "kafka_pg_schema.proto"
# What every registry has built in, so that no schema refers to it.
_BUILT_IN = Path(__file__).with_name("protos")
# A registry may show a map as the message of its entries, with an option that protoc keeps to
# itself: https://github.com/Aiven-Open/karapace/issues/1319
_MAP_ENTRY = re.compile(r"\boption\s+map_entry\s*=\s*true\s*;")
_MAP_MARK = "kafka_pg_map_entry"
_NANOSECONDS = 1_000_000_000
_encode = msgspec.json.Encoder().encode


class ProtobufDecoder:
    """Decodes values and keys in the wire format, each by the message that it names."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._compiler = ProtoCompiler()
        self._registry = registry
        self._files: dict[int, Descriptor | None] = {}
        self._messages: dict[tuple[int, tuple[int, ...]], Any] = {}
        self._writer = MessageWriter()

    def decode(self, data: bytes) -> Decoded:
        """The message.

        Raises:
            Rejected: there is no schema's id, or the bytes are not of its message.
            RegistryUnavailableError: the schema could not be fetched.
        """
        message_class, body = self._find(data)
        message = message_class()
        try:
            message.ParseFromString(body)
            return Decoded(_encode(self._writer.write(message)))
        except Unfit as unfit:
            raise Rejected(Stage.DECODE, unfit.reason) from None
        except self._compiler.decode_error:
            raise Rejected(Stage.DECODE, Reason.UNDECODABLE) from None

    def column_types(self, data: bytes) -> Mapping[str, str]:
        """PostgreSQL's types for the fields of the message that these bytes name."""
        message_class, _ = self._find(data)
        return {field.name: _column_type(field) for field in message_class.DESCRIPTOR.fields}

    def _find(self, data: bytes) -> tuple[Any, bytes]:
        schema_id, rest = split_schema_id(data)
        indexes, body = split_indexes(rest)
        key = (schema_id, indexes)
        if key not in self._messages:
            self._messages[key] = self._compiler.make_class(self._file(schema_id), indexes)
        return self._messages[key], body

    def _file(self, schema_id: int) -> Descriptor:
        if schema_id not in self._files:
            schema = self._registry.fetch_schema(schema_id)
            # protoc takes its time: what it refused once, it is not asked again.
            self._files[schema_id] = None
            self._files[schema_id] = self._compiler.compile(schema)
        if self._files[schema_id] is None:
            raise Rejected(Stage.DECODE, Reason.UNKNOWN_SCHEMA)
        return self._files[schema_id]


class ProtoCompiler:
    """Makes descriptors of .proto files, and classes of descriptors."""

    def __init__(self) -> None:
        self._protoc = _import("grpc_tools.protoc")
        self._descriptors = _import("google.protobuf.descriptor_pb2")
        self._pool = _import("google.protobuf.descriptor_pool")
        self._factory = _import("google.protobuf.message_factory")
        self.decode_error = _import("google.protobuf.message").DecodeError
        self._well_known = Path(_import("grpc_tools").__file__ or "").parent / "_proto"

    def compile(self, schema: RegisteredSchema) -> Descriptor:
        """The descriptor of a schema's file.

        Raises:
            Rejected: it is no schema.
        """
        with tempfile.TemporaryDirectory(prefix="kafka_pg_proto_") as name:
            directory = Path(name)
            _write_files(directory, schema)
            _write_file(directory / _MAIN, schema.text)
            output = directory / "kafka_pg_descriptors"
            failed = self._protoc.main(
                [
                    "protoc",
                    f"--proto_path={directory}",
                    f"--proto_path={_BUILT_IN}",
                    f"--proto_path={self._well_known}",
                    f"--descriptor_set_out={output}",
                    "--include_imports",
                    _MAIN,
                ]
            )
            if failed:
                raise Rejected(Stage.DECODE, Reason.UNKNOWN_SCHEMA)
            files = self._descriptors.FileDescriptorSet.FromString(output.read_bytes())
        pool = self._pool.DescriptorPool()
        for file in files.file:
            for message in file.message_type:
                _restore_maps(message)
            pool.Add(file)
        return pool.FindFileByName(_MAIN)

    def make_class(self, file: Descriptor, indexes: tuple[int, ...]) -> Any:
        """The class of the message that the indexes lead to, from a file down.

        Raises:
            Rejected: there is no such message.
        """
        messages = list(file.message_types_by_name.values())
        descriptor = None
        for index in indexes:
            if not 0 <= index < len(messages):
                raise Rejected(Stage.DECODE, Reason.UNDECODABLE)
            descriptor = messages[index]
            messages = list(descriptor.nested_types)
        if descriptor is None:
            raise Rejected(Stage.DECODE, Reason.UNDECODABLE)
        return self._factory.GetMessageClass(descriptor)


def _write_files(directory: Path, schema: RegisteredSchema) -> None:
    for name, reference in schema.references:
        path = directory / name
        if not path.resolve().is_relative_to(directory.resolve()):
            raise Rejected(Stage.DECODE, Reason.UNKNOWN_SCHEMA)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_file(path, reference.text)
        _write_files(directory, reference)


def _write_file(path: Path, text: str) -> None:
    path.write_text(_MAP_ENTRY.sub(f'reserved "{_MAP_MARK}";', text), "utf-8")


def _restore_maps(message: Any) -> None:
    """Make maps again of the entries that were marked when the text was written."""
    for nested in message.nested_type:
        if _MAP_MARK in nested.reserved_name:
            nested.reserved_name.remove(_MAP_MARK)
            nested.options.map_entry = True
        _restore_maps(nested)


# -- messages as plain values --------------------------------------------------------------------


class MessageWriter:
    """Turns messages into values that msgspec writes exactly; learns each kind of message once."""

    def __init__(self) -> None:
        # By descriptor, not by name: each schema has its own of a message.
        self._known: dict[Descriptor, list[tuple[str, bool, Convert]]] = {}

    def write(self, message: Any) -> Any:
        """The message: by the names of the .proto file, null where a field is not set.

        A field that does not tell whether it was set has its default then.

        Raises:
            Unfit: a moment that timestamptz does not reach.
        """
        special = _WELL_KNOWN.get(message.DESCRIPTOR.full_name)
        if special is not None:
            return special(self, message)
        return {
            name: None
            if optional and not message.HasField(name)
            else convert(getattr(message, name))
            for name, optional, convert in self._fields(message.DESCRIPTOR)
        }

    def _fields(self, descriptor: Descriptor) -> list[tuple[str, bool, Convert]]:
        if descriptor not in self._known:
            self._known[descriptor] = [
                (
                    field.name,
                    # A default that the schema itself names is the value, as readers see it.
                    field.has_presence and not field.has_default_value,
                    self._converter(field),
                )
                for field in descriptor.fields
            ]
        return self._known[descriptor]

    def _converter(self, field: Descriptor) -> Convert:
        if _is_map(field):
            convert = self._single(field.message_type.fields_by_name["value"])
            # Protobuf gives them in any order; the same record is to be the same document.
            return lambda entries: {_name(key): convert(entries[key]) for key in sorted(entries)}
        convert = self._single(field)
        if field.is_repeated:
            return lambda items: [convert(item) for item in items]
        return convert

    def _single(self, field: Descriptor) -> Convert:
        if field.type in (field.TYPE_MESSAGE, field.TYPE_GROUP):
            return self.write
        if field.type == field.TYPE_ENUM:
            names = {
                number: value.name for number, value in field.enum_type.values_by_number.items()
            }
            return lambda number: names.get(number, number)
        if field.type == field.TYPE_BYTES:
            return lambda data: "\\x" + data.hex()
        if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT):
            return write_fraction
        return lambda value: value


def _is_map(field: Descriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _name(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _timestamp(_: MessageWriter, message: Any) -> str:
    return format_nanoseconds(message.seconds * _NANOSECONDS + message.nanos)


def _duration(_: MessageWriter, message: Any) -> str:
    count = message.seconds * _NANOSECONDS + message.nanos
    microseconds, rest = divmod(abs(count), 1000)
    sign = "-" if count < 0 else ""
    return f"{sign}{microseconds}{f'.{rest:03d}' if rest else ''} microseconds"


def _wrapped(writer: MessageWriter, message: Any) -> Any:
    value = message.DESCRIPTOR.fields_by_name["value"]
    return writer._single(value)(message.value)  # noqa: SLF001 - a part of it


def _struct(writer: MessageWriter, message: Any) -> Any:
    return {name: writer.write(message.fields[name]) for name in sorted(message.fields)}


def _list(writer: MessageWriter, message: Any) -> Any:
    return [writer.write(value) for value in message.values]


def _value(writer: MessageWriter, message: Any) -> Any:
    kind = message.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    found = getattr(message, kind)
    if kind in ("struct_value", "list_value"):
        return writer.write(found)
    if kind != "number_value":
        return found
    # A Struct's numbers are doubles, whole ones among them.
    return int(found) if isinstance(found, float) and found.is_integer() else write_fraction(found)


def _decimal(_: MessageWriter, message: Any) -> Any:
    return format_decimal(message.value, message.scale)


_WELL_KNOWN: Mapping[str, Callable[[MessageWriter, Any], Any]] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list,
    "google.protobuf.Value": _value,
    "confluent.type.Decimal": _decimal,
    **{
        f"google.protobuf.{kind}Value": _wrapped
        for kind in (
            *("Bool", "Bytes", "Double", "Float"),
            *("Int32", "Int64", "String", "UInt32", "UInt64"),
        )
    },
}

# -- types of a new table's columns --------------------------------------------------------------

_MESSAGE_TYPES = {
    "google.protobuf.Timestamp": "timestamp with time zone",
    "google.protobuf.Duration": "interval",
    "google.protobuf.BoolValue": "boolean",
    "google.protobuf.BytesValue": "bytea",
    "google.protobuf.DoubleValue": "double precision",
    "google.protobuf.FloatValue": "real",
    "google.protobuf.Int32Value": "integer",
    "google.protobuf.Int64Value": "bigint",
    "google.protobuf.StringValue": "text",
    "google.protobuf.UInt32Value": "bigint",
    "google.protobuf.UInt64Value": "numeric",
    "confluent.type.Decimal": "numeric",
}


def _column_type(field: Descriptor) -> str:
    if field.is_repeated:
        return "jsonb"
    if field.message_type is not None:
        return _MESSAGE_TYPES.get(field.message_type.full_name, "jsonb")
    kinds = {
        field.TYPE_BOOL: "boolean",
        field.TYPE_BYTES: "bytea",
        field.TYPE_DOUBLE: "double precision",
        field.TYPE_FLOAT: "real",
        field.TYPE_ENUM: "text",
        field.TYPE_STRING: "text",
        field.TYPE_UINT32: "bigint",
        field.TYPE_FIXED32: "bigint",
        field.TYPE_UINT64: "numeric",
        field.TYPE_FIXED64: "numeric",
        field.TYPE_INT64: "bigint",
        field.TYPE_SINT64: "bigint",
        field.TYPE_SFIXED64: "bigint",
    }
    return kinds.get(field.type, "integer")
