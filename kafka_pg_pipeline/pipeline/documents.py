"""JSON documents of record keys: a text, or an object of the key's columns."""

import msgspec

from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.ports import RecordDecoder

_WHITESPACE = b" \t\n\r"


def key_document(key: bytes | None, decoder: RecordDecoder | None) -> bytes | None:
    """The document of a record's key, which is text where nothing decodes it.

    Raises:
        Rejected: it is not of its format.
        RegistryUnavailableError: its schema could not be fetched.
    """
    if key is None:
        return None
    return text_document(key) if decoder is None else decoder.decode(key).document


def text_document(data: bytes) -> bytes:
    """The document of a text.

    Raises:
        Rejected: it is not UTF-8.
    """
    try:
        return msgspec.json.encode(data.decode())
    except UnicodeDecodeError:
        raise Rejected(Stage.DECODE, Reason.INVALID_UTF8) from None


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
