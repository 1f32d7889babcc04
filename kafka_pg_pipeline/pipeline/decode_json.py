"""JSON bytes to the columns of one table: a fast way for what fits, an exact way for the rest.

The fast way decodes into a generated struct of the columns' types, a block of records at a time
where it can. Whatever surprises, another type, a bound exceeded, U+0000, is decoded again the
exact way, which alone decides what is a dead letter.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Annotated, Any, cast

import msgspec
from msgspec.structs import astuple

from kafka_pg_pipeline.domain.copy_text import NULL, escape, write_item
from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.tables import Column, ColumnKind, Rest
from kafka_pg_pipeline.domain.verdicts import Rejected, Unfit
from kafka_pg_pipeline.pipeline.encode_literals import (
    check_json,
    moment_writer,
    write_literal,
)

UNSET = msgspec.UNSET
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
MAX_DEPTH = 256
_BOM = b"\xef\xbb\xbf"
# A block larger than this is decoded record by record: looking it over would cost a copy of it.
_BLOCK_BYTES = 4 * 1024 * 1024
_PLAIN_NUMBER_DIGITS = 1_000
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_BRACKETS = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
# An integer to msgspec, which has no negative zero; double precision has one.
_NEGATIVE_ZERO = re.compile(rb"[:\[,\s]-0(?![0-9.eE])")
_Decoder = msgspec.json.Decoder[msgspec.Struct]
_SURPRISES = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Unfit)


@dataclass(frozen=True, slots=True)
class OtherFields:
    """The fields that are no column's expected one; any but these surprises the fast way.

    ``left`` go to the rest column, where there is one; ``dropped`` go nowhere; ``empty`` have only
    ever been null. ``arrange`` sorts a document's fields into the columns, the exact way.
    """

    left: tuple[str, ...]
    dropped: tuple[str, ...]
    empty: tuple[str, ...]
    arrange: Callable[[Mapping[str, msgspec.Raw]], Sequence[Any]]


class JsonDecoder:
    """Decodes record values into one table's columns.

    An item is UNSET where the record leaves a column to its default. The column for
    the rest of the fields, where there is one, is the last. Without ``others`` all fields that no
    column expects are passed over.
    """

    def __init__(self, columns: Sequence[Column], others: OtherFields | None = None) -> None:
        self._columns = tuple(columns)
        taking = tuple(column for column in columns if not isinstance(column.source, Rest))
        self._taking = len(taking)
        self._fields = tuple(column.field or column.name for column in taking)
        self._decoder = _struct_decoder(taking, self._fields, others, _FAST_TYPES)
        self._arrange_exactly = others.arrange if others else self._arrange_by_name
        self._write_rest = _rest_writer(self._columns[self._taking :], others)
        self._converters = tuple(
            (index, converter)
            for index, column in enumerate(columns)
            if (converter := _converter(column)) is not None
        )
        self._moments = tuple(
            (index, moment_writer(column.unit))
            for index, column in enumerate(columns)
            if column.kind is ColumnKind.TIMESTAMP
        )
        # For blocks, until one has a moment that is a number: texts need no second look.
        self._block_decoder = self._decoder
        if self._moments:
            self._block_decoder = _struct_decoder(taking, self._fields, others, _TEXT_MOMENTS)
        self._doubles = _indexes(columns, lambda column: column.kind is ColumnKind.DOUBLE)
        self._defaults = _indexes(columns, lambda column: column.has_default)
        self._all = tuple(range(len(self._columns)))
        # Whether what msgspec makes of a document is its row already, but for such moments.
        self._is_direct = (
            self._decoder is not None
            and len(self._decoder.type.__struct_fields__) == len(self._columns)
            and not (self._converters or self._defaults or self._write_rest)
        )

    def decode(self, value: bytes | None) -> tuple[Any, ...]:
        """The columns of one record, each as it stands in a line of COPY's TEXT format.

        Raises:
            Rejected: the record cannot become a row.
        """
        if value is None:
            return tuple(map(_missing, self._columns))
        if is_too_deep(value):
            raise Rejected(Stage.DECODE, Reason.TOO_DEEP)
        if self._decoder is not None:
            try:
                return self._decode_fast(value, self._decoder.decode(value))
            except _SURPRISES:
                pass  # the exact way finds out what it is
        return self.decode_exactly(value)

    def decode_block(
        self, values: Sequence[bytes | None]
    ) -> tuple[tuple[int, ...], Sequence[tuple[Any, ...]]] | None:
        """Many records at once; None where any of them surprises.

        Returns:
            The indexes of the columns that all the records fill, and the rows of these columns:
            texts as PostgreSQL reads them (U+0000 may be among them), numbers, booleans and None.
        """
        decoder = self._block_decoder
        if decoder is None or not self._columns or None in values:
            return None
        documents = cast("Sequence[bytes]", values)
        lines = _join_usual(documents)
        if not lines:
            return None
        block = self._decode_lines(decoder, documents, lines)
        if block is None and self._decoder is not None and decoder is not self._decoder:
            self._block_decoder = self._decoder
            block = self._decode_lines(self._decoder, documents, lines)
        return block

    def _decode_lines(
        self, decoder: _Decoder, documents: Sequence[bytes], lines: bytes
    ) -> tuple[tuple[int, ...], Sequence[tuple[Any, ...]]] | None:
        try:
            rows = list(map(astuple, _decode_each(decoder, documents, lines)))
            if any(0.0 in map(itemgetter(index), rows) for index in self._doubles):
                _check_zeros(lines)
            if self._is_direct and (decoder is not self._decoder or not self._moments):
                return self._all, rows
            return self._arrange(rows)
        except (*_SURPRISES, Rejected):
            return None

    def decode_exactly(self, value: bytes) -> tuple[Any, ...]:
        """The columns of one record, the exact way.

        Raises:
            Rejected: the record cannot become a row.
        """
        raws = self._arrange_exactly(self._split(value.removeprefix(_BOM)))
        return tuple(
            _missing(column) if raw is UNSET else _present(column, raw)
            for column, raw in zip(self._columns, raws, strict=True)
        )

    def _decode_fast(self, value: bytes, decoded: msgspec.Struct) -> tuple[Any, ...]:
        row = list(astuple(decoded))
        if len(row) > self._taking or self._write_rest is not None:
            row[self._taking :] = self._rest_of(row[self._taking :])
        if any(row[index] == 0.0 for index in self._doubles):
            _check_zeros(value)
        self._convert(row)
        return tuple([item if item is UNSET else _write_checked(item) for item in row])

    def _convert(self, row: list[Any]) -> None:
        for index, convert in self._converters:
            if type(row[index]) is msgspec.Raw:
                row[index] = convert(row[index])
        for index, write in self._moments:
            if type(row[index]) is int:
                row[index] = write(row[index])

    def _close(self, columns: list[Sequence[Any]], number: int) -> None:
        """Make of the columns behind those with a field the rest column, or nothing."""
        others = columns[self._taking :]
        if self._write_rest is None:
            del columns[self._taking :]
        elif others:
            columns[self._taking :] = [list(map(self._write_rest, zip(*others, strict=True)))]
        else:
            columns.append([self._write_rest(())] * number)

    def _rest_of(self, others: Sequence[Any]) -> list[str | None]:
        return [] if self._write_rest is None else [self._write_rest(others)]

    def _arrange_by_name(self, fields: Mapping[str, msgspec.Raw]) -> Sequence[Any]:
        return [fields.get(name, UNSET) for name in self._fields]

    def _arrange(
        self, rows: Sequence[tuple[Any, ...]]
    ) -> tuple[tuple[int, ...], Sequence[tuple[Any, ...]]] | None:
        """The rows of the table, of those that msgspec made; None where they differ in columns."""
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        self._close(columns, len(rows))
        for index, convert in self._converters:
            columns[index] = [
                convert(item) if type(item) is msgspec.Raw else item for item in columns[index]
            ]
        for index, write in self._moments:
            if int in set(map(type, columns[index])):
                columns[index] = [
                    write(item) if type(item) is int else item for item in columns[index]
                ]
        filled = self._find_filled(columns)
        if filled is None:
            return None
        return filled, list(zip(*(columns[index] for index in filled), strict=True))

    def _find_filled(self, columns: Sequence[Sequence[Any]]) -> tuple[int, ...] | None:
        """The columns but those that all the records leave out; None where only some do."""
        left_out = set()
        for index in self._defaults:
            unset = columns[index].count(UNSET)
            if unset == len(columns[index]):
                left_out.add(index)
            elif unset:
                return None
        return tuple(index for index in self._all if index not in left_out)

    def _split(self, value: bytes) -> Mapping[str, msgspec.Raw]:
        try:
            return _decode_object(value)
        except msgspec.ValidationError:
            reason = Reason.NOT_AN_OBJECT
        except UnicodeDecodeError:
            reason = Reason.INVALID_UTF8
        except RecursionError:
            reason = Reason.TOO_DEEP
        except msgspec.DecodeError:
            reason = _why_invalid(value)
        raise Rejected(Stage.DECODE, reason)


def is_too_deep(value: bytes) -> bool:
    """Whether arrays and objects lie in each other more than ``MAX_DEPTH`` deep."""
    if len(value) <= 2 * MAX_DEPTH or value.count(b"{") + value.count(b"[") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", value).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_BRACKETS.__getitem__, brackets)), default=0) > MAX_DEPTH


def _decode_each(
    decoder: _Decoder, values: Sequence[bytes], lines: bytes
) -> Iterable[msgspec.Struct]:
    """What each value holds; all at once, where each of them certainly is one line.

    Between a closing and an opening brace a line can only end a whole document, so that as many
    documents as there are lines are one in each.
    """
    if (
        lines.startswith(b"{")
        and lines.endswith(b"}")
        and lines.count(b"}\n{") == len(values) - 1
        and b"\n" not in b"".join(values)  # to count line ends takes nine times as long
    ):
        found = decoder.decode_lines(lines)
        if len(found) == len(values):
            return found
    return map(decoder.decode, values)


def _join_usual(values: Sequence[bytes]) -> bytes | None:
    """All values, a line each; None where one of them is not for the fast way."""
    sizes = list(map(len, values))
    if sum(sizes) > _BLOCK_BYTES:
        return None
    if max(sizes, default=0) > 2 * MAX_DEPTH and any(map(is_too_deep, values)):
        return None
    return b"\n".join(values)


def _check_zeros(text: bytes) -> None:
    if _NEGATIVE_ZERO.search(text):
        raise Unfit(Reason.WRONG_TYPE)  # or not: the exact way decides


def _indexes(columns: Sequence[Column], wanted: Callable[[Column], bool]) -> tuple[int, ...]:
    return tuple(index for index, column in enumerate(columns) if wanted(column))


def _missing(column: Column) -> Any:
    if column.has_default:
        return UNSET
    if not column.nullable:
        raise Rejected(Stage.ENCODE, Reason.MISSING_VALUE, column.name)
    return NULL


def _present(column: Column, raw: msgspec.Raw) -> str:
    return escape(_read_exactly(column, raw))


def _read_exactly(column: Column, raw: msgspec.Raw) -> str | None:
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
    return text


def _why_invalid(value: bytes) -> Reason:
    """A lone surrogate is truncated input to msgspec; the standard library lets it pass."""
    try:
        check_json(value.decode())
    except UnicodeDecodeError:
        return Reason.INVALID_UTF8
    except RecursionError:
        return Reason.TOO_DEEP
    except ValueError:
        return Reason.INVALID_JSON
    except Unfit:
        return Reason.LONE_SURROGATE
    return Reason.INVALID_JSON


# -- decoders generated from the columns ---------------------------------------------------------

_FAST_TYPES: Mapping[ColumnKind, Any] = {
    ColumnKind.INTEGER: int,
    ColumnKind.DOUBLE: float,
    ColumnKind.BOOLEAN: bool,
    ColumnKind.TEXT: str,
    ColumnKind.OTHER: str,
    ColumnKind.TIMESTAMP: int | str,
}
_TEXT_MOMENTS = {**_FAST_TYPES, ColumnKind.TIMESTAMP: str}
_ANY = msgspec.Raw | msgspec.UnsetType
_EMPTY = None | msgspec.UnsetType


def _struct_decoder(
    columns: tuple[Column, ...],
    names: tuple[str, ...],
    others: OtherFields | None,
    types: Mapping[ColumnKind, Any],
) -> _Decoder | None:
    """Decodes what fits the columns' types; None where msgspec cannot name a field."""
    fields: list[Any] = []
    for index, column in enumerate(columns):
        kind: Any = types.get(column.kind, msgspec.Raw)
        if column.kind is ColumnKind.INTEGER and column.minimum is not None:
            kind = Annotated[int, msgspec.Meta(ge=column.minimum, le=column.maximum)]
        if column.nullable and kind is not msgspec.Raw:
            kind = kind | None  # in Raw, null is a text like another; Raw | None takes only null
        if column.has_default:
            fields.append((f"f{index}", kind | msgspec.UnsetType, UNSET))
        elif column.nullable:
            fields.append((f"f{index}", kind, None))
        else:
            fields.append((f"f{index}", kind))
    if others is None:
        return _decoder(fields, names, forbids=False)
    if not all(map(_can_be_named, names)):
        return None
    for more, kind in ((others.left, _ANY), (others.dropped, _ANY), (others.empty, _EMPTY)):
        for name in filter(_can_be_named, more):
            fields.append((f"f{len(fields)}", kind, UNSET))
            names = (*names, name)
    return _decoder(fields, names, forbids=True)


def _decoder(fields: list[Any], names: tuple[str, ...], *, forbids: bool) -> _Decoder | None:
    if not all(map(_can_be_named, names)):
        return None
    rename = {f"f{index}": name for index, name in enumerate(names)}
    struct = msgspec.defstruct(
        "Row", fields, rename=rename, gc=False, kw_only=True, forbid_unknown_fields=forbids
    )
    return msgspec.json.Decoder(struct)


def _can_be_named(name: str) -> bool:
    return not set(name) & {'"', "\\"} and min(name, default=" ") >= " "


# -- the rest column ------------------------------------------------------------------------------


def write_rest(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """The JSON object of these fields, each value as it was written."""
    pairs = (json.dumps(name).encode() + b":" + bytes(raw) for name, raw in fields.items())
    return b"{" + b",".join(pairs) + b"}"


def _rest_writer(
    rest: tuple[Column, ...], others: OtherFields | None
) -> Callable[[Sequence[Any]], str | None] | None:
    """Writes the rest column of the other fields' values; None where there is no such column."""
    if not rest:
        return None
    left = filter(_can_be_named, others.left if others else ())
    names = tuple(f"{json.dumps(name, ensure_ascii=False)}:" for name in left)
    needs_value = not rest[0].nullable or rest[0].has_default

    def write(values: Sequence[Any]) -> str | None:
        pairs = [
            name + bytes(raw).decode()
            for name, raw in zip(names, values, strict=False)
            if raw is not UNSET
        ]
        text = "{" + ",".join(pairs) + "}"
        if "\\" in text or (needs_value and not pairs):
            raise Unfit(Reason.MISSING_VALUE)  # or not: the exact way decides
        return text if pairs else None

    return write


# -- what the fast way still has to convert ------------------------------------------------------


def _converter(column: Column) -> Callable[[msgspec.Raw], str | None] | None:
    if column.kind is ColumnKind.JSON:
        return _null_or(_json_text) if column.nullable else _json_text
    if column.kind is ColumnKind.NUMERIC:
        return _null_or(_plain_number) if column.nullable else _plain_number
    if column.kind in (ColumnKind.ARRAY, ColumnKind.JSON_ARRAY, ColumnKind.BYTEA):
        return lambda raw: _read_exactly(column, raw)
    return None


def _null_or(convert: Callable[[msgspec.Raw], str]) -> Callable[[msgspec.Raw], str | None]:
    return lambda raw: None if bytes(raw) == b"null" else convert(raw)


def _json_text(raw: msgspec.Raw) -> str:
    text = bytes(raw).decode()
    if text == "null" or "\\" in text:
        raise Unfit(Reason.MISSING_VALUE)  # or not: the exact way decides
    return text


def _plain_number(raw: msgspec.Raw) -> str:
    text = bytes(raw).decode()
    if text[0] not in "-0123456789" or len(text) > _PLAIN_NUMBER_DIGITS:
        raise Unfit(Reason.WRONG_TYPE)  # or not: the exact way decides
    if "e" in text or "E" in text:
        raise Unfit(Reason.OUT_OF_RANGE)  # ditto
    return text


def _write_checked(item: Any) -> str:
    text = write_item(item)
    if "\0" in text:
        raise Unfit(Reason.NUL_CHARACTER)
    return text
