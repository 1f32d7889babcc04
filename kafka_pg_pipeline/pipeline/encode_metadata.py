"""Values of metadata columns: the record's own attributes as COPY text.

topic       as it is
partition   as it is
offset      as it is
timestamp   milliseconds in a number column, else a moment in UTC; NULL where the log has none (-1)
            or timestamptz does not reach that far
timestamp_type  0 or 1 in a number column, else ``create`` or ``log_append``
key         its bytes in a bytea column, else its UTF-8 text
incarnation how often the topic was created again, from 1
headers     a JSON array of ``{"key", "value"}`` in the log's order, duplicates kept; values in
            base64, or null
"""

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any

from kafka_pg_pipeline.domain.copy_text import NULL, escape
from kafka_pg_pipeline.domain.moments import MomentText
from kafka_pg_pipeline.domain.records import Reason, Record, Stage
from kafka_pg_pipeline.domain.tables import Column, ColumnKind, MetadataField
from kafka_pg_pipeline.domain.verdicts import Rejected, Unfit
from kafka_pg_pipeline.pipeline.encode_literals import check_text

_NO_TIMESTAMP = -1
_TIMESTAMP_TYPES = {0: "create", 1: "log_append"}
_NUMBER_KINDS = (ColumnKind.INTEGER, ColumnKind.NUMERIC, ColumnKind.DOUBLE)

_Column = Callable[[Sequence[Record]], Iterable[Any]]


class MetadataWriter:
    """Writes the metadata columns of a table, in the order given."""

    def __init__(
        self, columns: Sequence[Column], topic: str, incarnations: Mapping[int, int]
    ) -> None:
        self._columns = tuple(columns)
        self._writers = tuple(_writer(column, topic, incarnations) for column in self._columns)

    def write_block(self, records: Sequence[Record]) -> list[Iterable[Any]]:
        """Per column as many items as there are records, ready for the line's format.

        Raises:
            Unfit: also while the items are taken.
        """
        return [write(records) for write in self._writers]

    def write(self, record: Record) -> tuple[Any, ...]:
        """The columns of one record.

        Raises:
            Rejected: an attribute cannot become one of its column's type.
        """
        row: list[Any] = []
        try:
            for write in self._writers:
                row += write((record,))
        except Unfit as unfit:
            column = self._columns[len(row)].name
            raise Rejected(Stage.ENCODE, unfit.reason, column) from None
        return tuple(row)


_ATTRIBUTES: Mapping[MetadataField, str] = {
    MetadataField.PARTITION: "partition",
    MetadataField.OFFSET: "offset",
    MetadataField.TIMESTAMP: "timestamp",
    MetadataField.TIMESTAMP_TYPE: "timestamp_type",
    MetadataField.KEY: "key",
    MetadataField.HEADERS: "headers",
}


def _writer(column: Column, topic: str, incarnations: Mapping[int, int]) -> _Column:
    if column.metadata is None:
        raise ValueError(f"{column.name!r} is not a metadata column")
    if column.metadata is MetadataField.TOPIC:
        text = escape(topic)
        return lambda records: repeat(text, len(records))
    if column.metadata is MetadataField.INCARNATION:
        return lambda records: [incarnations.get(record.partition, 1) for record in records]
    fetch = attrgetter(_ATTRIBUTES[column.metadata])
    convert = _converter(column, column.metadata)
    if convert is None:
        return lambda records: map(fetch, records)
    if column.metadata in (MetadataField.TIMESTAMP, MetadataField.TIMESTAMP_TYPE):
        return lambda records: _convert_repeated(convert, list(map(fetch, records)))
    return lambda records: map(convert, map(fetch, records))


def _convert_repeated(convert: Callable[[Any], str], values: list[Any]) -> Iterable[str]:
    """Convert each distinct value once."""
    texts = {value: convert(value) for value in set(values)}
    return map(texts.__getitem__, values)


def _converter(column: Column, field: MetadataField) -> Callable[[Any], str] | None:
    convert = _plain_converter(column, field)
    if convert is None or column.nullable:
        return convert

    def convert_required(value: Any) -> str:
        text = convert(value)
        if text is NULL:
            raise Unfit(Reason.MISSING_VALUE)
        return text

    return convert_required


def _plain_converter(column: Column, field: MetadataField) -> Callable[[Any], str] | None:
    """What makes COPY text of an attribute; None where it is that already."""
    is_number = column.kind in _NUMBER_KINDS
    if field is MetadataField.TIMESTAMP and not is_number:
        return _moment_converter()
    if field is MetadataField.TIMESTAMP_TYPE and not is_number:
        return lambda number: _TIMESTAMP_TYPES.get(number, NULL)
    if field is MetadataField.KEY:
        return _key_bytes if column.kind is ColumnKind.BYTEA else _key_text
    if field is MetadataField.HEADERS:
        return _headers
    return None


def _moment_converter() -> Callable[[int], str]:
    write = MomentText()

    def convert(milliseconds: int) -> str:
        if milliseconds == _NO_TIMESTAMP:
            return NULL
        try:
            return write(milliseconds)
        except Unfit:
            return NULL

    return convert


def _key_bytes(key: bytes | None) -> str:
    return NULL if key is None else "\\\\x" + key.hex()


def _key_text(key: bytes | None) -> str:
    if key is None:
        return NULL
    try:
        return escape(check_text(key.decode()))
    except UnicodeDecodeError:
        raise Unfit(Reason.INVALID_UTF8) from None


def _headers(headers: Sequence[tuple[str, bytes | None]]) -> str:
    pairs = [
        {
            "key": check_text(key),
            "value": None if value is None else base64.b64encode(value).decode(),
        }
        for key, value in headers
    ]
    return escape(json.dumps(pairs, ensure_ascii=False))
