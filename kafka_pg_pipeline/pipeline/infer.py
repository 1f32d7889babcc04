"""Columns for a table that does not exist yet, from a sample of the records."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation

import msgspec

from kafka_pg_pipeline.domain.column_types import describe_type
from kafka_pg_pipeline.domain.tables import (
    NAME_BYTES,
    Attribute,
    Column,
    MetadataField,
    Source,
    ValueField,
)
from kafka_pg_pipeline.errors import TargetError

_BOM = b"\xef\xbb\xbf"
_INT8 = 2**63
_INT8_DIGITS = 19
_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)",
    re.ASCII,
)
_METADATA_TYPES = {
    MetadataField.TOPIC: "text",
    MetadataField.PARTITION: "integer",
    MetadataField.OFFSET: "bigint",
    MetadataField.TIMESTAMP: "timestamp with time zone",
    MetadataField.TIMESTAMP_TYPE: "text",
    MetadataField.KEY: "bytea",
    MetadataField.HEADERS: "jsonb",
    MetadataField.INCARNATION: "integer",
}
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
# In every table already (PostgreSQL documentation, 5.6).
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def infer_columns(
    values: Sequence[bytes | None],
    overrides: Mapping[str, str],
    metadata: Mapping[MetadataField, str],
) -> tuple[Column, ...]:
    """Columns in order of first appearance, then those of ``overrides``, then the metadata.

    A field that any record of the sample has becomes a column; all are nullable. What is no JSON
    object is passed over: it will be a dead letter.

    Args:
        values: Record values.
        overrides: PostgreSQL types by column name; they win over what is inferred.
        metadata: Column names by record attribute.

    Raises:
        TargetError: two names differ in case only, a field has a metadata column's name or that
            of a system column, or a name is longer than PostgreSQL's 63 bytes.
    """
    seen: dict[str, set[str]] = {}
    for value in values:
        for name, raw in _fields(value).items():
            seen.setdefault(name, set()).update(_kinds_of(bytes(raw)))
    names = list(dict.fromkeys([*seen, *overrides]))
    _check_names(names, list(metadata.values()))
    columns = [
        _column(name, overrides.get(name) or _choose_type(seen[name]), ValueField(name))
        for name in names
    ]
    return (
        *columns,
        *(
            _column(name, _METADATA_TYPES[field], Attribute(field))
            for field, name in metadata.items()
        ),
    )


def _fields(value: bytes | None) -> Mapping[str, msgspec.Raw]:
    try:
        return _decode(value.removeprefix(_BOM)) if value else {}
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


def _column(name: str, type_name: str, source: Source) -> Column:
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
    )


# -- names ---------------------------------------------------------------------------------------


def _check_names(fields: Sequence[str], metadata: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in fields:
        _check_length(name)
        if name in _SYSTEM_COLUMNS:
            raise TargetError(
                f"field {name!r} cannot be a column: PostgreSQL keeps that name for itself. Create "
                "the table by hand with the columns you want"
            )
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise TargetError(
                f"fields {other!r} and {name!r} would become columns that differ in case only: "
                "create the table by hand with the columns you want"
            )
    for name in metadata:
        _check_length(name)
        if name.lower() in seen:
            raise TargetError(
                f"field {seen[name.lower()]!r} would take the name of the metadata column "
                f"{name!r}: rename the metadata column under `metadata`, or create the table by "
                "hand with the columns you want"
            )


def _check_length(name: str) -> None:
    if not name or len(name.encode()) > NAME_BYTES or "\0" in name:
        raise TargetError(
            # The name is left out: keys of that length are data more often than names.
            f"a field whose name has {len(name.encode())} bytes cannot be a column: PostgreSQL's "
            f"names have 1 to {NAME_BYTES} bytes and no U+0000. Create the table by hand with the "
            "columns you want; `kafka-pg plan` then lists the fields that no column takes"
        )
