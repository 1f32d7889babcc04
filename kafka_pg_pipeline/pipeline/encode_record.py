"""Values of the columns that do not come from the record's value, as PostgreSQL reads them.

topic       as it is
partition   as it is
offset      as it is
timestamp   milliseconds in a number column, else a moment in UTC; NULL where the log has none (-1)
            or timestamptz does not reach that far
timestamp_type  0 or 1 in a number column, else ``create`` or ``log_append``
key         its bytes in a bytea column, else its UTF-8 text
headers     a JSON array of ``{"key", "value"}`` in the log's order, duplicates kept; values in
            base64, or null
incarnation as the ledger has it: how often the topic was made anew
load_id     the ledger's batch_id
run_id      as it is
deleted     whether the record says that there is no such row any more

A field of the key, a header and a constant meet their column as a JSON value does.
"""

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import msgspec

from kafka_pg_pipeline.domain.copy_text import write_item
from kafka_pg_pipeline.domain.moments import MomentText
from kafka_pg_pipeline.domain.policies import InvalidText
from kafka_pg_pipeline.domain.record_runs import RecordRun
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.tables import (
    Attribute,
    Column,
    ColumnKind,
    Constant,
    Header,
    KeyField,
    MetadataField,
)
from kafka_pg_pipeline.domain.verdicts import Rejected, Unfit
from kafka_pg_pipeline.pipeline.encode_literals import write_literal
from kafka_pg_pipeline.pipeline.repair_text import repair_document, repair_text

_NO_TIMESTAMP = -1
_TIMESTAMP_TYPES = {0: "create", 1: "log_append"}
_NUMBER_KINDS = (ColumnKind.INTEGER, ColumnKind.NUMERIC, ColumnKind.DOUBLE)


@dataclass(frozen=True, slots=True)
class RunContext:
    """What rows say of their origin, the same for all the records of a run.

    ``incarnations`` are those of the partitions' positions; 1 where none is given.
    """

    topic: str
    run_id: str = ""
    incarnations: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordBlock:
    """Records of one batch, with the JSON documents of their keys and what else rows say of them.

    ``keys`` and ``deleted`` are as long as ``records``; ``load_id`` is the batch's.
    """

    records: RecordRun
    keys: Sequence[bytes | None]
    deleted: Sequence[bool]
    load_id: str


_Write = Callable[[RecordBlock], Iterable[Any]]


class RecordWriter:
    """Writes the columns of a table that the record's value has no part in, in the order given."""

    def __init__(
        self,
        columns: Sequence[Column],
        context: RunContext,
        invalid_text: InvalidText = InvalidText.DEAD_LETTER,
    ) -> None:
        self._columns = tuple(columns)
        self._writers = tuple(_writer(column, context, invalid_text) for column in self._columns)

    @property
    def takes_key(self) -> bool:
        """Whether any column wants the key's document."""
        return any(isinstance(column.source, KeyField) for column in self._columns)

    def write_block(self, block: RecordBlock) -> list[Iterable[Any]]:
        """Per column as many items as there are records: texts, numbers, booleans or None.

        Raises:
            Unfit: also while the items are taken.
        """
        return [write(block) for write in self._writers]

    def write(self, block: RecordBlock) -> tuple[Any, ...]:
        """The columns of the one record of a block, as they stand in a line of TEXT.

        Raises:
            Rejected: naming the column.
        """
        row: list[Any] = []
        try:
            for write in self._writers:
                row += write(block)
        except Unfit as unfit:
            column = self._columns[len(row)].name
            raise Rejected(Stage.ENCODE, unfit.reason, column) from None
        return tuple(map(write_item, row))


def _writer(column: Column, context: RunContext, invalid_text: InvalidText) -> _Write:
    match column.source:
        case Attribute(attribute):
            return _attribute_writer(column, attribute, context, invalid_text)
        case Constant(text):
            constant = _literal_converter(column)(json.dumps(text))
            return lambda block: repeat(constant, len(block.records))
        case Header(name):
            return _header_writer(column, name, invalid_text)
        case KeyField(name):
            return _key_field_writer(column, name, invalid_text)
    raise ValueError(f"{column.name!r} is filled by the record's value")


def _literal_converter(column: Column) -> Callable[[str | None], str | None]:
    """What makes PostgreSQL's text of a JSON value, or of none."""

    def convert(literal: str | None) -> str | None:
        try:
            text = None if literal is None else write_literal(column, literal)
        except RecursionError:
            raise Unfit(Reason.TOO_DEEP) from None
        if text is None and not column.nullable:
            raise Unfit(Reason.MISSING_VALUE)
        return text

    return convert


# -- headers and fields of the key ---------------------------------------------------------------


def _header_writer(column: Column, name: str, invalid_text: InvalidText) -> _Write:
    convert = _literal_converter(column)

    def write_one(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
        value = dict(headers).get(name)
        return convert(None if value is None else json.dumps(_text_of(value, invalid_text)))

    return lambda block: map(write_one, block.records.column("headers"))


def _key_field_writer(column: Column, name: str, invalid_text: InvalidText) -> _Write:
    convert = _literal_converter(column)

    def write_one(key: bytes | None) -> str | None:
        if key is None:
            return convert(None)
        return convert(_find_field(repair_document(key, invalid_text), name))

    return lambda block: map(write_one, block.keys)


def _find_field(document: bytes, name: str) -> str | None:
    """The JSON text of an object's field, or of all that is no object."""
    try:
        whole = msgspec.json.decode(document, type=msgspec.Raw)
        text = bytes(whole).strip().decode()
        if not text.startswith("{"):
            return text
        found = msgspec.json.decode(document, type=dict[str, msgspec.Raw]).get(name)
        return None if found is None else bytes(found).decode()
    except UnicodeDecodeError:
        raise Unfit(Reason.INVALID_UTF8) from None
    except RecursionError:
        raise Unfit(Reason.TOO_DEEP) from None
    except msgspec.MsgspecError:
        raise Unfit(Reason.INVALID_JSON) from None


def _text_of(data: bytes, invalid_text: InvalidText) -> str:
    try:
        return repair_text(data.decode(), invalid_text)
    except UnicodeDecodeError:
        raise Unfit(Reason.INVALID_UTF8) from None


# -- the record's own attributes -----------------------------------------------------------------

_ATTRIBUTES: Mapping[MetadataField, str] = {
    MetadataField.PARTITION: "partition",
    MetadataField.OFFSET: "offset",
    MetadataField.TIMESTAMP: "timestamp",
    MetadataField.TIMESTAMP_TYPE: "timestamp_type",
    MetadataField.KEY: "key",
    MetadataField.HEADERS: "headers",
}


def _attribute_writer(
    column: Column, attribute: MetadataField, context: RunContext, invalid_text: InvalidText
) -> _Write:
    of_context = _context_writer(attribute, context)
    if of_context is not None:
        return of_context
    name = _ATTRIBUTES[attribute]
    convert = _converter(column, attribute, invalid_text)
    if convert is None:
        return lambda block: block.records.column(name)
    if attribute in (MetadataField.TIMESTAMP, MetadataField.TIMESTAMP_TYPE):
        return lambda block: _convert_repeated(convert, block.records.column(name))
    return lambda block: map(convert, block.records.column(name))


def _context_writer(attribute: MetadataField, context: RunContext) -> _Write | None:
    """What writes an attribute that is the run's or the batch's; None for the record's own."""
    if attribute is MetadataField.LOAD_ID:
        return lambda block: repeat(block.load_id, len(block.records))
    if attribute is MetadataField.DELETED:
        return lambda block: block.deleted
    if attribute is MetadataField.INCARNATION:
        known = context.incarnations
        return lambda block: [known.get(number, 1) for number in block.records.column("partition")]
    if attribute in (MetadataField.TOPIC, MetadataField.RUN_ID):
        text = context.topic if attribute is MetadataField.TOPIC else context.run_id
        return lambda block: repeat(text, len(block.records))
    return None


def _convert_repeated(
    convert: Callable[[Any], str | None], values: list[Any]
) -> Iterable[str | None]:
    """Convert each distinct value once."""
    texts = {value: convert(value) for value in set(values)}
    return map(texts.__getitem__, values)


def _converter(
    column: Column, attribute: MetadataField, invalid_text: InvalidText
) -> Callable[[Any], str | None] | None:
    convert = _plain_converter(column, attribute, invalid_text)
    if convert is None or column.nullable:
        return convert

    def convert_required(value: Any) -> str:
        text = convert(value)
        if text is None:
            raise Unfit(Reason.MISSING_VALUE)
        return text

    return convert_required


def _plain_converter(
    column: Column, attribute: MetadataField, invalid_text: InvalidText
) -> Callable[[Any], str | None] | None:
    """What makes text of an attribute; None where it is what PostgreSQL reads already."""
    is_number = column.kind in _NUMBER_KINDS
    if attribute is MetadataField.TIMESTAMP and not is_number:
        return _moment_converter()
    if attribute is MetadataField.TIMESTAMP_TYPE and not is_number:
        return _TIMESTAMP_TYPES.get
    if attribute is MetadataField.KEY:
        if column.kind is ColumnKind.BYTEA:
            return _key_bytes
        return lambda key: None if key is None else _text_of(key, invalid_text)
    if attribute is MetadataField.HEADERS:
        return lambda headers: _headers(headers, invalid_text)
    return None


def _moment_converter() -> Callable[[int], str | None]:
    write = MomentText()

    def convert(milliseconds: int) -> str | None:
        if milliseconds == _NO_TIMESTAMP:
            return None
        try:
            return write(milliseconds)
        except Unfit:
            return None

    return convert


def _key_bytes(key: bytes | None) -> str | None:
    return None if key is None else "\\x" + key.hex()


def _headers(headers: Sequence[tuple[str, bytes | None]], invalid_text: InvalidText) -> str:
    pairs = [
        {
            "key": repair_text(key, invalid_text),
            "value": None if value is None else base64.b64encode(value).decode(),
        }
        for key, value in headers
    ]
    return json.dumps(pairs, ensure_ascii=False)
