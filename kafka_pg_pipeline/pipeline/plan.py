"""What the next run may take: the frozen ends of the topic, and a sample for a new table."""

from collections.abc import Mapping

from kafka_pg_pipeline.domain.offsets import Position, TopicSnapshot
from kafka_pg_pipeline.domain.planning import LoadPlan
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.errors import TopicMissingError
from kafka_pg_pipeline.ports import ReaderFactory, TopicInspector
from kafka_pg_pipeline.settings.models import StreamSettings

# Records looked at to infer the columns of a new table.
SAMPLE_RECORDS = 1_000
_POLL_SECONDS = 0.1
_EMPTY_POLLS = 20


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
    stream: StreamSettings,
    snapshot: TopicSnapshot,
    positions: tuple[Position, ...],
    inspector: TopicInspector,
) -> Mapping[int, int]:
    """First offsets of the partitions that have no position yet.

    The stream's ``start`` decides when the stream is new. A partition that appears later starts
    at its earliest offset, or records that were produced before we noticed it would be lost.
    """
    known = {position.partition for position in positions}
    new = [bounds for bounds in snapshot.partitions if bounds.partition not in known]
    if not new:
        return {}
    if known or stream.start == "earliest":
        return {bounds.partition: bounds.begin_offset for bounds in new}
    if stream.start == "latest":
        return {bounds.partition: bounds.end_offset for bounds in new}
    milliseconds = round(stream.start.timestamp() * 1000)
    found = inspector.fetch_offsets_at(stream.topic, milliseconds)
    return {
        bounds.partition: max(bounds.begin_offset, found.get(bounds.partition, bounds.end_offset))
        for bounds in new
    }


def read_sample(
    snapshot: TopicSnapshot, open_reader: ReaderFactory, *, most: int = SAMPLE_RECORDS
) -> list[Record]:
    """Up to ``most`` records from the beginning of the topic, some of each partition."""
    unread = [b for b in snapshot.partitions if b.end_offset > b.begin_offset]
    if not unread:
        return []
    ends = {bounds.partition: bounds.end_offset for bounds in unread}
    room = dict.fromkeys(ends, max(1, most // len(ends)))
    reader = open_reader(snapshot.topic, {b.partition: b.begin_offset for b in unread})
    sample: list[Record] = []
    empty_polls = 0
    try:
        while room and empty_polls < _EMPTY_POLLS:
            found = reader.poll(max_records=most, timeout_seconds=_POLL_SECONDS)
            empty_polls = 0 if found else empty_polls + 1
            for partition in room.keys() & found.keys():
                wanted = found[partition][: room[partition]]
                sample.extend(wanted)
                room[partition] -= len(wanted)
            # Positions move past control records without a record, which an empty poll tells.
            for partition in room.keys() & found.keys() if found else list(room):
                if not room[partition] or reader.position(partition) >= ends[partition]:
                    reader.finish(partition)
                    del room[partition]
    finally:
        reader.close()
    return sample
