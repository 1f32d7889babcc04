"""The records of a batch, read a second time where one of them is asked for.

Only a record whose row PostgreSQL rejects is asked for again, as a dead letter. To keep all
records of a batch for its sake would take a third of a load's memory and a tenth of its time.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.domain.record_runs import RecordRun
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.errors import KafkaUnavailableError
from kafka_pg_pipeline.pipeline.polling import (
    POLL_RECORDS,
    POLL_SECONDS,
    STALL_SECONDS,
    StallWatch,
)
from kafka_pg_pipeline.ports import ReaderFactory


class Rereading:
    """Forgets the records of one batch but for where they stand, and reads them again on demand.

    A partition is read once, from the first to the last record of it that was forgotten.
    ``check_topic`` is asked after that: Kafka is read by name, and what a topic made anew has at
    these offsets is not what the rows came from. It raises where the topic is another one.
    """

    def __init__(
        self,
        topic: str,
        open_reader: ReaderFactory,
        check_topic: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._open_reader = open_reader
        self._check_topic = check_topic
        self._clock = clock
        self._spans: dict[int, range] = {}
        self._found: dict[int, Mapping[int, Record]] = {}

    def forget(self, records: RecordRun) -> RecordRun:
        """The records of one partition, in offset order, as they can be had again."""
        partition, first, last = records[0].partition, records[0].offset, records[-1].offset
        span = self._spans.get(partition, range(first, last + 1))
        self._spans[partition] = range(span.start, last + 1)
        offsets: Sequence[int] = range(first, last + 1)
        if len(offsets) != len(records):
            offsets = records.column("offset")
        return ForgottenRecords(partition, offsets, self)

    def read(self, partition: int, offset: int) -> Record:
        """A record that was forgotten.

        Raises:
            KafkaUnavailableError: it is there no more, or nothing comes from the broker.
            PipelineError: the reader's own, or that of ``check_topic``.

        """
        if partition not in self._found:
            found = self._read_partition(partition)
            self._check_topic()
            self._found[partition] = found
        record = self._found[partition].get(offset)
        if record is None:
            raise KafkaUnavailableError(
                f"{self._topic}[{partition}]@{offset} was read a moment ago, and is there no more "
                "now that PostgreSQL rejects its row; nothing was moved, a later try plans anew"
            )
        return record

    def _read_partition(self, partition: int) -> Mapping[int, Record]:
        span = self._spans[partition]
        failpoints.reach("before_reread")
        found: dict[int, Record] = {}
        reader = self._open_reader(self._topic, {partition: span.start})
        try:
            before, watch = span.start, StallWatch(self._clock)
            while before < span.stop:
                most = min(POLL_RECORDS, span.stop - before)
                runs = reader.poll(max_records=most, timeout_seconds=POLL_SECONDS)
                found.update((record.offset, record) for record in runs.get(partition, ()))
                position = reader.position(partition)
                if watch.is_stalled(moved=position != before):
                    raise KafkaUnavailableError(
                        f"{self._topic}[{partition}]@{position} did not arrive for "
                        f"{STALL_SECONDS:.0f} s, when it was read again; nothing was moved. "
                        "`kafka-pg doctor` checks the broker"
                    )
                before = position
        finally:
            reader.close()
        return found


class ForgottenRecords(RecordRun):
    """Records of one partition of which only their offsets are known, until one is asked for."""

    def __init__(self, partition: int, offsets: Sequence[int], source: Rereading) -> None:
        self._partition = partition
        self._offsets = offsets
        self._source = source

    def __len__(self) -> int:
        return len(self._offsets)

    def record(self, index: int) -> Record:
        """The record at a place; raises as ``Rereading.read`` does."""
        return self._source.read(self._partition, self._offsets[index])

    def part(self, places: slice) -> "ForgottenRecords":
        """Some of the records."""
        return ForgottenRecords(self._partition, self._offsets[places], self._source)

    def column(self, attribute: str) -> list[Any]:
        """That attribute of each record; raises as ``Rereading.read`` does, but for two."""
        if attribute == "partition":
            return [self._partition] * len(self)
        if attribute == "offset":
            return list(self._offsets)
        return list(map(attrgetter(attribute), self))
