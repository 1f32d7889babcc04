"""PostgreSQL's types, grouped by how a JSON value is written for them."""

from dataclasses import dataclass

from kafka_pg_pipeline.domain.tables import ColumnKind

_INTEGER_BITS = {"int2": 16, "int4": 32, "int8": 64}
_KINDS = {
    # A literal goes to float4's own input function, so that it is rounded once.
    "numeric": ColumnKind.NUMERIC,
    "float4": ColumnKind.NUMERIC,
    "float8": ColumnKind.DOUBLE,
    "bool": ColumnKind.BOOLEAN,
    "text": ColumnKind.TEXT,
    "varchar": ColumnKind.TEXT,
    "bpchar": ColumnKind.TEXT,
    "name": ColumnKind.TEXT,
    "citext": ColumnKind.TEXT,
    "json": ColumnKind.JSON,
    "jsonb": ColumnKind.JSON,
    "timestamptz": ColumnKind.TIMESTAMP,
    "timestamp": ColumnKind.TIMESTAMP,
    "date": ColumnKind.TIMESTAMP,
    "bytea": ColumnKind.BYTEA,
}

# What a type is widened to, narrowest first: each holds all that those before it do.
WIDENING = ("smallint", "integer", "bigint", "numeric", "text")


@dataclass(frozen=True, slots=True)
class TypeDescription:
    """The kind of a type, with the bounds of an integer type."""

    kind: ColumnKind
    minimum: int | None = None
    maximum: int | None = None


def describe_type(base_type: str, *, is_array: bool) -> TypeDescription:
    """How values are written for a type.

    Args:
        base_type: ``pg_type.typname``, of a domain that of its base type, of an array that of
            its elements.
        is_array: Whether it is an array, or a domain over one.
    """
    if is_array:
        of_json = _KINDS.get(base_type) is ColumnKind.JSON
        return TypeDescription(ColumnKind.JSON_ARRAY if of_json else ColumnKind.ARRAY)
    bits = _INTEGER_BITS.get(base_type)
    if bits is not None:
        return TypeDescription(ColumnKind.INTEGER, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return TypeDescription(_KINDS.get(base_type, ColumnKind.OTHER))


def is_wider(type_name: str, *, than: str) -> bool:
    """Whether a type holds all values of another, and more; False for types of other families."""
    names = (type_name, than)
    return set(names) <= set(WIDENING) and WIDENING.index(type_name) > WIDENING.index(than)
