"""Which column a field of the value goes to: what the file says, then names, old before new."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from kafka_pg_pipeline.domain.naming import Naming, can_name, name_column
from kafka_pg_pipeline.domain.tables import Column, ColumnRule, Rest, ValueField
from kafka_pg_pipeline.settings.models import StreamSettings


@dataclass(frozen=True)
class FieldMapping:
    """What the file says of the value's fields; ``select`` is None where it names none."""

    rules: Mapping[str, ColumnRule] = field(default_factory=dict)
    naming: Naming = Naming.SNAKE_CASE
    select: frozenset[str] | None = None
    drop: frozenset[str] = frozenset()

    @classmethod
    def of(cls, stream: StreamSettings) -> "FieldMapping":
        """The mapping of a stream."""
        select = None if stream.select is None else frozenset(stream.select)
        return cls(stream.rules, stream.naming, select, frozenset(stream.drop))


class Fate(str, Enum):
    """TAKEN by a column, NEW to the table, LEFT to the rest column, or DROPPED."""

    TAKEN = "taken"
    NEW = "new"
    LEFT = "left"
    DROPPED = "dropped"


class Place(NamedTuple):
    """Where a field goes; ``column`` is set where it is TAKEN, or could be made where it is NEW."""

    fate: Fate
    column: str = ""


class TableFields:
    """The fields of the value and the columns of one table.

    ``columns`` are those that a field can fill, each with a ``ValueField`` as its source: the
    spelling that is expected first. Other spellings may lead to the same column.
    """

    def __init__(self, mapping: FieldMapping, columns: Sequence[Column]) -> None:
        self._mapping = mapping
        self._ruled = {
            rule.source.name: name
            for name, rule in mapping.rules.items()
            if isinstance(rule.source, ValueField)
        }
        ruled = set(self._ruled.values())
        self._names = {column.name for column in columns}
        self._open = {
            column.name
            for column in columns
            if isinstance(column.source, ValueField) and column.name not in ruled
        }
        expected = self._expect(ruled & self._names)
        self.expected: Mapping[str, str] = expected
        self.has_rest = any(isinstance(column.source, Rest) for column in columns)

    def _expect(self, ruled: set[str]) -> dict[str, str]:
        """By column the field that fills it, in the spelling to expect."""
        expected = {name: field for field, name in self._ruled.items() if name in ruled}
        chosen = self._open if self._mapping.select is None else self._mapping.select
        for name in sorted(chosen, key=lambda name: (name not in self._open, name)):
            place = self._place_by_name(name)
            if name not in self._mapping.drop and place.fate is Fate.TAKEN:
                expected.setdefault(place.column, name)
        self._open &= expected.keys()
        return expected

    def is_ruled(self, name: str) -> bool:
        """Whether the file names a column for that field."""
        return name in self._ruled

    def place(self, name: str) -> Place:
        """Where the field of that name goes."""
        if name in self._mapping.drop:
            return Place(Fate.DROPPED)
        if name in self._ruled:
            column = self._ruled[name]
            return Place(Fate.TAKEN if column in self._names else Fate.NEW, column)
        if self._mapping.select is not None and name not in self._mapping.select:
            return Place(Fate.LEFT)
        return self._place_by_name(name)

    def _place_by_name(self, name: str) -> Place:
        made = name_column(name, self._mapping.naming)
        declared = name if name in self._mapping.rules else made
        for candidate in (name, made):
            if candidate in self._open:
                return Place(Fate.TAKEN, candidate)
        if not {name, made}.isdisjoint(self._names) or not can_name(declared):
            return Place(Fate.LEFT)
        rule = self._mapping.rules.get(declared)
        if rule is not None and rule.source is not None:
            return Place(Fate.LEFT)  # something else than a field of that name fills it
        return Place(Fate.NEW, declared)
