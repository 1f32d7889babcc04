"""What a run may take: stored positions against a snapshot of the log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_pg_pipeline.domain.offsets import (
    PartitionBounds,
    Position,
    Tail,
    TopicIdentity,
    TopicSnapshot,
)
from kafka_pg_pipeline.domain.planning import (
    check_identity,
    count_available,
    count_blocked,
    covered,
    plan_partitions,
)
from kafka_pg_pipeline.errors import IncarnationChangedError, LogShorterError, RetentionGapError

HERE = TopicIdentity("cluster-1", "topic-1")


def position(
    next_offset: int,
    *,
    partition: int = 0,
    tail: Tail | None = None,
    identity: TopicIdentity = HERE,
) -> Position:
    return Position(partition, identity, incarnation=1, epoch=1, next_offset=next_offset, tail=tail)


def snapshot(*bounds: tuple[int, int, int], identity: TopicIdentity = HERE) -> TopicSnapshot:
    """Each of ``bounds`` is (begin, end, high watermark) of one partition."""
    return TopicSnapshot(
        "orders",
        identity,
        tuple(PartitionBounds(number, *bound) for number, bound in enumerate(bounds)),
    )


def test_only_partitions_with_something_to_read_are_planned() -> None:
    plans = plan_partitions(
        [position(5), position(10, partition=1)],
        snapshot((0, 10, 10), (0, 10, 10)),
        "fail",
        stream="orders",
    )
    assert [(p.partition, p.read_from, p.next_offset, p.end_offset) for p in plans] == [
        (0, 5, 5, 10)
    ]
    assert [str(piece) for piece in covered(plans)] == ["[0]@5..10"]


def test_reading_begins_at_the_last_loaded_record_while_the_log_has_it() -> None:
    stands_at = position(5, tail=Tail(3, 0, b""))
    (plan,) = plan_partitions([stands_at], snapshot((0, 10, 10)), "fail", stream="orders")
    assert (plan.read_from, plan.next_offset) == (3, 5)
    (plan,) = plan_partitions([stands_at], snapshot((4, 10, 10)), "fail", stream="orders")
    assert (plan.read_from, plan.next_offset) == (5, 5)


def test_a_partition_without_a_position_is_not_planned() -> None:
    plans = plan_partitions([position(0)], snapshot((0, 5, 5), (0, 5, 5)), "fail", stream="orders")
    assert [plan.partition for plan in plans] == [0]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (TopicIdentity("cluster-1", "topic-2"), "topic id was topic-1, is topic-2"),
        (TopicIdentity("cluster-2", "topic-1"), "cluster id was cluster-1, is cluster-2"),
        (TopicIdentity("cluster-1", None), "topic id was topic-1, is None"),
        (TopicIdentity(None, "topic-1"), "cluster id was cluster-1, is None"),
    ],
)
def test_another_identity_stops_the_stream_and_names_both_ids(
    found: TopicIdentity, says: str
) -> None:
    with pytest.raises(IncarnationChangedError, match=says):
        plan_partitions(
            [position(0)], snapshot((0, 5, 5), identity=found), "continue", stream="orders"
        )


def test_an_id_that_was_never_known_is_compared_like_any_other() -> None:
    unknown = TopicIdentity("cluster-1", None)
    check_identity(unknown, unknown, "t", stream="orders")
    with pytest.raises(IncarnationChangedError, match="topic id was None, is topic-1"):
        check_identity(unknown, HERE, "t", stream="orders")


def test_a_partition_that_vanished_is_another_topic() -> None:
    with pytest.raises(IncarnationChangedError, match=r"orders\[1\] does not exist any more"):
        plan_partitions(
            [position(0), position(3, partition=1)],
            snapshot((0, 5, 5)),
            "continue",
            stream="orders",
        )


def test_a_log_that_ends_before_the_position_stops_the_stream() -> None:
    with pytest.raises(LogShorterError, match=r"orders\[0\] ends at offset 9, before .* 10"):
        plan_partitions([position(10)], snapshot((0, 9, 9)), "continue", stream="orders")


def test_an_end_held_back_by_an_open_transaction_is_no_shorter_log() -> None:
    assert plan_partitions([position(10)], snapshot((0, 8, 12)), "fail", stream="orders") == ()


def test_a_retention_gap_names_every_partition_and_its_loss() -> None:
    positions = [position(1000), position(7, partition=1), position(5, partition=2)]
    bounds = snapshot((1500, 2000, 2000), (9, 9, 9), (0, 8, 8))
    with pytest.raises(RetentionGapError) as caught:
        plan_partitions(positions, bounds, "fail", stream="orders")
    message = str(caught.value)
    assert "orders[0] [1000,1500) (500 lost)" in message
    assert "orders[1] [7,9) (2 lost)" in message
    assert "orders[2]" not in message


def test_a_gap_that_is_passed_belongs_to_what_is_covered() -> None:
    gap, nothing_left = plan_partitions(
        [position(1000), position(7, partition=1)],
        snapshot((1500, 2000, 2000), (9, 9, 9)),
        "continue",
        stream="orders",
    )
    assert (gap.gap_end, gap.read_from, gap.next_offset, gap.end_offset) == (1500, 1500, 1500, 2000)
    assert (nothing_left.gap_end, nothing_left.next_offset, nothing_left.end_offset) == (9, 9, 9)
    assert [len(piece) for piece in covered([gap, nothing_left])] == [1000, 2]


def test_lag_is_readable_or_blocked_by_an_open_transaction() -> None:
    """Case 6."""
    bounds = snapshot((0, 200, 1663))
    assert count_available([position(0)], bounds) == 200
    assert count_available([position(200)], bounds) == 0
    assert count_blocked(bounds) == 1463


@given(st.data())
def test_every_plan_lies_within_the_log_and_begins_at_the_position(data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, 50))
    end = data.draw(st.integers(begin, 100))
    high = data.draw(st.integers(end, 120))
    next_offset = data.draw(st.integers(0, high))
    tail = Tail(next_offset - 1, 0, b"") if next_offset and data.draw(st.booleans()) else None
    plans = plan_partitions(
        [position(next_offset, tail=tail)],
        snapshot((begin, end, high)),
        "continue",
        stream="orders",
    )
    if next_offset >= end and next_offset >= begin:
        assert plans == ()
        return
    (plan,) = plans
    assert begin <= plan.read_from <= plan.next_offset <= plan.end_offset <= high
    assert plan.next_offset >= next_offset
    assert (plan.gap_end is not None) == (begin > next_offset)
    assert covered(plans)[0].start_offset == next_offset
