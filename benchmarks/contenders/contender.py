"""What a contender is, and what it tells after its turn."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

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


@dataclass(frozen=True)
class Contender:
    """One who takes part."""

    title: str
    run: Callable[[Stage, Order], Took]
    clock: Clock = Clock.OWN
    fills_table: bool = True
    most_records: int | None = None
    shapes: frozenset[str] = frozenset({"narrow", "wide", "avro", "debezium"})
    modes: frozenset[str] = frozenset({"append"})
