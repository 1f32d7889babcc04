"""Columns for a table that does not exist yet, from a sample of the records."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from kafka_pg_pipeline.domain.column_types import describe_type
from kafka_pg_pipeline.domain.tables import Column, MetadataField
from kafka_pg_pipeline.errors import TargetError

_NAME_BYTES = 63
_INT8 = 2**63
_TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)", re.ASCII
)
_METADATA_TYPES = {
    MetadataField.TOPIC: ("text", "text"),
    MetadataField.PARTITION: ("integer", "int4"),
    MetadataField.OFFSET: ("bigint", "int8"),
    MetadataField.TIMESTAMP: ("timestamp with time zone", "timestamptz"),
    MetadataField.TIMESTAMP_TYPE: ("text", "text"),
    MetadataField.KEY: ("bytea", "bytea"),
    MetadataField.HEADERS: ("jsonb", "jsonb"),
}
_BASE_TYPES = {
    "bigint": "int8",
    "numeric": "numeric",
    "double precision": "float8",
    "boolean": "bool",
    "timestamp with time zone": "timestamptz",
    "text": "text",
    "jsonb": "jsonb",
}


class _Literal(str):
    """A number that is not an integer, as it was written."""

    __slots__ = ()


_decode = msgspec.json.Decoder(dict[str, Any], float_hook=_Literal).decode


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
        TargetError: two names differ in case only, or a name is longer than PostgreSQL's 63 bytes.
    """
    types: dict[str, str | None] = {}
    for value in values:
        for name, item in _fields(value).items():
            types[name] = _merge(types.get(name), _type_of(item))
    names = list(dict.fromkeys([*types, *overrides]))
    _check_names([*names, *metadata.values()])
    columns = [_value_column(name, overrides.get(name) or types.get(name)) for name in names]
    return (*columns, *(_metadata_column(field, name) for field, name in metadata.items()))


def _fields(value: bytes | None) -> dict[str, Any]:
    try:
        return _decode(value) if value else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def _type_of(item: Any) -> str | None:
    if item is None:
        return None
    if isinstance(item, bool):
        return "boolean"
    if isinstance(item, int):
        return "bigint" if -_INT8 <= item < _INT8 else "numeric"
    if isinstance(item, _Literal):
        return "double precision" if _fits_double(item) else "numeric"
    if isinstance(item, str):
        return "timestamp with time zone" if _TIMESTAMP.fullmatch(item) else "text"
    return "jsonb"


def _fits_double(literal: str) -> bool:
    """True where a double keeps all digits that were written (15 always survive)."""
    digits = re.sub(r"[eE].*|\D", "", literal).strip("0")
    return len(digits) <= 15 and abs(float(literal)) != float("inf")


_NUMBERS = ("bigint", "double precision", "numeric")


def _merge(one: str | None, other: str | None) -> str | None:
    if one is None or other is None or one == other:
        return one or other
    if one in _NUMBERS and other in _NUMBERS:
        return max(one, other, key=_NUMBERS.index)
    return "jsonb" if "jsonb" in (one, other) else "text"


def _value_column(name: str, type_name: str | None) -> Column:
    type_name = type_name or "text"
    described = describe_type(_BASE_TYPES.get(type_name, type_name), "")
    return Column(
        name=name,
        type_name=type_name,
        kind=described.kind,
        minimum=described.minimum,
        maximum=described.maximum,
        field=name,
    )


def _metadata_column(field: MetadataField, name: str) -> Column:
    type_name, base_type = _METADATA_TYPES[field]
    kind = describe_type(base_type, "").kind
    return Column(name=name, type_name=type_name, kind=kind, metadata=field)


def _check_names(names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if not name or len(name.encode()) > _NAME_BYTES or "\0" in name:
            raise TargetError(
                f"field {name[:80]!r} cannot be a column: PostgreSQL's names have 1 to "
                f"{_NAME_BYTES} bytes. Create the table by hand with the columns you want"
            )
        other = seen.setdefault(name.casefold(), name)
        if other != name or names.count(name) > 1:
            raise TargetError(
                f"fields {other!r} and {name!r} would become columns that differ in case only, "
                "or take a metadata column's name. Create the table by hand, or rename the "
                "metadata column under `metadata`"
            )
