"""Columns for a table that does not exist yet, from a sample of the records."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from types import MappingProxyType

import msgspec

from kafka_pg_pipeline.domain.column_types import describe_type, is_wider
from kafka_pg_pipeline.domain.naming import name_column
from kafka_pg_pipeline.domain.tables import (
    NAME_BYTES,
    Column,
    ColumnRule,
    Rest,
    Source,
    TimeUnit,
    ValueField,
)
from kafka_pg_pipeline.errors import TargetError
from kafka_pg_pipeline.pipeline.mapping import Fate, FieldMapping, TableFields

_BOM = b"\xef\xbb\xbf"
_INT8 = 2**63
_INT8_DIGITS = 19
_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)",
    re.ASCII,
)
# pg_type's names of types that people, and we, write another way.
_CATALOG_NAMES = {
    "smallint": "int2",
    "integer": "int4",
    "int": "int4",
    "bigint": "int8",
    "decimal": "numeric",
    "real": "float4",
    "double precision": "float8",
    "boolean": "bool",
    "character varying": "varchar",
    "character": "bpchar",
    "char": "bpchar",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
}
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def infer_columns(
    documents: Iterable[bytes | None],
    mapping: FieldMapping,
    known: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Column, ...]:
    """Columns of the fields in order of first appearance, then the others that the file names.

    A field that any document of the sample has becomes a column; all are nullable. What is no JSON
    object is passed over: it will be a dead letter.

    Args:
        documents: The sample.
        mapping: What the file says.
        known: PostgreSQL types by field, where the records' own schema tells them.

    Raises:
        TargetError: two fields would become one column, or columns that differ in case only; or a
            field's name cannot be a column's.
    """
    columns = columns_of_fields(gather_fields(documents), mapping, known)
    made = {column.name for column in columns}
    others = [
        make_column(name, rule.type_name or "text", rule.source or ValueField(name), rule.unit)
        for name, rule in mapping.rules.items()
        if name not in made
    ]
    return (*columns, *others)


def gather_fields(documents: Iterable[bytes | None]) -> dict[str, set[str]]:
    """The fields of documents, with what their values say of a type; null says nothing."""
    seen: dict[str, set[str]] = {}
    for document in documents:
        for name, raw in split_document(document).items():
            seen.setdefault(name, set()).update(_kinds_of(bytes(raw)))
    return seen


def columns_of_fields(
    seen: Mapping[str, set[str]], mapping: FieldMapping, known: Mapping[str, str]
) -> list[Column]:
    """Columns of a new table, for the fields that are to have one.

    Raises:
        TargetError: see ``infer_columns``.
    """
    fields = TableFields(mapping, ())
    columns: dict[str, Column] = {}
    of_column: dict[str, str] = {}
    of_name: dict[str, str] = {}
    for name, kinds in seen.items():
        place = fields.place(name)
        if place.fate is Fate.LEFT:
            _check_left(name, mapping)
        if place.fate is not Fate.NEW:
            continue
        others = [of_column.setdefault(place.column.lower(), name)]
        if not fields.is_ruled(name):
            others.append(of_name.setdefault(name.lower(), name))
        for other in others:
            if other != name:
                raise TargetError(describe_collision(other, name))
        columns[place.column] = column_of_field(name, place.column, kinds, mapping, known)
    for name, rule in mapping.rules.items():
        rival = of_column.get(name.lower())
        if rule.source is None:
            rival = rival or of_name.get(name.lower())
        if rival is not None and name not in columns:
            raise TargetError(
                describe_collision(rival, name)
                if rule.source is None
                else _describe_taken(rival, name)
            )
    return list(columns.values())


def column_of_field(
    field: str, name: str, kinds: set[str], mapping: FieldMapping, known: Mapping[str, str]
) -> Column:
    """The column for a field whose values were of these kinds.

    The file's word on it wins, and then that of the records' schema.
    """
    rule = mapping.rules.get(name, ColumnRule())
    type_name = rule.type_name or known.get(field) or _choose_type(kinds)
    return make_column(name, type_name, ValueField(field), rule.unit)


def describe_collision(one: str, other: str) -> str:
    """What is wrong where two fields would become one column."""
    return (
        f"fields {one!r} and {other!r} would become one column, or columns that differ in case "
        "only: give each a column under `columns`, or name one of them under `drop`"
    )


def _describe_taken(field: str, column: str) -> str:
    return (
        f"field {field!r} would take the name of the column {column!r}, which something else "
        "fills: rename that column in the configuration file, or name one for the field under "
        "`columns`"
    )


def _check_left(name: str, mapping: FieldMapping) -> None:
    """A field may be left to the rest column, but not for its name alone."""
    if mapping.select is not None and name not in mapping.select:
        return
    if any(isinstance(rule.source, Rest) for rule in mapping.rules.values()):
        return
    for column in (name, name_column(name, mapping.naming)):
        if column in mapping.rules:
            raise TargetError(_describe_taken(name, column))
    raise TargetError(
        f"field {name!r} cannot be a column: PostgreSQL's names have 1 to {NAME_BYTES} bytes and "
        "no U+0000, and some it keeps for itself. Name a column for it under `columns`, or the "
        "field under `drop`"
    )


def split_document(document: bytes | None) -> Mapping[str, msgspec.Raw]:
    """The fields of a JSON object; none where it is no such thing."""
    try:
        return _decode(document.removeprefix(_BOM)) if document else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


# -- types ---------------------------------------------------------------------------------------

_LITERAL_KINDS = {
    ord("n"): (),
    ord("t"): ("boolean",),
    ord("f"): ("boolean",),
    ord("{"): ("jsonb",),
    ord("["): ("jsonb",),
}


def _kinds_of(literal: bytes) -> Iterable[str]:
    """What a JSON value says of its column's type; nothing where it is null."""
    known = _LITERAL_KINDS.get(literal[0])
    if known is not None:
        return known
    if literal[0] == ord('"'):
        return ("moment",) if _is_moment(literal[1:-1].decode(errors="replace")) else ("text",)
    return (_number_kind(literal.decode()),)


def _number_kind(literal: str) -> str:
    """``integer``: fits bigint and double precision; ``bigint``: bigint alone; or a fraction."""
    digits = literal.lstrip("-")
    if not digits.isdigit():
        return "double" if _fits_double(literal) else "numeric"
    if len(digits) > _INT8_DIGITS or not -_INT8 <= int(literal) < _INT8:
        return "numeric"
    return "integer" if int(float(literal)) == int(literal) else "bigint"


def _fits_double(literal: str) -> bool:
    """True where a double keeps all that was written."""
    try:
        return Decimal(repr(float(literal))) == Decimal(literal)
    except InvalidOperation:
        return False


def _is_moment(text: str) -> bool:
    """True for a date and time with its zone, in ISO 8601."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return False
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
    try:
        datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - only whether it exists
    except ValueError:
        return False
    return True


def _choose_type(kinds: set[str]) -> str:
    """The one type that takes all that was seen without loss."""
    if "jsonb" in kinds:
        return "jsonb"
    if kinds == {"moment"}:
        return "timestamp with time zone"
    if kinds == {"boolean"}:
        return "boolean"
    if not kinds or not kinds <= {"integer", "bigint", "double", "numeric"}:
        return "text"
    if kinds <= {"integer", "bigint"}:
        return "bigint"
    return "double precision" if kinds <= {"integer", "double"} else "numeric"


def choose_wider(column: Column, kinds: set[str]) -> str | None:
    """The type for a column that some values do not fit; None where there is none."""
    if not kinds <= {"integer", "bigint", "double", "numeric"}:
        wanted = "text"
    else:
        wanted = "bigint" if kinds <= {"integer", "bigint"} else "numeric"
    return wanted if is_wider(wanted, than=column.type_name) else None


def make_column(name: str, type_name: str, source: Source, unit: TimeUnit | None) -> Column:
    """A nullable column of that type, as people write it."""
    base, bracket, _ = re.sub(r"\(.*?\)", "", type_name).lower().partition("[")
    base = base.strip()
    described = describe_type(_CATALOG_NAMES.get(base, base), is_array=bool(bracket))
    return Column(
        name=name,
        type_name=type_name,
        kind=described.kind,
        minimum=described.minimum,
        maximum=described.maximum,
        source=source,
        unit=unit,
    )
