"""Values of metadata columns: the record's own attributes as COPY text."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from kafka_pg_pipeline.domain.records import Reason, Record
from kafka_pg_pipeline.domain.tables import Column, ColumnKind, MetadataField
from kafka_pg_pipeline.pipeline.copy_text import NULL, escape
from kafka_pg_pipeline.pipeline.json_literals import Unfit, check_text, format_milliseconds

_NO_TIMESTAMP = -1
_TIMESTAMP_TYPES = {0: "create", 1: "log_append"}


class MetadataWriter:
    """Writes the metadata columns of a table, in the order given, for one record after another."""

    def __init__(self, columns: Sequence[Column], topic: str) -> None:
        self._columns = columns
        # The topic is no attribute that every client's record has; any attribute can stand in.
        self._fetch = _getter([_ATTRIBUTES.get(_field(column), "offset") for column in columns])
        self._converters = tuple(
            (index, converter)
            for index, column in enumerate(columns)
            if (converter := _converter(column, topic)) is not None
        )

    def write(self, record: Record) -> tuple[Any, ...]:
        """The columns' COPY text; what needs no conversion is left for the line's format.

        Raises:
            MetadataUnfit: naming the column.
        """
        values = self._fetch(record)
        if not self._converters:
            return values
        converted = list(values)
        index = 0
        try:
            for index, convert in self._converters:
                converted[index] = convert(values[index])
        except Unfit as unfit:
            raise MetadataUnfit(self._columns[index], unfit.reason) from None
        return tuple(converted)


class MetadataUnfit(Exception):  # noqa: N818 - a verdict on a value
    """An attribute of the record cannot become one of the column's type."""

    def __init__(self, column: Column, reason: Reason) -> None:
        super().__init__(reason.value)
        self.column = column
        self.reason = reason


_ATTRIBUTES: Mapping[MetadataField, str] = {
    MetadataField.PARTITION: "partition",
    MetadataField.OFFSET: "offset",
    MetadataField.TIMESTAMP: "timestamp",
    MetadataField.TIMESTAMP_TYPE: "timestamp_type",
    MetadataField.KEY: "key",
    MetadataField.HEADERS: "headers",
}


def _field(column: Column) -> MetadataField:
    if column.metadata is None:
        raise ValueError(f"{column.name!r} is not a metadata column")
    return column.metadata


def _getter(names: list[str]) -> Callable[[Record], tuple[Any, ...]]:
    if not names:
        return lambda _: ()
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda record: (get(record),)


def _converter(column: Column, topic: str) -> Callable[[Any], str] | None:
    field = _field(column)
    if field is MetadataField.TOPIC:
        text = escape(topic)
        return lambda _: text
    if field is MetadataField.TIMESTAMP:
        return None if column.kind is ColumnKind.INTEGER else TimestampText()
    if field is MetadataField.TIMESTAMP_TYPE:
        is_number = column.kind is ColumnKind.INTEGER
        return None if is_number else lambda number: _TIMESTAMP_TYPES.get(number, NULL)
    if field is MetadataField.KEY:
        return _key_bytes if column.kind is ColumnKind.BYTEA else _key_text
    if field is MetadataField.HEADERS:
        return _headers
    return None


class TimestampText:
    """Kafka timestamps (ms) as timestamptz text; the part up to the second is kept from before.

    -1 (the log has none) and what lies outside the years 1 to 9999 become NULL: ``timestamp`` in
    a bigint column keeps any value as it is.
    """

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def __call__(self, milliseconds: int) -> str:
        """COPY text of one timestamp."""
        if milliseconds == _NO_TIMESTAMP:
            return NULL
        second, rest = divmod(milliseconds, 1000)
        if second != self._second:
            try:
                self._prefix = format_milliseconds(second * 1000)[:-10]
            except Unfit:
                return NULL
            self._second = second
        return f"{self._prefix}.{rest:03d}+00"


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
    """An array of ``{"key", "value"}`` in order, duplicates kept; values in base64 or null."""
    pairs = [
        {
            "key": check_text(key),
            "value": None if value is None else base64.b64encode(value).decode(),
        }
        for key, value in headers
    ]
    return escape(json.dumps(pairs, ensure_ascii=False))
