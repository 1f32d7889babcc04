"""What a run may take: stored positions against what the log offers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from kafka_pg_pipeline.domain.offsets import (
    OffsetRange,
    PartitionBounds,
    Position,
    TopicIdentity,
    TopicSnapshot,
)
from kafka_pg_pipeline.domain.windows import stream_of
from kafka_pg_pipeline.errors import (
    IncarnationChangedError,
    LogShorterError,
    RetentionGapError,
)

OnDataLoss = Literal["fail", "continue"]


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What one run may take of a stream's topic, frozen when the run began.

    It holds no start offsets on purpose: ``load`` reads those from PostgreSQL, so that an old
    plan that is carried out again is harmless.

    ``partitions`` are those that a lane takes; None is all of them, those added meanwhile included.
    """

    stream: str
    snapshot: TopicSnapshot
    max_records: int | None = None
    max_seconds: float | None = None
    partitions: frozenset[int] | None = None

    def of_lane(self, partitions: Iterable[int]) -> "LoadPlan":
        """The part of the plan that one lane carries out."""
        return replace(self, partitions=frozenset(partitions))

    def select(self, positions: Sequence[Position]) -> tuple[Position, ...]:
        """Those of the stream's positions that the plan moves."""
        chosen = self.partitions
        return tuple(p for p in positions if chosen is None or p.partition in chosen)


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """What is left to read of one partition.

    ``read_from`` may lie before ``position.next_offset``, at the last loaded record, so that its
    fingerprint is checked on the way. ``gap_end`` is set where [position.next_offset, gap_end)
    was removed by retention and the stream continues all the same.
    """

    position: Position
    read_from: int
    end_offset: int
    gap_end: int | None = None

    @property
    def partition(self) -> int:
        """The partition's number."""
        return self.position.partition

    @property
    def next_offset(self) -> int:
        """First offset whose record is wanted."""
        return self.position.next_offset if self.gap_end is None else self.gap_end


def check_identity(stored: TopicIdentity, found: TopicIdentity, topic: str, *, stream: str) -> None:
    """Insist that topic and cluster are those whose records ``stream`` loaded before.

    Raises:
        IncarnationChangedError: naming the old and the new id and the command that accepts them.

    """
    if stored == found:
        return
    if stored.cluster_id != found.cluster_id:
        what = f"cluster id was {stored.cluster_id}, is {found.cluster_id}"
    else:
        what = f"topic id was {stored.topic_id}, is {found.topic_id}"
    raise IncarnationChangedError(
        f"{topic} is not the topic that was loaded before ({what}): it was deleted and created "
        "again, or the bootstrap servers lead to another cluster. Nothing was loaded. If the new "
        f"topic is meant, `kafka-pg accept-topic {stream_of(stream)}` starts it from its beginning "
        "and keeps the rows of the old one"
    )


def plan_partitions(
    positions: Sequence[Position],
    snapshot: TopicSnapshot,
    on_data_loss: OnDataLoss,
    *,
    stream: str,
) -> tuple[PartitionPlan, ...]:
    """Partitions that have something to read, ascending.

    Raises:
        IncarnationChangedError: see ``check_identity``; a partition that vanished counts too.
        LogShorterError: a log ends before the position.
        RetentionGapError: records were removed before they were loaded, and the stream says
            ``on_data_loss: fail``.

    """
    plans = []
    lost = []
    for position in positions:
        check_identity(position.identity, snapshot.identity, snapshot.topic, stream=stream)
        bounds = _bounds(position, snapshot, stream)
        if bounds.begin_offset > position.next_offset:
            lost.append((position, bounds))
        plan = _plan_partition(position, bounds)
        if plan is not None:
            plans.append(plan)
    if lost and on_data_loss == "fail":
        raise RetentionGapError(_describe_loss(snapshot.topic, lost, stream))
    return tuple(plans)


def _bounds(position: Position, snapshot: TopicSnapshot, stream: str) -> PartitionBounds:
    where = f"{snapshot.topic}[{position.partition}]"
    bounds = snapshot.bounds(position.partition)
    if bounds is None:
        raise IncarnationChangedError(
            f"{where} does not exist any more, though it was loaded up to offset "
            f"{position.next_offset}: the topic was created again with fewer partitions. If that "
            f"is meant, `kafka-pg accept-topic {stream_of(stream)}` starts it from its beginning"
        )
    if bounds.high_watermark < position.next_offset:
        raise LogShorterError(
            f"{where} ends at offset {bounds.high_watermark}, before the stored position "
            f"{position.next_offset}: the broker lost records that were loaded, or serves an old "
            f"copy. Nothing was loaded; `kafka-pg status {stream}` shows the position, `kafka-pg "
            f"reset {stream} --to OFFSETS` moves it"
        )
    return bounds


def _plan_partition(position: Position, bounds: PartitionBounds) -> PartitionPlan | None:
    gap_end = None
    if bounds.begin_offset > position.next_offset:
        gap_end = bounds.begin_offset
    elif bounds.end_offset <= position.next_offset:
        return None
    next_offset = position.next_offset if gap_end is None else gap_end
    tail = position.tail
    checks_tail = tail is not None and bounds.begin_offset <= tail.offset
    return PartitionPlan(
        position=position,
        read_from=tail.offset if tail is not None and checks_tail else next_offset,
        end_offset=max(bounds.end_offset, next_offset),
        gap_end=gap_end,
    )


def _describe_loss(topic: str, lost: list[tuple[Position, PartitionBounds]], stream: str) -> str:
    ranges = ", ".join(
        f"{topic}[{position.partition}] [{position.next_offset},{bounds.begin_offset}) "
        f"({bounds.begin_offset - position.next_offset} lost)"
        for position, bounds in lost
    )
    return (
        f"RETENTION_GAP {ranges}: retention removed records before they were loaded. Nothing was "
        f"loaded. `kafka-pg accept-gap {stream}` records the gap and goes on; "
        "`on_data_loss: continue` does so always"
    )


def count_available(positions: Sequence[Position], snapshot: TopicSnapshot) -> int:
    """Offsets between the positions and the end: the readable lag in records."""
    return sum(
        max(0, bounds.end_offset - position.next_offset)
        for position in positions
        if (bounds := snapshot.bounds(position.partition)) is not None
    )


def count_blocked(snapshot: TopicSnapshot) -> int:
    """Offsets behind an open transaction: past the end of what may be read."""
    return sum(bounds.high_watermark - bounds.end_offset for bounds in snapshot.partitions)


def covered(plans: Sequence[PartitionPlan]) -> tuple[OffsetRange, ...]:
    """The ranges that the plans would cover, gaps included."""
    return tuple(
        OffsetRange(plan.partition, plan.position.next_offset, plan.end_offset) for plan in plans
    )
