"""The records of a batch, read a second time where some of them are asked for.

Only a record whose row PostgreSQL rejects is asked for again, as a dead letter. To keep all
records of a batch for its sake would take a third of a load's memory and a tenth of its time.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.domain.fingerprints import fingerprint
from kafka_pg_pipeline.domain.record_runs import RecordRun
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.errors import KafkaUnavailableError
from kafka_pg_pipeline.pipeline.polling import (
    POLL_RECORDS,
    POLL_SECONDS,
    STALL_SECONDS,
    StallWatch,
)
from kafka_pg_pipeline.ports import ReaderFactory, RecordReader


class Rereading:
    """Forgets the records of one batch but for where they stand, and reads them again on demand.

    A partition is read from the first record that is wanted to the last that was forgotten, which
    alone is kept: a log is only ever rewritten from some offset on, so that none before the last
    is another one while the last is the same.
    """

    def __init__(
        self,
        topic: str,
        open_reader: ReaderFactory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._open_reader = open_reader
        self._clock = clock
        self._last: dict[int, Record] = {}
        self._wanted: defaultdict[int, set[int]] = defaultdict(set)
        self._found: dict[tuple[int, int], Record] = {}

    def forget(self, records: RecordRun) -> RecordRun:
        """The records of one partition, in offset order, as they can be had again."""
        first, last = records[0].offset, records[-1]
        self._last[last.partition] = last
        offsets: Sequence[int] = range(first, last.offset + 1)
        if len(offsets) != len(records):
            offsets = records.column("offset")
        return ForgottenRecords(last.partition, offsets, self)

    def expect(self, partition: int, offsets: Collection[int]) -> None:
        """To be told which records will be wanted, so that all of them are read at once."""
        self._wanted[partition].update(offsets, [self._last[partition].offset])

    def read(self, partition: int, offset: int) -> Record:
        """A record that was forgotten.

        Raises:
            KafkaUnavailableError: it is there no more, or another one; or nothing comes.
            PipelineError: the reader's own.

        """
        if (partition, offset) not in self._found:
            self.expect(partition, [offset])
            self._found |= self._read_wanted()
            self._wanted.clear()
        record = self._found.get((partition, offset))
        if record is None:
            raise self._lost(partition, offset)
        return record

    def _read_wanted(self) -> Mapping[tuple[int, int], Record]:
        failpoints.reach("before_reread")
        starts = {partition: min(offsets) for partition, offsets in self._wanted.items()}
        reader = self._open_reader(self._topic, starts)
        try:
            found = self._read_all(reader, starts)
        finally:
            reader.close()
        for partition in starts:
            last = self._last[partition]
            again = found.get((partition, last.offset))
            if again is None or fingerprint(again) != fingerprint(last):
                raise self._lost(partition, last.offset)
        return found

    def _read_all(
        self, reader: RecordReader, positions: Mapping[int, int]
    ) -> Mapping[tuple[int, int], Record]:
        """What is wanted of partitions that are read from there on."""
        found: dict[tuple[int, int], Record] = {}
        watch = StallWatch(self._clock)
        while positions:
            runs = reader.poll(max_records=POLL_RECORDS, timeout_seconds=POLL_SECONDS)
            for partition in positions.keys() & runs.keys():
                wanted = self._wanted[partition]
                chosen = (record for record in runs[partition] if record.offset in wanted)
                found.update(((partition, record.offset), record) for record in chosen)
            reached = {partition: reader.position(partition) for partition in positions}
            if watch.is_stalled(moved=reached != positions):
                raise KafkaUnavailableError(
                    f"{self._topic}{sorted(positions)} did not arrive for {STALL_SECONDS:.0f} s, "
                    "read again for rows that PostgreSQL rejects; nothing was moved. `kafka-pg "
                    "doctor` checks the broker"
                )
            positions = {p: at for p, at in reached.items() if at <= self._last[p].offset}
            for partition in reached.keys() - positions.keys():
                reader.finish(partition)
        return found

    def _lost(self, partition: int, offset: int) -> KafkaUnavailableError:
        return KafkaUnavailableError(
            f"{self._topic}[{partition}]@{offset} was read a moment ago, and is gone or another "
            "record now, read again for a row that PostgreSQL rejects; nothing was moved, a later "
            "try plans anew"
        )


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

    def expect(self, indexes: Sequence[int]) -> None:
        """See ``RecordRun``."""
        self._source.expect(self._partition, [self._offsets[index] for index in indexes])

    def column(self, attribute: str) -> list[Any]:
        """That attribute of each record; raises as ``Rereading.read`` does, but for two."""
        if attribute == "partition":
            return [self._partition] * len(self)
        if attribute == "offset":
            return list(self._offsets)
        self.expect(range(len(self)))
        return list(map(attrgetter(attribute), self))
