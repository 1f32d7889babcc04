"""Debezium's change events, unwrapped: the row as it is after the change, or that it is gone.

A value is JSON, with the schema that Connect's JsonConverter adds or without it; or Avro in the
wire format, where there is a registry.
"""

from collections.abc import Mapping

import msgspec

from kafka_pg_pipeline.domain.documents import Change, Decoded
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.formats.avro import AvroDecoder
from kafka_pg_pipeline.formats.connect_json import SchemaCache, rejections, unwrap
from kafka_pg_pipeline.formats.connect_schema import (
    Rewrite,
    Schema,
    compile_fields,
    describe_fields,
    join_object,
    rewrite_fields,
    split_object,
)
from kafka_pg_pipeline.formats.wire import has_schema_id
from kafka_pg_pipeline.ports import SchemaRegistry

# What stands for an out-of-line value that the change left as it was, by the type of the column:
# text, bytes, text[], numbers[] and uuid[].
_UNCHANGED_TEXT = b"__debezium_unavailable_value"
_UNCHANGED = frozenset(
    {
        b'"%s"' % _UNCHANGED_TEXT,
        b'"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="',
        b'"\\\\x%s"' % _UNCHANGED_TEXT.hex().encode(),
        b'["%s"]' % _UNCHANGED_TEXT,
        b"[" + b",".join(str(code).encode() for code in _UNCHANGED_TEXT) + b"]",
        b'["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]',
    }
)
_WRITES = frozenset({"c", "r", "u"})


class _Envelope(msgspec.Struct):
    op: str
    before: msgspec.Raw = msgspec.Raw(b"null")
    after: msgspec.Raw = msgspec.Raw(b"null")


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    schema: msgspec.Raw
    payload: _Envelope


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_wrapped = msgspec.json.Decoder(_Wrapped).decode


class DebeziumDecoder:
    """Decodes the value of a change event."""

    def __init__(self, registry: SchemaRegistry | None = None) -> None:
        self._rewrites = SchemaCache(_compile_row)
        self._types = SchemaCache(_describe_row)
        self._avro = AvroDecoder(registry) if registry is not None else None
        # As the last event was read is the likeliest way for the next one.
        self._open_next = _open_bare

    def decode(self, data: bytes) -> Decoded:
        """The row behind a create, read or update; the row before a delete, if there is one.

        Of the row before, only the key is to be believed: unless the table's replica identity is
        FULL, the other columns hold null or a filler.

        Raises:
            Rejected: it is no change event.
        """
        with rejections:
            schema, envelope = self._open(data)
            rewrites = {} if schema is None else self._rewrites[schema]
            if envelope.op in _WRITES:
                return _written(bytes(envelope.after), rewrites)
            if envelope.op == "d":
                return _deleted(bytes(envelope.before), rewrites)
            if envelope.op == "t":
                return Decoded(None, Change.TRUNCATE)
        raise Rejected(Stage.DECODE, Reason.UNDECODABLE)

    def column_types(self, data: bytes) -> Mapping[str, str]:
        """PostgreSQL's types for the columns of the row, where the event has a schema."""
        if self._avro is not None and has_schema_id(data):
            return self._avro.column_types(data, within="after")
        with rejections:
            schema, _ = unwrap(data)
            described: Mapping[str, str] = {} if schema is None else self._types[schema]
            return described

    def _open(self, data: bytes) -> tuple[bytes | None, _Envelope]:
        """The event, and its schema where its values are still to be read by that."""
        if self._avro is not None and has_schema_id(data):
            return None, _decode_envelope(self._avro.decode(data).document or b"")
        try:
            return self._open_next(data)
        except msgspec.ValidationError:
            schema, payload = unwrap(data)
            self._open_next = _open_bare if payload is data else _open_wrapped
            return schema, _decode_envelope(payload)


def _open_bare(data: bytes) -> tuple[bytes | None, _Envelope]:
    return None, _decode_envelope(data)


def _open_wrapped(data: bytes) -> tuple[bytes | None, _Envelope]:
    wrapped = _decode_wrapped(data)
    schema = bytes(wrapped.schema)
    return None if schema == b"null" else schema, wrapped.payload


def _describe_row(schema: Schema) -> Mapping[str, str]:
    rows = {field.get("field"): field for field in schema.get("fields", ())}
    return describe_fields(rows.get("after") or {})


def _compile_row(schema: Schema) -> Mapping[str, Rewrite]:
    """What is rewritten in the rows of an envelope; both have one schema."""
    rows = {field.get("field"): field for field in schema.get("fields", ())}
    return compile_fields(rows.get("after") or {})


def _written(row: bytes, rewrites: Mapping[str, Rewrite]) -> Decoded:
    if not rewrites and row.startswith(b"{") and not _mentions_unchanged(row):
        return Decoded(row)
    fields = split_object(row)
    unchanged = frozenset(name for name, text in fields.items() if bytes(text) in _UNCHANGED)
    kept = {name: text for name, text in fields.items() if name not in unchanged}
    return Decoded(join_object(rewrite_fields(kept, rewrites)), Change.WRITE, unchanged)


def _mentions_unchanged(row: bytes) -> bool:
    return any(map(row.__contains__, _UNCHANGED))


def _deleted(row: bytes, rewrites: Mapping[str, Rewrite]) -> Decoded:
    if row == b"null":
        return Decoded(None, Change.DELETE)
    return Decoded(join_object(rewrite_fields(split_object(row), rewrites)), Change.DELETE)
