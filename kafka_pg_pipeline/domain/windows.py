"""Windows of time of a stream, loaded apart from its live position.

A window keeps books of its own (positions, ledger, dead letters) under its name, which no stream
can have, so that all that holds for a stream holds for it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Literal

from kafka_pg_pipeline.domain.offsets import OffsetRange
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.domain.written_times import parse_moment
from kafka_pg_pipeline.errors import ConfigurationError

Every = Literal["hour", "day"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)
_LENGTHS: Mapping[Every, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_NAME = re.compile(
    r"(?P<stream>[^@]+)@(?P<start>[^/@]+)/(?P<end>[^Z]+Z)(?::(?P<into>.+?))?(?:#(?P<number>\d+))?"
)


@dataclass(frozen=True, slots=True)
class Window:
    """The records of ``stream`` with ``start`` ≤ timestamp < ``end``, in whole milliseconds.

    ``into`` is the table where that is not the stream's own. ``incarnation`` is the topic's: once
    it was created again, the same time is another window.

    Raises:
        ConfigurationError: the end is not behind the start, or a time has parts of milliseconds.
    """

    stream: str
    start: datetime
    end: datetime
    into: str | None = None
    incarnation: int = 1

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ConfigurationError(
                f"to: {_write(self.end)} is not behind {_write(self.start)}: a window takes in its "
                "beginning and leaves out its end"
            )
        for name, moment in (("from", self.start), ("to", self.end)):
            if (moment - _EPOCH) % _MILLISECOND:
                raise ConfigurationError(
                    f"{name}: {_write(moment)} has parts of a millisecond, Kafka's times have none"
                )

    @property
    def name(self) -> str:
        """Under which its books are kept: ``orders@2026-11-01T00:00Z/2026-11-02T00:00Z``."""
        into = f":{self.into}" if self.into else ""
        number = f"#{self.incarnation}" if self.incarnation > 1 else ""
        return f"{self.stream}@{_write(self.start)}/{_write(self.end)}{into}{number}"

    @property
    def first_millisecond(self) -> int:
        """The earliest timestamp that belongs to it."""
        return (self.start - _EPOCH) // _MILLISECOND

    @property
    def end_millisecond(self) -> int:
        """The earliest later timestamp that does not."""
        return (self.end - _EPOCH) // _MILLISECOND


def parse_window(name: str) -> Window | None:
    """The window of that name; None where it is no window's.

    Raises:
        ConfigurationError: it looks like one, and its times are none.
    """
    if "@" not in name:
        return None
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigurationError(
            f"{name!r} is no window's name: `kafka-pg backfill STREAM --list` lists those that "
            "there are"
        )
    return Window(
        match["stream"],
        parse_moment("window", match["start"]),
        parse_moment("window", match["end"]),
        match["into"],
        int(match["number"] or 1),
    )


def stream_of(name: str) -> str:
    """The stream that a window's name begins with; a stream's own name is its own."""
    return name.partition("@")[0]


def split_time(
    start: datetime, end: datetime, every: Every | None
) -> tuple[tuple[datetime, datetime], ...]:
    """The time cut at each full hour or midnight UTC, so that whoever asks gets the same windows.

    Without ``every`` it stays in one piece.
    """
    start, end = start.astimezone(timezone.utc), end.astimezone(timezone.utc)
    if every is None or end <= start:
        return ((start, end),)
    length = _LENGTHS[every]
    cut = start - (start - _EPOCH) % length + length
    cuts = [start]
    while cut < end:
        cuts.append(cut)
        cut += length
    return tuple(pairwise([*cuts, end]))


@dataclass(frozen=True, slots=True)
class EpochSpan:
    """Offsets [start_offset, end_offset) that one epoch of the live position covered."""

    partition: int
    start_offset: int
    end_offset: int


Uncovered = Mapping[int, tuple[OffsetRange, ...]]


def find_uncovered(spans: Iterable[EpochSpan], gaps: Iterable[EpochSpan]) -> Uncovered:
    """Offsets that are not the live position's, by partition, ascending.

    ``spans`` are those of all epochs, each partition's in order. An epoch that begins further back
    gave back what lies behind its beginning: a move back deletes those rows. The last epoch's go
    on without end. What was noted as a gap is nobody's.
    """
    covered: dict[int, list[tuple[int, int]]] = {}
    ends: dict[int, int] = {}
    for span in spans:
        kept = covered.get(span.partition, [])
        covered[span.partition] = [
            (start, min(end, span.start_offset)) for start, end in kept if start < span.start_offset
        ]
        covered[span.partition].append((span.start_offset, span.end_offset))
        ends[span.partition] = span.start_offset
    for gap in gaps:
        covered.setdefault(gap.partition, []).append((gap.start_offset, gap.end_offset))
    return {
        partition: _holes(partition, covered[partition], end) for partition, end in ends.items()
    }


def _holes(partition: int, covered: Iterable[tuple[int, int]], end: int) -> tuple[OffsetRange, ...]:
    """What lies between the covered offsets, below ``end``."""
    holes, reached = [], 0
    for start, stop in sorted(covered):
        if reached < min(start, end):
            holes.append(OffsetRange(partition, reached, min(start, end)))
        reached = max(reached, stop)
    if reached < end:
        holes.append(OffsetRange(partition, reached, end))
    return tuple(holes)


@dataclass(frozen=True, slots=True)
class WindowSelection:
    """Which records a window takes: those of its time, and of ``uncovered`` where that is given."""

    window: Window
    uncovered: Uncovered | None = None

    def __call__(self, record: Record) -> bool:
        """Whether the record is the window's."""
        window = self.window
        if not window.first_millisecond <= record.timestamp < window.end_millisecond:
            return False
        if self.uncovered is None:
            return True
        return any(
            piece.start_offset <= record.offset < piece.end_offset
            for piece in self.uncovered.get(record.partition, ())
        )

    def end_of(self, partition: int, end_offset: int) -> int:
        """Where reading a partition may stop: behind its last offset that may be the window's."""
        if self.uncovered is None:
            return end_offset
        pieces = self.uncovered.get(partition, ())
        return min(end_offset, max((piece.end_offset for piece in pieces), default=0))


@dataclass(frozen=True, slots=True)
class WindowStatus:
    """A window as its books have it; ``table`` is its target, ``rows`` what landed there.

    ``completed_at`` is None until a run has come to its end.
    """

    name: str
    table: str
    start: datetime
    end: datetime
    created_at: datetime
    completed_at: datetime | None
    rows: int
    dead_letters: int
    lost_offsets: int


def _write(moment: datetime) -> str:
    """UTC, as short as it is exact."""
    utc = moment.astimezone(timezone.utc).replace(tzinfo=None)
    whole = not (utc.second or utc.microsecond)
    return f"{utc.isoformat(timespec='minutes' if whole else 'auto')}Z"
