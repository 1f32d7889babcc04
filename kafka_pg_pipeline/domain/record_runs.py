"""Many records at once, of which a column costs less than the records that it is taken from."""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, overload

from kafka_pg_pipeline.domain.records import Record


class RecordRun(Sequence[Record]):
    """Records in their order, to be had one by one, or one attribute of all of them."""

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> "RecordRun": ...
    @abstractmethod
    def __getitem__(self, index: int | slice) -> "Record | RecordRun":
        """One record, or a shorter run."""

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

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> RecordRun: ...
    def __getitem__(self, index: int | slice) -> Record | RecordRun:
        if isinstance(index, slice):
            return ListedRecords(self._records[index])
        return self._records[index]

    def column(self, attribute: str) -> list[Any]:
        """That attribute of each record."""
        return list(map(attrgetter(attribute), self._records))


class JoinedRecords(RecordRun):
    """Runs, one after the other; more can be added behind them."""

    def __init__(self, runs: Iterable[RecordRun] = ()) -> None:
        self._runs: list[RecordRun] = []
        self._ends: list[int] = []
        for run in runs:
            self.extend(run)

    def extend(self, run: RecordRun) -> None:
        """Add a run behind the others."""
        if run:
            self._runs.append(run)
            self._ends.append(len(self) + len(run))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Record]:
        for run in self._runs:
            yield from run

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> RecordRun: ...
    def __getitem__(self, index: int | slice) -> Record | RecordRun:
        if isinstance(index, slice):
            return ListedRecords(map(self.__getitem__, range(*index.indices(len(self)))))
        place = range(len(self))[index]
        number = bisect_right(self._ends, place)
        return self._runs[number][place - (self._ends[number - 1] if number else 0)]

    def column(self, attribute: str) -> list[Any]:
        """That attribute of each record."""
        return [item for run in self._runs for item in run.column(attribute)]
