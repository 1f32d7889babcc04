"""How a backlog is spread over lanes, and how many of them are worth it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_pg_pipeline.assembly import lanes as assembly_lanes
from kafka_pg_pipeline.domain.batches import BatchCounts
from kafka_pg_pipeline.domain.lanes import LaneRule, exactly, find_longest, spread
from kafka_pg_pipeline.domain.offsets import OffsetRange
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.domain.reports import LoadReport, Outcome, PartitionTotals, sum_lanes
from kafka_pg_pipeline.settings.models import StreamSettings

BACKLOGS = st.dictionaries(st.integers(0, 200), st.integers(0, 10**7), max_size=40)


@given(BACKLOGS, st.integers(1, 64))
def test_each_partition_with_records_is_in_one_lane_and_lanes_are_even(
    backlog: dict[int, int], lanes: int
) -> None:
    found = spread(backlog, lanes)
    wanted = sorted(partition for partition, left in backlog.items() if left)
    assert sorted(partition for lane in found for partition in lane) == wanted
    assert len(found) == min(lanes, len(wanted))
    assert all(list(lane) == sorted(lane) for lane in found)
    shortest = min((sum(backlog[p] for p in lane) for lane in found), default=0)
    for lane in found:
        # No lane is longer than another by more than the smallest of its partitions.
        assert sum(backlog[p] for p in lane) - min(backlog[p] for p in lane) <= shortest


@given(BACKLOGS, st.integers(1, 16), st.integers(0, 10**6))
def test_lanes_are_chosen_only_where_they_end_sooner_than_one(
    backlog: dict[int, int], most: int, start_up: int
) -> None:
    lanes = LaneRule(most, start_up).choose(backlog)
    total = sum(backlog.values())
    assert len(lanes) <= most
    assert (len(lanes) == 0) == (total == 0)
    if len(lanes) > 1:
        assert find_longest(lanes, backlog) + start_up < total
    if total <= start_up:
        assert len(lanes) <= 1


def test_one_partition_that_holds_nearly_all_stays_in_one_lane() -> None:
    assert LaneRule(4, 100).choose({0: 100_000, 1: 20, 2: 20, 3: 20}) == ((0, 1, 2, 3),)


def test_a_number_that_somebody_says_is_taken_as_far_as_there_are_partitions() -> None:
    assert exactly(3).choose({0: 5, 1: 5, 2: 0}) == ((0,), (1,))


def test_lanes_together_are_one_load() -> None:
    def lane(partition: int, outcome: Outcome, **changes: object) -> LoadReport:
        covered = PartitionTotals(OffsetRange(partition, 0, 10), BatchCounts(rows=9, dead=1), 100)
        report = LoadReport("s", "t", "x", outcome, (covered,), 2, 5.0, 12, 2)
        return LoadReport(**{**_fields(report), **changes})

    pause = Pause("because", "me", None)  # type: ignore[arg-type]
    lanes = [
        lane(1, Outcome.END_OF_STREAM, changes=("ALTER",), untaken_fields=3, warnings=("w",)),
        lane(0, Outcome.PAUSED, pause=pause, untaken_fields=2, warnings=("w",)),
        lane(2, Outcome.FENCED),
    ]
    report = sum_lanes(lanes, 7.5)
    assert [total.offsets.partition for total in report.partitions] == [0, 1, 2]
    assert (report.counts.rows, report.counts.dead, report.record_bytes) == (27, 3, 300)
    assert (report.batches, report.seconds, report.lag_before, report.lag_after) == (6, 7.5, 36, 6)
    assert (report.outcome, report.pause) == (Outcome.PAUSED, pause)
    assert (report.changes, report.warnings, report.untaken_fields) == (("ALTER",), ("w",), 3)


def _fields(report: LoadReport) -> dict[str, object]:
    return {name: getattr(report, name) for name in report.__slots__}


@pytest.mark.parametrize(
    ("reader", "max_lanes", "cores", "most"),
    [
        ("kafka-python", None, 2, 2),
        ("kafka-python", None, 16, 4),
        ("kafka-python", 8, 16, 8),
        ("kafka-python", 8, 2, 2),
        ("confluent", None, 1, 1),
        ("confluent", None, 2, 1),
        ("confluent", None, 4, 2),
        ("confluent", None, 16, 4),
        ("confluent", 2, 2, 2),
    ],
)
def test_lanes_are_bounded_by_the_setting_and_by_the_cores_that_a_lane_keeps_busy(
    reader: str, max_lanes: int | None, cores: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly_lanes, "_count_cores", lambda: cores)
    stream = StreamSettings(topic="t", table="public.t", max_lanes=max_lanes)
    rule = assembly_lanes.build_rule(stream, reader, start_up=10)
    assert rule == LaneRule(most, 10)
    assert len(rule.choose(dict.fromkeys(range(40), 1000))) == most
