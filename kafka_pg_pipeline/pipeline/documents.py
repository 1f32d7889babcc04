"""What records say, as JSON documents: their values, and their keys."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kafka_pg_pipeline.domain.documents import Change, Decoded
from kafka_pg_pipeline.domain.record_runs import RecordRun
from kafka_pg_pipeline.domain.records import Reason, Record, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.pipeline.prepare import Preparation
from kafka_pg_pipeline.ports import RecordDecoder, TypedDecoder

# The field of a value that is no object: a text, bytes, or a number.
VALUE_FIELD = "value"
_WHITESPACE = b" \t\n\r"
_TOMBSTONE = Decoded(None, Change.DELETE)

# What became of a record's value: the verdict where it cannot be read, None where it is left out.
Said = Decoded | Rejected | None


def read_values(
    records: RecordRun, decoder: RecordDecoder | None, preparation: Preparation
) -> list[Said]:
    """What each record says; without a decoder values are JSON.

    Raises:
        RegistryUnavailableError: a schema could not be fetched.
    """
    said: list[Said] = [_read(value, decoder) for value in records.column("value")]
    if preparation.is_idle:
        return said
    return [_prepare(*pair, preparation) for pair in zip(records, said, strict=True)]


def find_documents(said: Iterable[Said]) -> list[bytes]:
    """The documents of rows, of those records that can be read and have one."""
    return [
        decoded.document
        for decoded in said
        if isinstance(decoded, Decoded)
        and decoded.document is not None
        and decoded.change is Change.WRITE
    ]


def _read(value: bytes | None, decoder: RecordDecoder | None) -> Decoded | Rejected:
    if value is None:
        return _TOMBSTONE
    if decoder is None:
        return Decoded(value)
    try:
        decoded = decoder.decode(value)
        document = decoded.document
        if document is None or document.startswith(b"{"):
            return decoded
        return decoded._replace(document=as_object(document, (VALUE_FIELD,)))
    except Rejected as verdict:
        return verdict


def _prepare(record: Record, said: Said, preparation: Preparation) -> Said:
    if not isinstance(said, Decoded) or said.document is None:
        return said
    try:
        prepared = preparation.of_value(record, said.document)
    except Rejected as verdict:
        return verdict
    return None if prepared is None else said._replace(document=prepared)


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
