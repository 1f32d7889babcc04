"""What a contender is, and what it tells after its turn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from shapes import Column
from stage import Order, Stage


class Clock(Enum):
    """From when to when a contender is timed."""

    OWN = "whole run, by its own clock: start-up of the process left out, first read to last commit"
    COMMITS = (
        "first to last commit, or from its start to the last if that is better; "
        "the rows of the first commit count from the start only"
    )


@dataclass(frozen=True)
class Took:
    """What a contender tells: when it began, how long it took, its memory."""

    started: float
    seconds: float | None
    peak_bytes: int | None


@dataclass(frozen=True, eq=False)
class Contender:
    """One who takes part.

    ``extra_columns`` are columns that it cannot do without in a mode, and ``other_types`` names
    types of PostgreSQL that it cannot write, with what it gets instead.
    """

    title: str
    run: Callable[[Stage, Order], Took]
    clock: Clock = Clock.OWN
    fills_table: bool = True
    most_records: int | None = None
    extra_columns: Mapping[str, str] = field(default_factory=dict)
    other_types: Mapping[str, str] = field(default_factory=dict)
    shapes: frozenset[str] = frozenset({"narrow", "wide", "avro", "debezium"})
    modes: frozenset[str] = frozenset({"append"})

    def define_table(self, columns: Sequence[Column], mode: str) -> str:
        """The columns of its table, as CREATE TABLE wants them; keyed unless it is appended to."""
        types = self.other_types
        parts = [f"{column.name} {types.get(column.type, column.type)}" for column in columns]
        if mode in self.extra_columns:
            parts.append(self.extra_columns[mode])
        if mode != "append":
            parts.append("PRIMARY KEY (id)")
        return ", ".join(parts)
