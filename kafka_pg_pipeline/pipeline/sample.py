"""A look at a topic's first records: for the columns of a new table, and for people."""

import time
from collections.abc import Callable, Mapping

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.domain.offsets import TopicSnapshot
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.errors import KafkaUnavailableError, UndecodableBatchError
from kafka_pg_pipeline.pipeline.polling import POLL_SECONDS, STALL_SECONDS, StallWatch
from kafka_pg_pipeline.ports import ReaderFactory, RecordReader

# Records looked at to infer the columns of a new table.
SAMPLE_RECORDS = 1_000


def read_sample(
    snapshot: TopicSnapshot,
    open_reader: ReaderFactory,
    *,
    most: int = SAMPLE_RECORDS,
    on_broken: Callable[[UndecodableBatchError], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Record]:
    """Up to ``most`` records from the beginning of the topic, some of each partition.

    Empty only where no partition holds a record that may be read. ``on_broken`` is told of a batch
    that cannot be decoded; unless it raises, what lies behind that batch is looked at.

    Raises:
        KafkaUnavailableError: nothing moved for ``STALL_SECONDS``, or the reader's own.

    """
    unread = [b for b in snapshot.partitions if b.end_offset > b.begin_offset]
    if not unread:
        return []
    sampling = _Sampling(
        {b.partition: b.begin_offset for b in unread},
        {b.partition: b.end_offset for b in unread},
        most,
    )
    while sampling.room:
        reader = open_reader(snapshot.topic, sampling.starts)
        failpoints.reach("before_sample")
        try:
            _take_all(sampling, reader, snapshot.topic, clock)
        except UndecodableBatchError as error:
            on_broken(error)
            sampling.pass_by(error)
        finally:
            reader.close()
    return sampling.records


def _take_all(
    sampling: "_Sampling", reader: RecordReader, topic: str, clock: Callable[[], float]
) -> None:
    watch = StallWatch(clock)
    while sampling.room:
        if watch.is_stalled(moved=sampling.poll(reader)):
            raise KafkaUnavailableError(
                f"no record of {topic} arrived for {STALL_SECONDS:.0f} s though there are some: "
                "the broker or the client is stuck; `kafka-pg doctor` checks the broker"
            )


class _Sampling:
    """What was taken so far, and how many records each unfinished partition may still give."""

    def __init__(self, starts: Mapping[int, int], ends: Mapping[int, int], most: int) -> None:
        self.records: list[Record] = []
        self.room = dict.fromkeys(ends, max(1, most // len(ends)))
        self._ends = ends
        self._most = most
        self._passed = dict(starts)

    @property
    def starts(self) -> Mapping[int, int]:
        """Where the next reader goes on, by partition."""
        return {partition: self._passed[partition] for partition in self.room}

    def pass_by(self, error: UndecodableBatchError) -> None:
        """Go on behind a broken batch; with nothing more of its partition if its end is unknown."""
        if error.partition is None:
            raise error
        end = error.end_offset
        if end is None or end >= self._ends[error.partition]:
            self.room.pop(error.partition, None)
        else:
            self._passed[error.partition] = end

    def poll(self, reader: RecordReader) -> bool:
        """Take what one poll finds; True where anything moved."""
        found = reader.poll(max_records=self._most, timeout_seconds=POLL_SECONDS)
        for partition in self.room.keys() & found.keys():
            wanted = found[partition][: self.room[partition]]
            self.records += [r for r in wanted if r.offset < self._ends[partition]]
            self.room[partition] -= len(wanted)
        # Positions move past control records without a record, which an empty poll tells.
        partitions = self.room.keys() & found.keys() if found else set(self.room)
        positions = {partition: reader.position(partition) for partition in partitions}
        moved = bool(found) or any(self._passed.get(p) != at for p, at in positions.items())
        self._passed |= positions
        for partition, position in positions.items():
            if self.room[partition] <= 0 or position >= self._ends[partition]:
                reader.finish(partition)
                del self.room[partition]
        return moved
