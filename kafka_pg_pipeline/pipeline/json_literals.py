"""Writes one JSON value as PostgreSQL's text input for a column; exact, and slow on purpose.

Numbers keep the text they have in the record: nothing passes through a Python float, save for
double precision, which is one. Strings go to the type's own input function in PostgreSQL.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.tables import Column, ColumnKind

# numeric's own limits (PostgreSQL documentation, 8.1.2): digits before and after the point.
_NUMERIC_DIGITS_BEFORE = 131_072
_NUMERIC_DIGITS_AFTER = 16_383
_INTEGER_DIGITS = 19
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# What datetime can hold; PostgreSQL goes on to 294276 AD.
_MILLISECONDS_MIN = -62_135_596_800_000
_MILLISECONDS_MAX = 253_402_300_799_999
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NUMERIC_WORDS = frozenset({"nan", "infinity", "-infinity", "inf", "-inf"})
_BOOLEAN_WORDS = frozenset(
    word[:length]
    for word, least in (("true", 1), ("false", 1), ("yes", 1), ("no", 1), ("on", 2), ("off", 2))
    for length in range(least, len(word) + 1)
) | {"0", "1"}
_HEX_BYTES = re.compile(r"\\x([0-9a-fA-F]{2})*")


class Unfit(Exception):  # noqa: N818 - a verdict on a value, caught where the record is known
    """The value cannot become one of the column's type."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def write_literal(column: Column, literal: str) -> str | None:
    """The column's input text for a JSON value, None for SQL NULL; COPY escapes are not applied.

    Args:
        column: The column and its kind.
        literal: The value's JSON text, as it stands in the record.

    Raises:
        Unfit: with the reason.
    """
    if literal == "null":
        return None
    if literal[0] == '"':
        text = _parse_string(literal)
        return (
            text if column.kind is ColumnKind.TEXT else _STRINGS[column.kind](column, text, literal)
        )
    if literal[0] in "{[":
        return _write_composite(column, literal)
    if literal in ("true", "false"):
        return _write_boolean(column, literal)
    return _NUMBERS[column.kind](column, literal)


def check_text(text: str) -> str:
    """The text, if PostgreSQL can hold it.

    Raises:
        Unfit: for U+0000 and for lone surrogates, which UTF-8 has no bytes for.
    """
    if "\0" in text:
        raise Unfit(Reason.NUL_CHARACTER)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Unfit(Reason.LONE_SURROGATE)
    return text


def format_milliseconds(milliseconds: int) -> str:
    """Milliseconds since the epoch as an ISO timestamp in UTC.

    Raises:
        Unfit: before the year 1 or after 9999.
    """
    if not _MILLISECONDS_MIN <= milliseconds <= _MILLISECONDS_MAX:
        raise Unfit(Reason.OUT_OF_RANGE)
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(sep=" ", timespec="milliseconds")


def _parse_string(literal: str) -> str:
    return check_text(str(json.loads(literal)))


# -- strings into types that are not text: PostgreSQL reads them, save where we know better ------


def _string_to_integer(column: Column, text: str, _: str) -> str:
    stripped = text.strip()
    if not re.fullmatch(r"[+-]?\d+", stripped, re.ASCII):
        raise Unfit(Reason.WRONG_TYPE)
    return _check_integer(column, stripped)


def _string_to_number(_: Column, text: str, __: str) -> str:
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped) and stripped.lower() not in _NUMERIC_WORDS:
        raise Unfit(Reason.WRONG_TYPE)
    return stripped


def _string_to_double(column: Column, text: str, literal: str) -> str:
    number = _string_to_number(column, text, literal)
    return number if number.lower() in _NUMERIC_WORDS else _number_to_double(column, number)


def _string_to_boolean(_: Column, text: str, __: str) -> str:
    if text.strip().lower() not in _BOOLEAN_WORDS:
        raise Unfit(Reason.WRONG_TYPE)
    return text


def _string_to_bytes(_: Column, text: str, __: str) -> str:
    return text if _HEX_BYTES.fullmatch(text) else "\\x" + text.encode().hex()


def _string_as_json(_: Column, __: str, literal: str) -> str:
    return literal


def _string_as_it_is(_: Column, text: str, __: str) -> str:
    return text


_STRINGS: Mapping[ColumnKind, Callable[[Column, str, str], str]] = {
    ColumnKind.INTEGER: _string_to_integer,
    ColumnKind.NUMERIC: _string_to_number,
    ColumnKind.DOUBLE: _string_to_double,
    ColumnKind.BOOLEAN: _string_to_boolean,
    ColumnKind.JSON: _string_as_json,
    ColumnKind.BYTEA: _string_to_bytes,
    ColumnKind.TIMESTAMP: _string_as_it_is,
    ColumnKind.ARRAY: _string_as_it_is,
    ColumnKind.OTHER: _string_as_it_is,
}


# -- numbers: their own text wherever that is exact ----------------------------------------------


def _number_to_integer(column: Column, literal: str) -> str:
    if "." not in literal and "e" not in literal and "E" not in literal:
        return _check_integer(column, literal)
    number = _parse_decimal(literal)
    if number.adjusted() > _INTEGER_DIGITS:
        raise Unfit(Reason.OUT_OF_RANGE)
    if number != number.to_integral_value():
        raise Unfit(Reason.WRONG_TYPE)
    return _check_integer(column, str(int(number)))


def _check_integer(column: Column, digits: str) -> str:
    # int() refuses more than 4,300 digits, and no column holds more than 19.
    if len(digits.lstrip("+-0")) > _INTEGER_DIGITS:
        raise Unfit(Reason.OUT_OF_RANGE)
    number = int(digits)
    if column.minimum is not None and number < column.minimum:
        raise Unfit(Reason.OUT_OF_RANGE)
    if column.maximum is not None and number > column.maximum:
        raise Unfit(Reason.OUT_OF_RANGE)
    return str(number)


def _number_to_numeric(_: Column, literal: str) -> str:
    number = _parse_decimal(literal)
    exponent = number.as_tuple().exponent
    after = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    if number.adjusted() >= _NUMERIC_DIGITS_BEFORE or after > _NUMERIC_DIGITS_AFTER:
        raise Unfit(Reason.OUT_OF_RANGE)
    return literal


def _number_to_double(_: Column, literal: str) -> str:
    number = float(literal)
    if number in (float("inf"), float("-inf")):
        raise Unfit(Reason.OUT_OF_RANGE)
    return repr(number)


def _number_to_timestamp(column: Column, literal: str) -> str:
    digits = _number_to_integer(Column(column.name, "bigint", ColumnKind.INTEGER), literal)
    return format_milliseconds(int(digits))


def _number_as_text(_: Column, literal: str) -> str:
    return literal


def _refuse_number(_: Column, __: str) -> str:
    raise Unfit(Reason.WRONG_TYPE)


_NUMBERS: Mapping[ColumnKind, Callable[[Column, str], str]] = {
    ColumnKind.INTEGER: _number_to_integer,
    ColumnKind.NUMERIC: _number_to_numeric,
    ColumnKind.DOUBLE: _number_to_double,
    ColumnKind.TIMESTAMP: _number_to_timestamp,
    ColumnKind.TEXT: _number_as_text,
    ColumnKind.JSON: _number_as_text,
    ColumnKind.OTHER: _number_as_text,
    ColumnKind.BOOLEAN: _refuse_number,
    ColumnKind.BYTEA: _refuse_number,
    ColumnKind.ARRAY: _refuse_number,
}


def _parse_decimal(literal: str) -> Decimal:
    try:
        return Decimal(literal)
    except InvalidOperation:
        raise Unfit(Reason.OUT_OF_RANGE) from None


# -- booleans, objects and arrays ----------------------------------------------------------------


def _write_boolean(column: Column, literal: str) -> str:
    kinds = (ColumnKind.BOOLEAN, ColumnKind.TEXT, ColumnKind.JSON, ColumnKind.OTHER)
    if column.kind not in kinds:
        raise Unfit(Reason.WRONG_TYPE)
    return literal


def _write_composite(column: Column, literal: str) -> str:
    if column.kind is ColumnKind.ARRAY and literal[0] == "[":
        return _write_array(json.loads(literal, parse_float=_Verbatim, parse_int=_Verbatim))
    if column.kind not in (ColumnKind.JSON, ColumnKind.TEXT, ColumnKind.OTHER):
        raise Unfit(Reason.WRONG_TYPE)
    if "\\" in literal:
        _check_all_text(json.loads(literal, parse_float=_Verbatim, parse_int=_Verbatim))
    return literal


class _Verbatim(str):
    """A number, kept as it was written."""

    __slots__ = ()


def _write_array(values: list[Any]) -> str:
    return "{" + ",".join(map(_write_element, values)) + "}"


def _write_element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Verbatim):
        return str(value)
    if isinstance(value, list):
        return _write_array(value)
    text = check_text(value) if isinstance(value, str) else _dump(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _dump(value: Any) -> str:
    _check_all_text(value)
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)}: {_dump(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dump, value)) + "]"
    return str(value) if isinstance(value, _Verbatim) else json.dumps(value)


def _check_all_text(value: Any) -> None:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            check_text(item)
        elif isinstance(item, dict):
            pending.extend(item)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
