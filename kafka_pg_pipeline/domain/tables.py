"""The target table, as its catalog describes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

# The longest name PostgreSQL keeps whole; the rest it cuts off with a NOTICE.
NAME_BYTES = 63


class ColumnKind(str, Enum):
    """How a column takes a JSON value; the types PostgreSQL groups under one input form."""

    INTEGER = "integer"
    NUMERIC = "numeric"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TEXT = "text"
    JSON = "json"
    TIMESTAMP = "timestamp"
    BYTEA = "bytea"
    ARRAY = "array"
    JSON_ARRAY = "json_array"
    OTHER = "other"


class MetadataField(str, Enum):
    """The record's own attributes that a metadata column can hold.

    INCARNATION counts how often the topic was created again, from 1, as the position does.
    """

    TOPIC = "topic"
    PARTITION = "partition"
    OFFSET = "offset"
    TIMESTAMP = "timestamp"
    TIMESTAMP_TYPE = "timestamp_type"
    KEY = "key"
    HEADERS = "headers"
    INCARNATION = "incarnation"
    LOAD_ID = "load_id"
    RUN_ID = "run_id"
    DELETED = "deleted"


METADATA_TYPES: Mapping[MetadataField, str] = {
    MetadataField.TOPIC: "text",
    MetadataField.PARTITION: "integer",
    MetadataField.OFFSET: "bigint",
    MetadataField.TIMESTAMP: "timestamp with time zone",
    MetadataField.TIMESTAMP_TYPE: "text",
    MetadataField.KEY: "bytea",
    MetadataField.HEADERS: "jsonb",
    MetadataField.INCARNATION: "integer",
    MetadataField.LOAD_ID: "uuid",
    MetadataField.RUN_ID: "text",
    MetadataField.DELETED: "boolean",
}


class TimeUnit(str, Enum):
    """What a number counts from 1970-01-01 in UTC on, in a column of dates or times."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


@dataclass(frozen=True, slots=True)
class ValueField:
    """The field of that name of the record's value."""

    name: str


@dataclass(frozen=True, slots=True)
class KeyField:
    """The field of that name of the record's key, or a key that is no object as a whole."""

    name: str


@dataclass(frozen=True, slots=True)
class Header:
    """The last header of that name, as text."""

    name: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of the record itself."""

    field: MetadataField


@dataclass(frozen=True, slots=True)
class Constant:
    """The same text in each row."""

    text: str


@dataclass(frozen=True, slots=True)
class Rest:
    """An object of all the fields that no column takes."""


Source = ValueField | KeyField | Header | Attribute | Constant | Rest


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """What the file says of a column.

    ``source`` is None where the field is found by its name; ``type_name`` is None where the type
    is inferred. ``unit`` is None where a number is no moment.
    """

    source: Source | None = None
    type_name: str | None = None
    unit: TimeUnit | None = TimeUnit.MILLISECONDS


@dataclass(frozen=True, slots=True)
class Column:
    """One column that the loader fills from its ``source``.

    ``type_name`` is PostgreSQL's ``format_type``. For INTEGER ``minimum`` and ``maximum`` bound
    the value. ``unit`` is that of a number for a
    TIMESTAMP, None where it takes no number.
    """

    name: str
    type_name: str
    kind: ColumnKind
    nullable: bool = True
    has_default: bool = False
    minimum: int | None = None
    maximum: int | None = None
    source: Source | None = None
    unit: TimeUnit | None = TimeUnit.MILLISECONDS

    @property
    def field(self) -> str | None:
        """Name of the value's field that fills the column; None where something else does."""
        return self.source.name if isinstance(self.source, ValueField) else None

    @property
    def is_from_value(self) -> bool:
        """Whether the record's value fills the column, rather than its key or the record itself."""
        return isinstance(self.source, ValueField | Rest | None)

    @property
    def metadata(self) -> MetadataField | None:
        """The attribute that fills the column; None where something else does."""
        return self.source.field if isinstance(self.source, Attribute) else None


@dataclass(frozen=True, slots=True)
class TableName:
    """A schema-qualified table name, unquoted."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @classmethod
    def parse(cls, text: str) -> "TableName":
        """``schema.name``, or ``name`` in ``public``."""
        schema, _, name = text.rpartition(".")
        return cls(schema or "public", name)


@dataclass(frozen=True, slots=True)
class TargetTable:
    """The table a stream fills, with the columns that the loader writes, in table order.

    ``plain`` says that nothing but the table itself sees a row arrive (no unique index, primary
    key, exclusion constraint, foreign key or user trigger), so that rows may be copied straight
    into it ahead of the compare-and-swap. ``unique_keys`` are the sets of columns that tell its
    rows apart.
    """

    name: TableName
    oid: int
    columns: tuple[Column, ...]
    plain: bool
    unique_keys: tuple[frozenset[str], ...] = ()

    @property
    def offset_columns(self) -> tuple[str, str] | None:
        """The columns that hold partition and offset; None where either is missing."""
        names = self._attribute_columns
        partition, offset = names.get(MetadataField.PARTITION), names.get(MetadataField.OFFSET)
        return (partition, offset) if partition and offset else None

    @property
    def version_columns(self) -> tuple[str, str, str]:
        """The columns that hold partition, offset and incarnation: which record a row is of.

        Raises:
            KeyError: one is missing.
        """
        names = self._attribute_columns
        return (
            names[MetadataField.PARTITION],
            names[MetadataField.OFFSET],
            names[MetadataField.INCARNATION],
        )

    @property
    def _attribute_columns(self) -> Mapping[MetadataField, str]:
        return {column.metadata: column.name for column in self.columns if column.metadata}


@dataclass(frozen=True, slots=True)
class Evolved:
    """A table after a change, and the statements that were needed for it."""

    target: TargetTable
    statements: tuple[str, ...]
