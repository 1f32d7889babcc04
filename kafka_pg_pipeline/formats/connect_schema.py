"""Kafka Connect's schemas: how the JSON of a value is to be read, compiled once a schema.

What a schema does not name stays as it was written, digit by digit: only the values of named types
and of bytes are taken apart.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kafka_pg_pipeline.formats.semantic_types import Convert, find_column_type, find_semantic_type

# A JSON text to the JSON text that it becomes.
Rewrite = Callable[[bytes], bytes]
Schema = Mapping[str, Any]

_COLUMN_TYPES = {
    "int8": "smallint",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "float": "real",
    "double": "double precision",
    "boolean": "boolean",
    "string": "text",
    "bytes": "bytea",
    "array": "jsonb",
    "map": "jsonb",
    "struct": "jsonb",
}
_NULL = b"null"
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class BadValueError(ValueError):
    """A value is not of its schema."""


def compile_schema(schema: Schema) -> Rewrite | None:
    """How values of a schema are rewritten; None where they are what they are.

    The result raises BadValueError, ``msgspec.DecodeError`` and Unfit.
    """
    rewrite = _compile(schema)
    return None if rewrite is None else _keep_null(rewrite)


def describe_fields(schema: Schema) -> Mapping[str, str]:
    """PostgreSQL's types for the fields of a struct."""
    described = {field["field"]: _describe(field) for field in schema.get("fields", ())}
    return {name: kind for name, kind in described.items() if kind is not None}


def _describe(schema: Schema) -> str | None:
    named = find_column_type(schema.get("name") or "", schema.get("parameters") or {})
    return named or _COLUMN_TYPES.get(str(schema.get("type")))


def compile_fields(schema: Schema) -> Mapping[str, Rewrite]:
    """The fields of a struct that are rewritten, and how."""
    fields = {field["field"]: compile_schema(field) for field in schema.get("fields", ())}
    return {name: rewrite for name, rewrite in fields.items() if rewrite is not None}


def split_object(literal: bytes) -> dict[str, msgspec.Raw]:
    """The fields of an object, each as it is written."""
    return _decode_object(literal)


def join_object(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """An object of fields that are written already."""
    return _encode(fields)


def rewrite_fields(
    fields: Mapping[str, msgspec.Raw], rewrites: Mapping[str, Rewrite]
) -> Mapping[str, msgspec.Raw]:
    """The fields, those that are named differently read."""
    changed = {
        name: msgspec.Raw(rewrite(bytes(fields[name])))
        for name, rewrite in rewrites.items()
        if name in fields
    }
    return {**fields, **changed}


def _keep_null(rewrite: Rewrite) -> Rewrite:
    return lambda literal: literal if literal == _NULL else rewrite(literal)


def _compile(schema: Schema) -> Rewrite | None:
    parameters = schema.get("parameters") or {}
    convert = find_semantic_type(schema.get("name") or "", parameters)
    if convert is not None:
        return _convert_with(convert, _reader(schema))
    match schema.get("type"):
        case "bytes":
            return lambda literal: b'"\\\\x' + _read_bytes(literal).hex().encode() + b'"'
        case "struct":
            return _struct(schema)
        case "array":
            return _array(schema["items"])
        case "map" if schema["keys"].get("type") == "string":
            return _map(schema["values"])
    return None


def _struct(schema: Schema) -> Rewrite | None:
    rewrites = compile_fields(schema)
    if not rewrites:
        return None
    return lambda literal: join_object(rewrite_fields(_decode_object(literal), rewrites))


def _array(items: Schema) -> Rewrite | None:
    rewrite = compile_schema(items)
    if rewrite is None:
        return None
    return lambda literal: (
        b"[" + b",".join(rewrite(bytes(item)) for item in _decode_array(literal)) + b"]"
    )


def _map(values: Schema) -> Rewrite | None:
    rewrite = compile_schema(values)
    if rewrite is None:
        return None
    return lambda literal: join_object(
        {
            name: msgspec.Raw(rewrite(bytes(value)))
            for name, value in _decode_object(literal).items()
        }
    )


def _convert_with(convert: Convert, read: Callable[[bytes], Any]) -> Rewrite:
    def rewrite(literal: bytes) -> bytes:
        value = read(literal)
        try:
            return _encode(convert(value))
        except (TypeError, ValueError, LookupError, AttributeError):
            raise BadValueError("not of the named type") from None

    return rewrite


def _reader(schema: Schema) -> Callable[[bytes], Any]:
    """What reads the plain value of a schema: bytes stand in base64."""
    if schema.get("type") == "bytes":
        return _read_bytes
    if schema.get("type") != "struct":
        return msgspec.json.decode
    readers = {field["field"]: _reader(field) for field in schema.get("fields", ())}

    def read(literal: bytes) -> Any:
        fields = _decode_object(literal)
        return {
            name: None if bytes(value) == _NULL else readers.get(name, _as_written)(bytes(value))
            for name, value in fields.items()
        }

    return read


def _as_written(literal: bytes) -> Any:
    return msgspec.json.decode(literal)


def _read_bytes(literal: bytes) -> bytes:
    try:
        return base64.b64decode(msgspec.json.decode(literal, type=str), validate=True)
    except binascii.Error:
        raise BadValueError("base64") from None
