"""Many records at once, of which a column costs less than the records that it is taken from."""

from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any, overload

from kafka_pg_pipeline.domain.records import Record


class RecordRun(Sequence[Record]):
    """Records in their order, to be had one by one, or one attribute of all of them."""

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> "RecordRun": ...
    def __getitem__(self, index: int | slice) -> "Record | RecordRun":
        return self.part(index) if isinstance(index, slice) else self.record(index)

    @abstractmethod
    def record(self, index: int) -> Record:
        """The record at a place, as a sequence has it."""

    @abstractmethod
    def part(self, places: slice) -> "RecordRun":
        """Some of the records: those of a slice without a step."""

    def expect(self, indexes: Sequence[int]) -> None:
        """To be told which records will be asked for, where some are; the rest may be as well."""

    @abstractmethod
    def column(self, attribute: str) -> list[Any]:
        """That attribute of each record (``partition``, ``offset``, ``value``, …)."""


class ListedRecords(RecordRun):
    """Records that exist already."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = list(records)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def record(self, index: int) -> Record:
        """The record at a place."""
        return self._records[index]

    def part(self, places: slice) -> "ListedRecords":
        """Some of the records."""
        return ListedRecords(self._records[places])

    def column(self, attribute: str) -> list[Any]:
        """That attribute of each record."""
        return list(map(attrgetter(attribute), self._records))


class JoinedRecords(RecordRun):
    """Runs, one after the other."""

    def __init__(self, runs: Iterable[RecordRun]) -> None:
        self._runs = [single for run in runs for single in _singles(run)]
        self._ends = list(accumulate(map(len, self._runs)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Record]:
        return chain.from_iterable(self._runs)

    def record(self, index: int) -> Record:
        """The record at a place."""
        place = range(len(self))[index]
        number = bisect_right(self._ends, place)
        return self._runs[number][place - self._start(number)]

    def part(self, places: slice) -> "JoinedRecords":
        """Some of the records."""
        start, end, _ = places.indices(len(self))
        first, last = bisect_right(self._ends, start), bisect_left(self._ends, end)
        parts = []
        for number, run in enumerate(self._runs[first : last + 1], first):
            before = self._start(number)
            parts.append(run[max(start - before, 0) : max(end - before, 0)])
        return JoinedRecords(parts)

    def expect(self, indexes: Sequence[int]) -> None:
        """See ``RecordRun``."""
        by_run = defaultdict(list)
        for index in indexes:
            number = bisect_right(self._ends, index)
            by_run[number].append(index - self._start(number))
        for number, places in by_run.items():
            self._runs[number].expect(places)

    def column(self, attribute: str) -> list[Any]:
        """That attribute of each record."""
        return [item for run in self._runs for item in run.column(attribute)]

    def _start(self, number: int) -> int:
        return self._ends[number - 1] if number else 0


def _singles(run: RecordRun) -> Iterable[RecordRun]:
    """The runs of a joined one, or the one itself; none where there is no record."""
    if isinstance(run, JoinedRecords):
        return run._runs  # noqa: SLF001 - of the same class
    return [run] if run else []
