"""Lanes: disjoint groups of a stream's partitions, loaded by processes of their own.

How many are worth it follows from the backlog: they shorten the reading, but a process has to start
first.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

Lane = tuple[int, ...]


def spread(backlog: Mapping[int, int], lanes: int) -> tuple[Lane, ...]:
    """So many lanes, or as many as there are partitions with something to load; each ascending.

    The largest backlog goes first, each to the lane that has least by then: the longest lane is at
    most four thirds of what it could be.
    """
    wanted = sorted((p for p, left in backlog.items() if left > 0), key=lambda p: (-backlog[p], p))
    groups: list[list[int]] = [[] for _ in range(min(lanes, len(wanted)))]
    shortest = [(0, number) for number in range(len(groups))]
    for partition in wanted:
        total, number = shortest[0]
        groups[number].append(partition)
        heapq.heapreplace(shortest, (total + backlog[partition], number))
    return tuple(tuple(sorted(group)) for group in groups)


def find_longest(lanes: tuple[Lane, ...], backlog: Mapping[int, int]) -> int:
    """Offsets that the longest lane has before it."""
    return max((sum(backlog[partition] for partition in lane) for lane in lanes), default=0)


@dataclass(frozen=True, slots=True)
class LaneRule:
    """How many lanes a load has.

    ``exactly`` so many where somebody says it, as far as there are partitions. Else so many, up to
    ``most``, as end soonest when ``start_up`` records could be loaded before they begin; the fewest
    of those that are equal.
    """

    most: int
    start_up: int
    exactly: int | None = None

    def choose(self, backlog: Mapping[int, int]) -> tuple[Lane, ...]:
        """The lanes for a backlog (partition → offsets); none where there is nothing to load."""
        if self.exactly is not None:
            return spread(backlog, self.exactly)
        choices = [spread(backlog, lanes) for lanes in range(1, self.most + 1)]
        return min(choices, key=lambda lanes: (self._cost(lanes, backlog), len(lanes)), default=())

    def _cost(self, lanes: tuple[Lane, ...], backlog: Mapping[int, int]) -> int:
        return find_longest(lanes, backlog) + (self.start_up if len(lanes) > 1 else 0)


def exactly(lanes: int) -> LaneRule:
    """The rule where somebody says how many."""
    return LaneRule(lanes, 0, lanes)
