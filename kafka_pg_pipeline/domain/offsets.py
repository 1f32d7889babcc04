"""Offsets: what the log offers, what was loaded, and what one batch covers.

``next_offset`` is always the first offset not yet covered; an ``end_offset`` is exclusive.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """What tells one topic from another that later took its name.

    ``topic_id`` is None on brokers before 2.8; None is then a value like any other and is
    compared, never adopted.
    """

    cluster_id: str | None
    topic_id: str | None


@dataclass(frozen=True, slots=True)
class PartitionBounds:
    """What one partition offers now.

    ``end_offset`` is the end at the chosen isolation level: under read_committed the last stable
    offset, else the high watermark.
    """

    partition: int
    begin_offset: int
    end_offset: int
    high_watermark: int


@dataclass(frozen=True, slots=True)
class TopicSnapshot:
    """One look at a topic; partitions in ascending order, all of them or an error."""

    topic: str
    identity: TopicIdentity
    partitions: tuple[PartitionBounds, ...]

    def bounds(self, partition: int) -> PartitionBounds | None:
        """Bounds of one partition, or None where the topic has no such partition."""
        return next((b for b in self.partitions if b.partition == partition), None)


@dataclass(frozen=True, slots=True)
class Tail:
    """Fingerprint of the last record loaded from a partition."""

    offset: int
    timestamp: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream stands in one partition: the state row, as read without a lock."""

    partition: int
    identity: TopicIdentity
    incarnation: int
    epoch: int
    next_offset: int
    tail: Tail | None = None


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets [start_offset, end_offset) of one partition."""

    partition: int
    start_offset: int
    end_offset: int

    def __len__(self) -> int:
        return self.end_offset - self.start_offset

    def __str__(self) -> str:
        return f"[{self.partition}]@{self.start_offset}..{self.end_offset}"


def was_loaded(positions: Iterable[Position]) -> bool:
    """True where a stream has loaded a record: the batch of its first one stored a tail."""
    return any(position.tail is not None for position in positions)
