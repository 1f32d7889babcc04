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

    ``extra_columns`` are columns that it cannot do without in a table that is appended to, and
    ``other_types`` names types of PostgreSQL that it cannot write, with what it gets instead.
    """

    title: str
    run: Callable[[Stage, Order], Took]
    clock: Clock = Clock.OWN
    fills_table: bool = True
    most_records: int | None = None
    extra_columns: str = ""
    other_types: Mapping[str, str] = field(default_factory=dict)
    shapes: frozenset[str] = frozenset({"narrow", "wide", "avro", "debezium"})
    modes: frozenset[str] = frozenset({"append"})

    def define_table(self, columns: Sequence[Column], *, keyed: bool) -> str:
        """The columns of its table, as CREATE TABLE wants them."""
        parts = [
            f"{column.name} {self.other_types.get(column.type, column.type)}" for column in columns
        ]
        if keyed:
            parts.append("PRIMARY KEY (id)")
        elif self.extra_columns:
            parts.append(self.extra_columns)
        return ", ".join(parts)
