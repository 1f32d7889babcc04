"""JSON bytes to the columns of one table: a fast way for what fits, an exact way for the rest.

The fast way decodes straight into a generated struct of the columns' types. A value without a
single backslash cannot hold a string that COPY would need escaped, nor U+0000 or a lone surrogate
(JSON forbids raw control characters), so nothing is looked at twice. Whatever surprises, a
backslash, another type, a bound exceeded, is decoded again the exact way, which alone decides
what is a dead letter.
"""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.tables import Column, ColumnKind
from kafka_pg_pipeline.pipeline.copy_text import NULL, escape
from kafka_pg_pipeline.pipeline.json_literals import Unfit, write_literal

UNSET = msgspec.UNSET
_BOM = b"\xef\xbb\xbf"
_JSON_WHITESPACE = str.maketrans("\t\n\r", "   ")


class Rejected(Exception):  # noqa: N818 - a verdict on a record
    """The record cannot become a row."""

    def __init__(self, stage: Stage, reason: Reason, column: str | None = None) -> None:
        super().__init__(reason.value)
        self.stage = stage
        self.reason = reason
        self.column = column


class JsonDecoder:
    """Decodes record values into one table's columns.

    ``decode`` returns COPY text or plain numbers a column, in the columns' order; UNSET where the
    record leaves a column to its default.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        self._decode_struct = _struct_decoder(self._columns)
        self._decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._converters = tuple(
            (index, converter)
            for index, column in enumerate(columns)
            if (converter := _converter(column)) is not None
        )

    def decode(self, value: bytes | None) -> tuple[Any, ...]:
        """The columns of one record.

        Raises:
            Rejected: the record cannot become a row.
        """
        if value is None:
            return tuple(map(_missing, self._columns))
        if b"\\" not in value:
            try:
                return self._decode_fast(value)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Unfit):
                pass  # the exact way finds out what it is
        return self._decode_exactly(value)

    def _decode_fast(self, value: bytes) -> tuple[Any, ...]:
        row = msgspec.structs.astuple(self._decode_struct(value))
        if self._converters:
            converted = list(row)
            for index, convert in self._converters:
                if row[index] is not None and row[index] is not UNSET:
                    converted[index] = convert(row[index])
            row = tuple(converted)
        if None in row:
            return tuple([NULL if item is None else item for item in row])
        return row

    def _decode_exactly(self, value: bytes) -> tuple[Any, ...]:
        fields = self._split(value)
        return tuple(
            _missing(column)
            if (raw := fields.get(column.field or column.name)) is None
            else _present(column, raw)
            for column in self._columns
        )

    def _split(self, value: bytes) -> dict[str, msgspec.Raw]:
        try:
            return self._decode_fields(value.removeprefix(_BOM))
        except msgspec.ValidationError:
            reason = Reason.NOT_AN_OBJECT
        except UnicodeDecodeError:
            reason = Reason.INVALID_UTF8
        except RecursionError:
            reason = Reason.TOO_DEEP
        except msgspec.DecodeError:
            reason = _why_invalid(value.removeprefix(_BOM))
        raise Rejected(Stage.DECODE, reason)


def _missing(column: Column) -> Any:
    if column.has_default:
        return UNSET
    if not column.nullable:
        raise Rejected(Stage.ENCODE, Reason.MISSING_VALUE, column.name)
    return NULL


def _present(column: Column, raw: msgspec.Raw) -> str:
    try:
        text = write_literal(column, bytes(raw).decode())
    except UnicodeDecodeError:
        raise Rejected(Stage.DECODE, Reason.INVALID_UTF8, column.name) from None
    except RecursionError:
        raise Rejected(Stage.DECODE, Reason.TOO_DEEP, column.name) from None
    except Unfit as unfit:
        raise Rejected(Stage.ENCODE, unfit.reason, column.name) from None
    if text is None and not column.nullable:
        raise Rejected(Stage.ENCODE, Reason.MISSING_VALUE, column.name)
    return escape(text)


def _why_invalid(value: bytes) -> Reason:
    """A lone surrogate is truncated input to msgspec; the standard library lets it pass."""
    try:
        json.loads(value.decode(), parse_constant=_refuse, parse_int=str, parse_float=str)
    except UnicodeDecodeError:
        return Reason.INVALID_UTF8
    except RecursionError:
        return Reason.TOO_DEEP
    except ValueError:
        return Reason.INVALID_JSON
    return Reason.LONE_SURROGATE


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_FAST_TYPES: dict[ColumnKind, Any] = {
    ColumnKind.INTEGER: int,
    ColumnKind.NUMERIC: Decimal,
    ColumnKind.DOUBLE: float,
    ColumnKind.BOOLEAN: bool,
    ColumnKind.TEXT: str,
    ColumnKind.TIMESTAMP: str,
    ColumnKind.OTHER: str,
}


def _struct_decoder(columns: tuple[Column, ...]) -> Callable[[bytes], msgspec.Struct]:
    fields: list[Any] = []
    for index, column in enumerate(columns):
        kind: Any = _FAST_TYPES.get(column.kind, msgspec.Raw)
        if column.kind is ColumnKind.INTEGER and column.minimum is not None:
            kind = Annotated[int, msgspec.Meta(ge=column.minimum, le=column.maximum)]
        if column.nullable:
            kind = kind | None
        if column.has_default:
            fields.append((f"f{index}", kind | msgspec.UnsetType, UNSET))
        elif column.nullable:
            fields.append((f"f{index}", kind, None))
        else:
            fields.append((f"f{index}", kind))
    names = {f"f{index}": column.field or column.name for index, column in enumerate(columns)}
    struct = msgspec.defstruct("Row", fields, rename=names, gc=False, kw_only=True)
    return msgspec.json.Decoder(struct).decode


def _converter(column: Column) -> Callable[[Any], str] | None:
    if column.kind is ColumnKind.JSON:
        return _json_text
    if column.kind is ColumnKind.NUMERIC:
        return _plain_decimal
    if column.kind in (ColumnKind.ARRAY, ColumnKind.BYTEA):
        return lambda raw: _present(column, raw)
    return None


def _json_text(raw: msgspec.Raw) -> str:
    text = bytes(raw).decode()
    if text == "null":
        raise Unfit(Reason.MISSING_VALUE)  # SQL NULL, which the exact way writes
    # Without a backslash a raw control character can only be white space between tokens.
    return text if text.isprintable() else text.translate(_JSON_WHITESPACE)


def _plain_decimal(number: Decimal) -> str:
    text = str(number)
    if "E" in text:
        raise Unfit(Reason.OUT_OF_RANGE)  # perhaps; the exact way looks at the limits
    return text
