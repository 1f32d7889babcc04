"""What a contender is, and what it tells after its turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from shapes import SHAPES
from stage import Order, Stage, Task


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

    def prepare(self, stage: Stage, task: Task) -> Order:
        """A task's topic, and an empty table; keyed unless it is appended to."""
        types = self.other_types
        columns = SHAPES[task.shape].columns
        parts = [f"{column.name} {types.get(column.type, column.type)}" for column in columns]
        if task.mode in self.extra_columns:
            parts.append(self.extra_columns[task.mode])
        if task.mode != "append":
            parts.append("PRIMARY KEY (id)")
        return stage.prepare(task, ", ".join(parts), self.most_records)
