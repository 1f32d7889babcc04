"""Windows of time: their names, their edges, and what the live position leaves them."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_pg_pipeline.domain.offsets import OffsetRange
from kafka_pg_pipeline.domain.windows import (
    EpochSpan,
    Window,
    WindowSelection,
    find_uncovered,
    parse_window,
    split_time,
    stream_of,
)
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline_tests.encoding import FakeRecord

NOON = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("window", "name"),
    [
        (Window("orders", NOON, NOON + DAY), "orders@2026-11-01T12:00Z/2026-11-02T12:00Z"),
        (
            Window("orders", NOON - MILLISECOND, NOON, "past.orders", 3),
            "orders@2026-11-01T11:59:59.999000Z/2026-11-01T12:00Z:past.orders#3",
        ),
        (
            Window("o", NOON, NOON + timedelta(seconds=1), "my table"),
            "o@2026-11-01T12:00Z/2026-11-01T12:00:01Z:my table",
        ),
    ],
)
def test_a_name_tells_the_window(window: Window, name: str) -> None:
    assert window.name == name
    assert parse_window(name) == window
    assert stream_of(name) == window.stream


def test_a_stream_is_no_window() -> None:
    assert parse_window("orders") is None
    assert stream_of("orders") == "orders"
    with pytest.raises(ConfigurationError, match="--list"):
        parse_window("orders@yesterday")


def test_the_zone_somebody_writes_changes_no_name() -> None:
    east = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert Window("orders", east, east + DAY).name == Window("orders", NOON, NOON + DAY).name


def test_a_window_has_a_length_and_whole_milliseconds() -> None:
    with pytest.raises(ConfigurationError, match="is not behind"):
        Window("orders", NOON, NOON)
    with pytest.raises(ConfigurationError, match="parts of a millisecond"):
        Window("orders", NOON, NOON + timedelta(microseconds=1))


def test_the_beginning_belongs_to_a_window_and_the_end_does_not() -> None:
    selection = WindowSelection(Window("orders", NOON, NOON + DAY))
    first, end = (round(moment.timestamp() * 1000) for moment in (NOON, NOON + DAY))
    stamps = (first - 1, first, end - 1, end, -1)
    chosen = [selection(FakeRecord(b"", timestamp=stamp)) for stamp in stamps]
    assert chosen == [False, True, True, False, False]


def test_time_is_cut_at_midnight_and_at_full_hours() -> None:
    end = NOON + DAY
    assert split_time(NOON, end, None) == ((NOON, end),)
    midnight = NOON.replace(hour=0) + DAY
    assert split_time(NOON, end, "day") == ((NOON, midnight), (midnight, end))
    assert split_time(midnight, midnight + DAY, "day") == ((midnight, midnight + DAY),)
    hours = split_time(NOON + timedelta(minutes=30), NOON + timedelta(hours=2), "hour")
    assert [length.total_seconds() / 60 for length in (b - a for a, b in hours)] == [30, 60]


def uncovered(
    spans: list[tuple[int, int]], gaps: tuple[tuple[int, int], ...] = ()
) -> list[tuple[int, int]]:
    found = find_uncovered(
        [EpochSpan(0, *span) for span in spans], [EpochSpan(0, *gap) for gap in gaps]
    )
    return [(piece.start_offset, piece.end_offset) for piece in found[0]]


@pytest.mark.parametrize(
    ("spans", "gaps", "left"),
    [
        ([(0, 50)], (), []),
        ([(100, 150)], (), [(0, 100)]),
        ([(100, 100)], (), [(0, 100)]),
        ([(100, 150), (150, 200)], (), [(0, 100)]),  # paused
        ([(100, 150), (200, 220)], (), [(0, 100), (150, 200)]),  # moved forward
        ([(100, 150), (120, 130)], (), [(0, 100)]),  # back: it will load them again
        ([(100, 150), (120, 130), (200, 200)], (), [(0, 100), (130, 200)]),  # and passed by then
        ([(100, 150), (0, 10)], (), []),
        ([(100, 150), (200, 220)], ((150, 180),), [(0, 100), (180, 200)]),  # skipped as a gap
    ],
)
def test_what_the_live_position_left(
    spans: list[tuple[int, int]], gaps: tuple[tuple[int, int], ...], left: list[tuple[int, int]]
) -> None:
    assert uncovered(spans, gaps) == left


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8)), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)), max_size=3),
)
def test_every_offset_is_the_windows_or_the_positions(
    moves: list[tuple[int, int]], skipped: list[tuple[int, int]]
) -> None:
    """Against a table of single offsets, in which a move back deletes and a load fills."""
    table: set[int] = set()
    for start, length in moves:
        table = {offset for offset in table if offset < start} | set(range(start, start + length))
    gaps = {offset for start, length in skipped for offset in range(start, start + length)}
    left = {
        offset
        for start, end in uncovered(
            [(start, start + length) for start, length in moves],
            tuple((start, start + length) for start, length in skipped),
        )
        for offset in range(start, end)
    }
    position = moves[-1][0]
    assert left == set(range(position)) - table - gaps


def test_reading_ends_behind_the_last_offset_that_may_be_the_windows() -> None:
    window = Window("orders", NOON, NOON + DAY)
    pieces = {0: (OffsetRange(0, 0, 10), OffsetRange(0, 20, 30)), 1: ()}
    selection = WindowSelection(window, pieces)
    assert [selection.end_of(partition, 25) for partition in (0, 1, 2)] == [25, 0, 0]
    assert selection.end_of(0, 100) == 30
    stamp = round(NOON.timestamp() * 1000)
    taken = [
        offset for offset in range(40) if selection(FakeRecord(b"", offset=offset, timestamp=stamp))
    ]
    assert taken == [*range(10), *range(20, 30)]
