"""What a comparison must show, as ratios within one run."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from results import Outcome, Row
from stage import Task

Select = Callable[[Task], bool]
Quantity = Callable[[Outcome], float]


@dataclass(frozen=True)
class Verdict:
    """A target beside what was measured."""

    words: str
    ratio: float
    sign: Literal[">=", "<="]
    bound: float
    is_reached: bool


@dataclass(frozen=True)
class Target:
    """A ratio between two rows, which are measured in turn: the median of the rounds' ratios."""

    words: str
    ours: Select
    other: Select
    sign: Literal[">=", "<="]
    bound: float
    quantity: Quantity = lambda outcome: outcome.rows_per_second

    def judge(self, rows: Sequence[Row]) -> Verdict | None:
        """The verdict; None where one of the rows was not measured."""
        ours = next((row for row in rows if self.ours(row.task)), None)
        other = next((row for row in rows if self.other(row.task)), None)
        if ours is None or other is None:
            return None
        pairs = zip(ours.outcomes, other.outcomes, strict=True)
        ratio = statistics.median(self.quantity(a) / self.quantity(b) for a, b in pairs)
        is_reached = ratio >= self.bound if self.sign == ">=" else ratio <= self.bound
        return Verdict(self.words, round(ratio, 3), self.sign, self.bound, is_reached)


def by(contender: str, **values: object) -> Select:
    def select(task: Task) -> bool:
        return task.contender == contender and all(
            getattr(task, name) == value for name, value in values.items()
        )

    return select


def versus(ours: str, other: str, bound: float) -> Target:
    return Target(f"{ours} / {other}, rows a second", by(ours), by(other), ">=", bound)


def far_away() -> Iterator[Target]:
    for name in ("ours", "ours-fast"):
        for mode in ("append", "upsert"):
            yield Target(
                f"{name}, {mode}: seconds with 12 ms more of round trip / without",
                by(name, mode=mode, delay_ms=12.0),
                by(name, mode=mode, delay_ms=0.0),
                "<=",
                1.2,
                lambda outcome: outcome.seconds,
            )


def growth() -> Iterator[Target]:
    # Each lane is a process with a memory of its own, and a large backlog is loaded in several.
    for name in ("ours", "ours-fast", "ours-one-lane", "ours-fast-one-lane"):
        yield Target(
            f"{name}: peak memory with 10^7 records / with 10^5",
            by(name, records=10_000_000),
            by(name, records=100_000),
            "<=",
            1.2,
            lambda outcome: outcome.peak_bytes or 0,
        )
        yield Target(
            f"{name}: seconds a record with 10^7 records / with 10^6",
            by(name, records=10_000_000),
            by(name, records=1_000_000),
            "<=",
            1.1,
            lambda outcome: outcome.seconds / outcome.rows,
        )


TARGETS: dict[str, tuple[Target, ...]] = {
    "append": (
        versus("ours-fast", "read-fast", 0.40),
        versus("ours", "read", 0.65),
        versus("ours-fast", "pathway", 1.5),
        versus("ours-fast", "connect", 3.0),
        versus("ours-fast", "connect-plain", 3.0),
    ),
    "upsert": (
        versus("ours-fast", "connect", 2.0),
        versus("ours-fast", "connect-plain", 2.0),
    ),
    "round-trip": tuple(far_away()),
    "backlog": tuple(growth()),
}


def judge(case: str, rows: Sequence[Row]) -> list[Verdict]:
    """The verdicts of a case's targets, as far as it was measured."""
    found = (target.judge(rows) for target in TARGETS.get(case, ()))
    return [verdict for verdict in found if verdict is not None]
