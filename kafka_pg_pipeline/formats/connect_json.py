"""What Kafka Connect's JsonConverter writes: schema and payload, or a payload alone."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import msgspec

from kafka_pg_pipeline.domain.documents import Change, Decoded
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected, Unfit
from kafka_pg_pipeline.formats.avro import AvroDecoder
from kafka_pg_pipeline.formats.connect_schema import (
    BadValueError,
    Rewrite,
    compile_schema,
    describe_fields,
    split_object,
)
from kafka_pg_pipeline.formats.wire import has_schema_id
from kafka_pg_pipeline.ports import SchemaRegistry

_NULL = b"null"
# A topic has few schemas, one for each change of its table.
_MOST_SCHEMAS = 1_000


class SchemaCache:
    """Compiles each schema text once."""

    def __init__(self, compile_text: Callable[[Any], Any]) -> None:
        self._compile = compile_text
        self._compiled: dict[bytes, Any] = {}
        self._last: tuple[bytes, Any] = (b"", None)

    def __getitem__(self, text: bytes) -> Any:
        # A schema is often longer than its record, and comparing is cheaper than hashing.
        if text != self._last[0]:
            self._last = (text, self._look_up(text))
        return self._last[1]

    def _look_up(self, text: bytes) -> Any:
        if text not in self._compiled:
            if len(self._compiled) >= _MOST_SCHEMAS:
                self._compiled.clear()
            self._compiled[text] = self._compile(msgspec.json.decode(text))
        return self._compiled[text]


class ConnectJsonDecoder:
    """Decodes values and keys; by their schema where they have one."""

    def __init__(self, registry: SchemaRegistry | None = None) -> None:
        self._rewrites = SchemaCache(compile_schema)
        self._types = SchemaCache(describe_fields)
        self._avro = AvroDecoder(registry) if registry is not None else None

    def decode(self, data: bytes) -> Decoded:
        """The payload; none at all is a deletion, as Connect writes one.

        With a registry, data in the wire format is Avro: AvroConverter's, where a user took that.

        Raises:
            Rejected: it is no JSON, or not what its schema says.
        """
        if self._avro is not None and has_schema_id(data):
            return self._avro.decode(data)
        with rejections:
            schema, payload = unwrap(data)
            rewrite: Rewrite | None = None if schema is None else self._rewrites[schema]
            if payload == _NULL:
                return Decoded(None, Change.DELETE)
            return Decoded(payload if rewrite is None else rewrite(payload))

    def column_types(self, data: bytes) -> Mapping[str, str]:
        """PostgreSQL's types for the fields, where the data has a schema."""
        if self._avro is not None and has_schema_id(data):
            return self._avro.column_types(data)
        with rejections:
            schema, _ = unwrap(data)
            described: Mapping[str, str] = {} if schema is None else self._types[schema]
            return described


def unwrap(data: bytes) -> tuple[bytes | None, bytes]:
    """Schema and payload as they are written; no schema where there is no such wrapper."""
    if not data.lstrip().startswith(b"{"):
        return None, data
    fields = split_object(data)
    if fields.keys() != {"schema", "payload"}:
        return None, data
    schema = bytes(fields["schema"])
    return None if schema == _NULL else schema, bytes(fields["payload"])


class Rejections:
    """Turns what the pieces of a decoder raise into a verdict on the record."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        reason = None if error is None else _find_reason(error)
        if reason is not None:
            raise Rejected(Stage.DECODE, reason) from None


# Without state, and entered for each record.
rejections = Rejections()


def _find_reason(error: BaseException) -> Reason | None:
    match error:
        case Unfit():
            return error.reason
        case UnicodeDecodeError():
            return Reason.INVALID_UTF8
        case RecursionError():
            return Reason.TOO_DEEP
        case msgspec.ValidationError() | BadValueError() | LookupError() | TypeError():
            return Reason.UNDECODABLE
        case msgspec.DecodeError():
            return Reason.INVALID_JSON
    return None
