"""Writes one JSON value as PostgreSQL's text input for a column; exact, and slow on purpose.

Numbers keep the text they have in the record: nothing passes through a Python float, save for
double precision, which is one (what lies between zero and its least value becomes zero, as IEEE
754 rounds). Strings go to the type's own input function in PostgreSQL, save where we can name the
fault here.
"""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any

from kafka_pg_pipeline.domain.moments import MomentText, format_microseconds
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.tables import Column, ColumnKind, TimeUnit
from kafka_pg_pipeline.domain.verdicts import Unfit

# numeric's own limits (PostgreSQL documentation, 8.1.2): digits before and after the point.
_NUMERIC_DIGITS_BEFORE = 131_072
_NUMERIC_DIGITS_AFTER = 16_383
_INTEGER_DIGITS = 19
# How many decimal places a unit is away from microseconds, and how many nanoseconds one has: what
# a clock of nanoseconds says is never exact to PostgreSQL, which would refuse all of it.
_PLACES = {TimeUnit.SECONDS: 6, TimeUnit.MILLISECONDS: 3, TimeUnit.MICROSECONDS: 0}
_NANOSECONDS = 1000
_WHITESPACE = " \t\n\r\f\v"  # as PostgreSQL's input functions trim it
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NUMERIC_WORDS = frozenset({"nan", "infinity", "+infinity", "-infinity", "inf", "+inf", "-inf"})
_BOOLEAN_WORDS = frozenset(
    word[:length]
    for word, least in (("true", 1), ("false", 1), ("yes", 1), ("no", 1), ("on", 2), ("off", 2))
    for length in range(least, len(word) + 1)
) | {"0", "1"}
_HEX_BYTES = re.compile(r"\\x([0-9a-fA-F]{2})*")


def write_literal(column: Column, literal: str) -> str | None:
    """The column's input text for a JSON value, None for SQL NULL; COPY escapes are not applied.

    Args:
        column: The column and its kind.
        literal: The value's valid JSON text, as it stands in the record.

    Raises:
        Unfit: with the reason.
    """
    if literal == "null":
        return None
    if literal[0] == '"':
        return _STRINGS[column.kind](column, _parse_string(literal), literal)
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
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unfit(Reason.LONE_SURROGATE) from None
    return text


def moment_writer(unit: TimeUnit | None) -> Callable[[int], str]:
    """Writes whole numbers of the unit since the epoch as timestamptz text.

    What it returns raises Unfit where timestamptz does not reach that far, or there is no unit.
    """
    if unit is TimeUnit.MILLISECONDS:
        return MomentText()
    column = Column("", "", ColumnKind.TIMESTAMP, unit=unit)
    return lambda number: _number_to_moment(column, str(number))


def _parse_string(literal: str) -> str:
    return check_text(str(json.loads(literal)))


# -- strings into types that are not text: PostgreSQL reads them, save where we know better ------


def _string_to_integer(column: Column, text: str, _: str) -> str:
    digits = text.strip(_WHITESPACE)
    if not _INTEGER.fullmatch(digits):
        raise Unfit(Reason.WRONG_TYPE)
    return _check_integer(column, digits)


def _string_to_numeric(column: Column, text: str, _: str) -> str:
    number = _strip_number(text)
    return number if number.lower() in _NUMERIC_WORDS else _number_to_numeric(column, number)


def _string_to_double(column: Column, text: str, _: str) -> str:
    number = _strip_number(text)
    return number if number.lower() in _NUMERIC_WORDS else _number_to_double(column, number)


def _strip_number(text: str) -> str:
    number = text.strip(_WHITESPACE)
    if not _NUMBER.fullmatch(number) and number.lower() not in _NUMERIC_WORDS:
        raise Unfit(Reason.WRONG_TYPE)
    return number


def _string_to_boolean(_: Column, text: str, __: str) -> str:
    word = text.strip(_WHITESPACE)
    if word.lower() not in _BOOLEAN_WORDS:
        raise Unfit(Reason.WRONG_TYPE)
    return word


def _string_to_bytes(_: Column, text: str, __: str) -> str:
    """Bytes as PostgreSQL writes them in hex stay what they are; else the text's UTF-8 bytes."""
    return text if _HEX_BYTES.fullmatch(text) else "\\x" + text.encode().hex()


def _string_as_json(_: Column, __: str, literal: str) -> str:
    return literal


def _string_as_it_is(_: Column, text: str, __: str) -> str:
    return text


_STRINGS: Mapping[ColumnKind, Callable[[Column, str, str], str]] = {
    ColumnKind.TEXT: _string_as_it_is,
    ColumnKind.INTEGER: _string_to_integer,
    ColumnKind.NUMERIC: _string_to_numeric,
    ColumnKind.DOUBLE: _string_to_double,
    ColumnKind.BOOLEAN: _string_to_boolean,
    ColumnKind.JSON: _string_as_json,
    ColumnKind.BYTEA: _string_to_bytes,
    ColumnKind.TIMESTAMP: _string_as_it_is,
    ColumnKind.ARRAY: _string_as_it_is,
    ColumnKind.JSON_ARRAY: _string_as_it_is,
    ColumnKind.OTHER: _string_as_it_is,
}


# -- numbers: their own text wherever that is exact ----------------------------------------------


def _number_to_integer(column: Column, literal: str) -> str:
    if _INTEGER.fullmatch(literal):
        return _check_integer(column, literal)
    return _check_integer(column, str(_scale_to_integer(literal, 0)))


def _check_integer(column: Column, digits: str) -> str:
    # int() refuses more than 4,300 digits, leading zeros among them; no column holds more than 19.
    significant = digits.lstrip("+-0")
    if len(significant) > _INTEGER_DIGITS:
        raise Unfit(Reason.OUT_OF_RANGE)
    number = int(significant or "0") * (-1 if digits.startswith("-") else 1)
    if column.minimum is not None and number < column.minimum:
        raise Unfit(Reason.OUT_OF_RANGE)
    if column.maximum is not None and number > column.maximum:
        raise Unfit(Reason.OUT_OF_RANGE)
    return str(number)


def _number_to_numeric(_: Column, literal: str) -> str:
    number = _parse_decimal(literal)
    exponent = number.as_tuple().exponent
    after = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    if not number and after == 0:
        return "-0" if number.is_signed() else "0"  # whatever its exponent
    if number.adjusted() >= _NUMERIC_DIGITS_BEFORE or after > _NUMERIC_DIGITS_AFTER:
        raise Unfit(Reason.OUT_OF_RANGE)
    return literal


def _number_to_double(_: Column, literal: str) -> str:
    number = float(literal)
    if number in (float("inf"), float("-inf")):
        raise Unfit(Reason.OUT_OF_RANGE)
    return repr(number)


def _number_to_moment(column: Column, literal: str) -> str:
    """A number of the column's units since the epoch, exact down to microseconds."""
    if column.unit is None:
        raise Unfit(Reason.WRONG_TYPE)
    if column.unit is TimeUnit.NANOSECONDS:
        return format_microseconds(_scale_to_integer(literal, 0) // _NANOSECONDS)
    return format_microseconds(_scale_to_integer(literal, _PLACES[column.unit]))


def _number_as_text(_: Column, literal: str) -> str:
    return literal


def _refuse_number(_: Column, __: str) -> str:
    raise Unfit(Reason.WRONG_TYPE)


_NUMBERS: Mapping[ColumnKind, Callable[[Column, str], str]] = {
    ColumnKind.INTEGER: _number_to_integer,
    ColumnKind.NUMERIC: _number_to_numeric,
    ColumnKind.DOUBLE: _number_to_double,
    ColumnKind.TIMESTAMP: _number_to_moment,
    ColumnKind.TEXT: _number_as_text,
    ColumnKind.JSON: _number_as_text,
    ColumnKind.OTHER: _number_as_text,
    ColumnKind.BOOLEAN: _refuse_number,
    ColumnKind.BYTEA: _refuse_number,
    ColumnKind.ARRAY: _refuse_number,
    ColumnKind.JSON_ARRAY: _refuse_number,
}


def _scale_to_integer(literal: str, places: int) -> int:
    """The number times 10^places, if that is an integer; never rounded.

    Raises:
        Unfit: WRONG_TYPE where a fraction is left, OUT_OF_RANGE past every type's bounds.
    """
    number = _parse_decimal(literal)
    if not number:
        return 0
    if number.adjusted() + places > _INTEGER_DIGITS:
        raise Unfit(Reason.OUT_OF_RANGE)
    sign, digits, exponent = number.as_tuple()
    shift = int(exponent) + places
    whole, fraction = (digits, ()) if shift >= 0 else (digits[:shift], digits[shift:])
    if any(fraction):
        raise Unfit(Reason.WRONG_TYPE)
    amount = int("".join(map(str, whole)) + "0" * shift or "0")
    return -amount if sign else amount


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
    write_element = _ELEMENTS.get(column.kind) if literal[0] == "[" else None
    kinds = (ColumnKind.JSON, ColumnKind.TEXT, ColumnKind.OTHER)
    if write_element is None and column.kind not in kinds:
        raise Unfit(Reason.WRONG_TYPE)
    if "\\" in literal:
        check_json(literal)
    return literal if write_element is None else _write_array(_parse(literal), write_element)


class _Verbatim(str):
    """A number, kept as it was written."""

    __slots__ = ()


def _parse(literal: str) -> Any:
    return json.loads(literal, parse_float=_Verbatim, parse_int=_Verbatim)


def _write_array(values: list[Any], write_element: Callable[[Any], str]) -> str:
    return "{" + ",".join(map(write_element, values)) + "}"


def _write_element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Verbatim):
        return str(value)
    if isinstance(value, list):
        return _write_array(value, _write_element)
    return _quote(value if isinstance(value, str) else _dump(value))


def _dump_element(value: Any) -> str:
    """An element of jsonb[]: a JSON value of its own; a list in it is no second dimension."""
    return "NULL" if value is None else _quote(_dump(value))


_ELEMENTS: Mapping[ColumnKind, Callable[[Any], str]] = {
    ColumnKind.ARRAY: _write_element,
    ColumnKind.JSON_ARRAY: _dump_element,
}


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _dump(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{_dump(key)}: {_dump(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dump, value)) + "]"
    return str(value) if isinstance(value, _Verbatim) else json.dumps(value, ensure_ascii=False)


def check_json(literal: str) -> None:
    """Check every string of a JSON value, names and what a duplicate name hides among them.

    Raises:
        Unfit: see ``check_text``.
        ValueError: it is no JSON.
    """
    pending = [
        json.loads(
            literal,
            object_pairs_hook=lambda pairs: list(chain.from_iterable(pairs)),
            parse_int=str,
            parse_float=str,
            parse_constant=_refuse_constant,
        )
    ]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            check_text(item)
        elif isinstance(item, list):
            pending.extend(item)


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
