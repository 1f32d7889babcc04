"""Debezium's change events, unwrapped: the row as it is after the change, or that it is gone.

A value is JSON, with the schema that Connect's JsonConverter adds or without it.
"""

from collections.abc import Mapping

import msgspec

from kafka_pg_pipeline.domain.documents import Change, Decoded
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.formats.connect_json import SchemaCache, rejections, unwrap
from kafka_pg_pipeline.formats.connect_schema import (
    Rewrite,
    Schema,
    compile_fields,
    join_object,
    rewrite_fields,
    split_object,
)

# What stands for an out-of-line value that the change left as it was, by the type of the column:
# text, bytes, text[], numbers[] and uuid[].
_UNCHANGED_TEXT = b"__debezium_unavailable_value"
_UNCHANGED = frozenset(
    {
        b'"%s"' % _UNCHANGED_TEXT,
        b'"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="',
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


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


class DebeziumDecoder:
    """Decodes the value of a change event."""

    def __init__(self) -> None:
        self._rewrites = SchemaCache(_compile_row)

    def decode(self, data: bytes) -> Decoded:
        """The row behind a create, read or update; the row before a delete, if there is one.

        Of the row before, only the key is to be believed: unless the table's replica identity is
        FULL, the other columns hold null or a filler.

        Raises:
            Rejected: it is no change event.
        """
        with rejections():
            schema, payload = unwrap(data)
            envelope = _decode_envelope(payload)
            rewrites = {} if schema is None else self._rewrites[schema]
            if envelope.op in _WRITES:
                return _written(bytes(envelope.after), rewrites)
            if envelope.op == "d":
                return _deleted(bytes(envelope.before), rewrites)
            if envelope.op == "t":
                return Decoded(None, Change.TRUNCATE)
        raise Rejected(Stage.DECODE, Reason.UNDECODABLE)


def _compile_row(schema: Schema) -> Mapping[str, Rewrite]:
    """What is rewritten in the rows of an envelope; both have one schema."""
    rows = {field.get("field"): field for field in schema.get("fields", ())}
    return compile_fields(rows.get("after") or {})


def _written(row: bytes, rewrites: Mapping[str, Rewrite]) -> Decoded:
    fields = split_object(row)
    unchanged = frozenset(name for name, text in fields.items() if bytes(text) in _UNCHANGED)
    kept = {name: text for name, text in fields.items() if name not in unchanged}
    return Decoded(join_object(rewrite_fields(kept, rewrites)), Change.WRITE, unchanged)


def _deleted(row: bytes, rewrites: Mapping[str, Rewrite]) -> Decoded:
    if row == b"null":
        return Decoded(None, Change.DELETE)
    return Decoded(join_object(rewrite_fields(split_object(row), rewrites)), Change.DELETE)
