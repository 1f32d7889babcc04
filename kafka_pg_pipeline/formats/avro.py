"""Avro, its schema from a registry or from a file.

fastavro decodes. Of what its own conversions make, some is not exact (a datetime ends with year
9999) and some is no JSON: each schema is therefore rewritten, so that its logical types, bytes
and fractions carry names of ours, and fastavro calls the readers that are registered under these
(fastavro's documentation, "Logical Types": custom ones).
"""

import io
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from uuid import UUID

import msgspec

from kafka_pg_pipeline.domain.documents import Decoded
from kafka_pg_pipeline.domain.moments import (
    format_days,
    format_microseconds,
    format_nanoseconds,
    format_time,
)
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.schemas import RegisteredSchema
from kafka_pg_pipeline.domain.verdicts import Rejected, Unfit
from kafka_pg_pipeline.extras import import_extra
from kafka_pg_pipeline.formats.fractions import write_fraction
from kafka_pg_pipeline.formats.semantic_types import (
    find_column_type,
    find_semantic_type,
    format_decimal,
)
from kafka_pg_pipeline.formats.wire import split_schema_id
from kafka_pg_pipeline.ports import SchemaRegistry

_import = partial(import_extra, extra="avro", needed_by="this format")

Schema = Any  # as JSON has it: a name, a list of a union's branches, or an object

_PREFIX = "kafka-pg-"
_SEMANTIC = "semantic"
_BROKEN = (
    *(EOFError, StopIteration, ValueError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, struct.error),
)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ParsedSchema:
    """A schema that fastavro reads with, the types in it that have names, and their shape.

    ``holds_itself`` tells that a type is among its own parts, so that data may nest without end.
    """

    schema: Schema
    named: Mapping[str, Schema]
    holds_itself: bool


class AvroDecoder:
    """Decodes values and keys in the wire format, each by the schema that it names."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._reader = AvroReader()
        self._registry = registry
        self._parsed: dict[int, ParsedSchema] = {}

    def decode(self, data: bytes) -> Decoded:
        """The datum.

        Raises:
            Rejected: there is no schema's id, or the bytes are not of the schema.
            RegistryUnavailableError: the schema could not be fetched.
        """
        return Decoded(write_document(self.read(data)))

    def read(self, data: bytes) -> Any:
        """The datum as plain values that msgspec writes exactly; raises as ``decode`` does."""
        schema_id, body = split_schema_id(data)
        return self._reader.read(self._schema(schema_id), body)

    def column_types(self, data: bytes, *, within: str | None = None) -> Mapping[str, str]:
        """PostgreSQL's types for the fields of a datum, or of the record in one of its fields."""
        schema_id, _ = split_schema_id(data)
        parsed = self._schema(schema_id)
        record = parsed.schema if within is None else _find_field(parsed, within)
        return describe_fields(record, parsed.named)

    def _schema(self, schema_id: int) -> ParsedSchema:
        if schema_id not in self._parsed:
            self._parsed[schema_id] = self._reader.parse(self._registry.fetch_schema(schema_id))
        return self._parsed[schema_id]


class AvroFileDecoder:
    """Decodes bare Avro, without a header, by one schema."""

    def __init__(self, text: str) -> None:
        self._reader = AvroReader()
        self._schema = self._reader.parse(RegisteredSchema("AVRO", text))

    def decode(self, data: bytes) -> Decoded:
        """The datum.

        Raises:
            Rejected: the bytes are not of the schema.
        """
        return Decoded(write_document(self._reader.read(self._schema, data)))

    def column_types(self, _: bytes) -> Mapping[str, str]:
        """PostgreSQL's types for the fields of the record that the schema describes."""
        return describe_fields(self._schema.schema, self._schema.named)


class AvroReader:
    """fastavro with our readers of logical types."""

    def __init__(self) -> None:
        self._fastavro = _import("fastavro")
        self._read = self._fastavro.schemaless_reader
        # A value nested deeply enough overruns the stack of fastavro's compiled reader, which is
        # the end of the process; the one in Python raises RecursionError.
        self._read_nested = _import("fastavro._read_py").schemaless_reader
        readers = _import("fastavro.read").LOGICAL_READERS
        for name, convert in _READERS.items():
            for kind in ("int", "long", "float", "double", "bytes", "fixed", "string", "record"):
                readers[f"{kind}-{_PREFIX}{name}"] = convert

    def parse(self, schema: RegisteredSchema) -> ParsedSchema:
        """The schema, ready to be read with.

        Raises:
            Rejected: it is none.
        """
        names: dict[str, Any] = {}
        try:
            parsed = self._parse(schema, names)
            return ParsedSchema(parsed, names, _holds_itself(parsed, names))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise Rejected(Stage.DECODE, Reason.UNKNOWN_SCHEMA) from None

    def _parse(self, schema: RegisteredSchema, names: dict[str, Any]) -> Schema:
        for _, reference in schema.references:
            self._parse(reference, names)
        try:
            return self._fastavro.parse_schema(rename(json.loads(schema.text)), names)
        except self._fastavro.schema.SchemaParseException:
            raise ValueError from None

    def read(self, parsed: ParsedSchema, data: bytes) -> Any:
        """The one datum that the bytes hold.

        Raises:
            Rejected: they hold something else.
        """
        source = io.BytesIO(data)
        read = self._read_nested if parsed.holds_itself else self._read
        try:
            datum = read(source, parsed.schema, None)
        except UnicodeDecodeError:
            raise Rejected(Stage.DECODE, Reason.INVALID_UTF8) from None
        except Unfit as unfit:
            raise Rejected(Stage.DECODE, unfit.reason) from None
        except RecursionError:
            raise Rejected(Stage.DECODE, Reason.TOO_DEEP) from None
        except _BROKEN:
            raise Rejected(Stage.DECODE, Reason.UNDECODABLE) from None
        if source.tell() != len(data):
            raise Rejected(Stage.DECODE, Reason.UNDECODABLE)
        return datum


def write_document(datum: Any) -> bytes:
    """A datum that ``AvroReader`` read as a JSON document.

    Raises:
        Rejected: a string in it cannot be written.
    """
    try:
        return _encode(datum)
    except (UnicodeEncodeError, ValueError, TypeError):
        raise Rejected(Stage.DECODE, Reason.UNDECODABLE) from None


# -- schemas with names of ours ------------------------------------------------------------------

# What Avro's own types are called where they need a reader.
_PLAIN = {"bytes": "bytes", "fixed": "bytes", "float": "fraction", "double": "fraction"}


def rename(schema: Schema) -> Schema:
    """The schema with our names for all that we convert."""
    if isinstance(schema, list):
        return [rename(branch) for branch in schema]
    if isinstance(schema, str):
        name = _PLAIN.get(schema)
        return schema if name is None else {"type": schema, "logicalType": _PREFIX + name}
    renamed = dict(schema)
    kind = renamed.get("type")
    if isinstance(kind, dict | list):
        return {**renamed, "type": rename(kind)}
    if _find_semantic(renamed) is not None:
        # What it is made of is read as it is.
        return {**renamed, "logicalType": _PREFIX + _SEMANTIC}
    for nested in ("items", "values"):
        if nested in renamed:
            renamed[nested] = rename(renamed[nested])
    if "fields" in renamed:
        # A default serves readers with another schema, and old ones are often of no such type.
        renamed["fields"] = [
            {"name": field["name"], "type": rename(field["type"])} for field in renamed["fields"]
        ]
    name = _name_of(renamed)
    renamed.pop("logicalType", None)
    if name is not None:
        renamed["logicalType"] = _PREFIX + name
    return renamed


def _name_of(schema: Mapping[str, Any]) -> str | None:
    """What reads values of a type; a logical type that it cannot have is ignored, as Avro asks."""
    logical, kind = schema.get("logicalType"), schema.get("type")
    if (logical, kind) == ("uuid", "string"):
        return "text-uuid"
    if kind == "fixed" and schema.get("size") != _SIZES.get(logical, schema.get("size")):
        return "bytes"
    return logical if kind in _KINDS.get(logical, ()) else _PLAIN.get(str(kind))


def _find_semantic(schema: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    name = schema.get("connect.name")
    if not name:
        return None
    parameters = schema.get("connect.parameters") or {}
    return find_semantic_type(name, parameters)


# -- readers -------------------------------------------------------------------------------------


def _plain(convert: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda data, _=None, __=None: convert(data)


# The usual ones cost one call a value, not two.


def _read_fraction(number: float, _: Schema = None, __: Schema = None) -> float | str:
    return number if number - number == 0 else write_fraction(number)


def _read_milliseconds(count: int, _: Schema = None, __: Schema = None) -> str:
    return format_microseconds(count * 1000)


def _read_microseconds(count: int, _: Schema = None, __: Schema = None) -> str:
    return format_microseconds(count)


def _read_bytes(data: bytes, _: Schema = None, __: Schema = None) -> str:
    return "\\x" + data.hex()


def _read_decimal(data: bytes, schema: Schema, _: Schema = None) -> msgspec.Raw:
    return format_decimal(data, int(schema.get("scale", 0)))


def _read_uuid(data: bytes, _: Schema = None, __: Schema = None) -> str:
    return str(UUID(bytes=bytes(data)))


def _read_duration(data: bytes, _: Schema = None, __: Schema = None) -> str:
    months, days, milliseconds = struct.unpack("<III", data)
    return f"{months} months {days} days {milliseconds} milliseconds"


def _read_semantic(value: Any, schema: Schema, _: Schema = None) -> Any:
    return _semantic(schema["connect.name"], json.dumps(schema.get("connect.parameters")))(value)


@cache
def _semantic(name: str, parameters: str) -> Callable[[Any], Any]:
    convert = find_semantic_type(name, json.loads(parameters) or {})
    return convert or (lambda value: value)


_READERS: Mapping[str, Callable[..., Any]] = {
    _SEMANTIC: _read_semantic,
    "bytes": _read_bytes,
    "fraction": _read_fraction,
    "decimal": _read_decimal,
    "uuid": _read_uuid,
    "text-uuid": _plain(str),
    "duration": _read_duration,
    "date": _plain(format_days),
    "time-millis": _plain(lambda count: format_time(count * 1000)),
    "time-micros": _plain(format_time),
    "timestamp-millis": _read_milliseconds,
    "timestamp-micros": _read_microseconds,
    "timestamp-nanos": _plain(format_nanoseconds),
    "local-timestamp-millis": _plain(lambda count: format_microseconds(count * 1000, zone="")),
    "local-timestamp-micros": _plain(lambda count: format_microseconds(count, zone="")),
    "local-timestamp-nanos": _plain(lambda count: format_nanoseconds(count, zone="")),
}

# The types that a logical type can stand on, and the size that it needs of a fixed one.
_KINDS: Mapping[Any, tuple[str, ...]] = {
    "decimal": ("bytes", "fixed"),
    "uuid": ("fixed",),
    "duration": ("fixed",),
    "date": ("int",),
    "time-millis": ("int",),
    "time-micros": ("long",),
    **{
        f"{local}timestamp-{unit}": ("long",)
        for local in ("", "local-")
        for unit in ("millis", "micros", "nanos")
    },
}
_SIZES: Mapping[Any, int] = {"uuid": 16, "duration": 12}


def _holds_itself(schema: Schema, named: Mapping[str, Schema]) -> bool:
    """Whether a type with a name is among its own parts."""
    finished: set[str] = set()

    def search(part: Schema, around: frozenset[str]) -> bool:
        if isinstance(part, list):
            return any(search(branch, around) for branch in part)
        name = str(part.get("name", "")) if isinstance(part, dict) else str(part)
        if name in around or name in finished:
            return name in around
        inner = around | {name} if name in named else around
        found = any(search(one, inner) for one in _parts(named.get(name, part)))
        finished.update(inner - around)
        return found

    return search(schema, frozenset())


def _parts(schema: Schema) -> list[Schema]:
    if not isinstance(schema, dict):
        return []
    fields = [field["type"] for field in schema.get("fields", ())]
    return fields + [schema[key] for key in ("items", "values") if key in schema]


# -- types of a new table's columns --------------------------------------------------------------

_COLUMN_TYPES = {
    "boolean": "boolean",
    "int": "integer",
    "long": "bigint",
    "float": "real",
    "double": "double precision",
    "bytes": "bytea",
    "fixed": "bytea",
    "string": "text",
    "enum": "text",
    "array": "jsonb",
    "map": "jsonb",
    "record": "jsonb",
}
_LOGICAL_COLUMN_TYPES = {
    "uuid": "uuid",
    "text-uuid": "uuid",
    "duration": "interval",
    "date": "date",
    "time-millis": "time without time zone",
    "time-micros": "time without time zone",
    "timestamp-millis": "timestamp with time zone",
    "timestamp-micros": "timestamp with time zone",
    "timestamp-nanos": "timestamp with time zone",
    "local-timestamp-millis": "timestamp without time zone",
    "local-timestamp-micros": "timestamp without time zone",
    "local-timestamp-nanos": "timestamp without time zone",
}


def describe_fields(schema: Schema, named: Mapping[str, Schema]) -> Mapping[str, str]:
    """PostgreSQL's types for the fields of a record; empty for what is none.

    A field of several types besides null is not described: its values decide.
    """
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return {}
    described = {field["name"]: _describe(field["type"], named) for field in schema["fields"]}
    return {name: kind for name, kind in described.items() if kind is not None}


def _find_field(parsed: ParsedSchema, name: str) -> Schema:
    """The record in a field, beside null perhaps; None where there is none."""
    fields = parsed.schema.get("fields", ()) if isinstance(parsed.schema, dict) else ()
    for field in fields:
        if field["name"] == name:
            branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
            wholes = [_whole(branch, parsed.named) for branch in branches]
            return next((whole for whole in wholes if isinstance(whole, dict)), None)
    return None


def _whole(schema: Schema, named: Mapping[str, Schema]) -> Schema:
    """The type behind a name; where it is first used it stands itself."""
    return named.get(schema, schema) if isinstance(schema, str) else schema


def _describe(schema: Schema, named: Mapping[str, Schema]) -> str | None:
    if isinstance(schema, list):
        branches = [branch for branch in schema if branch != "null"]
        return _describe(branches[0], named) if len(branches) == 1 else None
    schema = _whole(schema, named)
    if isinstance(schema, str):
        return _COLUMN_TYPES.get(schema)
    kind = schema.get("type")
    if isinstance(kind, dict | list):
        return _describe(kind, named)
    logical = str(schema.get("logicalType", "")).removeprefix(_PREFIX)
    if logical == _SEMANTIC:
        return find_column_type(schema["connect.name"], schema.get("connect.parameters") or {})
    if logical == "decimal":
        precision = schema.get("precision")
        return f"numeric({precision},{schema.get('scale', 0)})" if precision else "numeric"
    return _LOGICAL_COLUMN_TYPES.get(logical) or _COLUMN_TYPES.get(str(kind))
