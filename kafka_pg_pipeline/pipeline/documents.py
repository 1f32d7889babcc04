"""What records say, as JSON documents: their values, and their keys."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kafka_pg_pipeline.domain.documents import Change, Decoded
from kafka_pg_pipeline.domain.records import Reason, Record, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.pipeline.prepare import Preparation
from kafka_pg_pipeline.ports import RecordDecoder, TypedDecoder

# The field of a value that is no object: a text, bytes, or a number.
VALUE_FIELD = "value"
_WHITESPACE = b" \t\n\r"
_TOMBSTONE = Decoded(None, Change.DELETE)


def read_value(
    record: Record, decoder: RecordDecoder | None, preparation: Preparation
) -> Decoded | None:
    """What a record says; without a decoder its value is JSON. None where it is left out.

    Raises:
        Rejected: the value is not of the format, or cannot be prepared.
        RegistryUnavailableError: its schema could not be fetched.
    """
    if record.value is None:
        return _TOMBSTONE
    decoded = Decoded(record.value) if decoder is None else decoder.decode(record.value)
    document = decoded.document
    if document is None:
        return decoded
    if decoder is not None and not document.startswith(b"{"):
        document = as_object(document, (VALUE_FIELD,))
    prepared = document if preparation.is_idle else preparation.of_value(record, document)
    if prepared is None or prepared is decoded.document:
        return None if prepared is None else decoded
    return decoded._replace(document=prepared)


def read_values(
    records: Iterable[Record], decoder: RecordDecoder | None, preparation: Preparation
) -> list[bytes]:
    """The documents of rows, of those records that can be read and have one."""
    documents = []
    for record in records:
        try:
            decoded = read_value(record, decoder, preparation)
        except Rejected:
            continue
        if decoded and decoded.document is not None and decoded.change is Change.WRITE:
            documents.append(decoded.document)
    return documents


def fetch_types(records: Sequence[Record], decoder: RecordDecoder | None) -> Mapping[str, str]:
    """PostgreSQL types by field, by the schemas of the records; of two the later one counts."""
    types: dict[str, str] = {}
    if not isinstance(decoder, TypedDecoder):
        return types
    for record in records:
        if record.value is None:
            continue
        try:
            types |= decoder.column_types(record.value)
        except Rejected:
            continue
    return types


def read_key(record: Record, decoder: RecordDecoder | None) -> bytes | None:
    """The document of a record's key; without a decoder it is text.

    Raises:
        Rejected: the key is not of the format.
        RegistryUnavailableError: its schema could not be fetched.
    """
    if record.key is None:
        return None
    return _read_text(record.key) if decoder is None else decoder.decode(record.key).document


def as_object(document: bytes, fields: tuple[str, ...]) -> bytes:
    """The document if it is an object, else an object with it as the one field.

    Raises:
        Rejected: there are several fields, and nothing says which of them it is.
    """
    if document.lstrip(_WHITESPACE)[:1] == b"{":
        return document
    if len(fields) != 1:
        raise Rejected(Stage.DECODE, Reason.NOT_AN_OBJECT)
    return b"{" + msgspec.json.encode(fields[0]) + b":" + document + b"}"


def _read_text(data: bytes) -> bytes:
    try:
        return msgspec.json.encode(data.decode())
    except UnicodeDecodeError:
        raise Rejected(Stage.DECODE, Reason.INVALID_UTF8) from None
