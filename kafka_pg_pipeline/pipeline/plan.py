"""What the next run may take: the frozen ends of the topic, and where new partitions start."""

from collections.abc import Mapping

from kafka_pg_pipeline.domain.offsets import Position, TopicSnapshot
from kafka_pg_pipeline.domain.planning import LoadPlan
from kafka_pg_pipeline.errors import TopicMissingError
from kafka_pg_pipeline.ports import TopicInspector
from kafka_pg_pipeline.settings.models import StreamSettings


def freeze_plan(
    name: str,
    stream: StreamSettings,
    inspector: TopicInspector,
    *,
    max_records: int | None = None,
    max_seconds: float | None = None,
) -> LoadPlan:
    """Look at the topic once and freeze what a run may take; reads and writes nothing.

    Raises:
        KafkaUnavailableError, TopicMissingError, AuthenticationError: see ``TopicInspector``.

    """
    snapshot = inspector.fetch_snapshot(stream.topic)
    if not snapshot.partitions:
        raise TopicMissingError(f"topic {stream.topic!r} has no partitions yet")
    return LoadPlan(name, snapshot, max_records, max_seconds)


def resolve_start_offsets(
    stream: StreamSettings, snapshot: TopicSnapshot, inspector: TopicInspector
) -> Mapping[int, int]:
    """First offsets of all partitions of a stream that is new, by its ``start``."""
    if stream.start == "earliest":
        return {bounds.partition: bounds.begin_offset for bounds in snapshot.partitions}
    if stream.start == "latest":
        return {bounds.partition: bounds.end_offset for bounds in snapshot.partitions}
    milliseconds = round(stream.start.timestamp() * 1000)
    found = inspector.fetch_offsets_at(stream.topic, milliseconds)
    return {
        bounds.partition: max(bounds.begin_offset, found.get(bounds.partition, bounds.end_offset))
        for bounds in snapshot.partitions
    }


def place_new_partitions(
    stream: StreamSettings,
    snapshot: TopicSnapshot,
    positions: tuple[Position, ...],
    inspector: TopicInspector,
) -> Mapping[int, int]:
    """First offsets of the partitions that have no position yet.

    One that appears after the stream's first run starts at its earliest offset, or records that
    were produced before we noticed it would be lost.
    """
    if not positions:
        return resolve_start_offsets(stream, snapshot, inspector)
    known = {position.partition for position in positions}
    return {
        bounds.partition: bounds.begin_offset
        for bounds in snapshot.partitions
        if bounds.partition not in known
    }
