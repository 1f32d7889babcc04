"""Reads planned partitions and makes batches of them: poll, cut to the range, decode and encode."""

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.domain.batches import EncodedBatch, PartitionSlice
from kafka_pg_pipeline.domain.fingerprints import fingerprint
from kafka_pg_pipeline.domain.offsets import Position
from kafka_pg_pipeline.domain.planning import PartitionPlan
from kafka_pg_pipeline.domain.record_runs import RecordRun
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.errors import (
    KafkaUnavailableError,
    LogRewrittenError,
    UndecodableBatchError,
)
from kafka_pg_pipeline.pipeline.batch_rows import BatchRows
from kafka_pg_pipeline.pipeline.encode import BatchBuilder, RowEncoder
from kafka_pg_pipeline.pipeline.polling import (
    POLL_RECORDS,
    POLL_SECONDS,
    STALL_SECONDS,
    StallWatch,
)
from kafka_pg_pipeline.pipeline.reread import Rereading
from kafka_pg_pipeline.ports import ReaderFactory, RecordReader, StopSignal
from kafka_pg_pipeline.settings.models import BatchSettings

logger = logging.getLogger(__name__)

# How large a record is taken to be before the first one was seen.
_USUAL_RECORD_BYTES = 100_000


@dataclass
class _Progress:
    """How far the reading of one partition has come."""

    plan: PartitionPlan
    topic: str
    stream: str
    position: Position = field(init=False)
    next_offset: int = field(init=False)
    checks_tail: bool = field(init=False)
    gap_end: int | None = field(init=False)
    visible: int = 0
    record_bytes: int = 0
    last: Record | None = None
    broken: UndecodableBatchError | None = None

    def __post_init__(self) -> None:
        self.position = self.plan.position
        self.next_offset = self.plan.next_offset
        self.gap_end = self.plan.gap_end
        self.checks_tail = self.plan.read_from < self.plan.position.next_offset

    @property
    def finished(self) -> bool:
        return self.next_offset >= self.plan.end_offset

    @property
    def read_from(self) -> int:
        return self.plan.read_from if self.checks_tail else self.next_offset

    def accept(self, records: RecordRun) -> RecordRun:
        """The records that lie in the range; checks the fingerprint on the way."""
        if self.checks_tail:
            self._check_tail(records[0])
        if records[0].offset < self.next_offset:
            records = records[bisect_left(records.column("offset"), self.next_offset) :]
        passed_end = bool(records) and records[-1].offset >= self.plan.end_offset
        if passed_end:
            records = records[: bisect_left(records.column("offset"), self.plan.end_offset)]
        if records:
            self.visible += len(records)
            self.last = records[-1]
            self.next_offset = records[-1].offset + 1
        if passed_end:
            # The end itself may be a control record or a hole, which no poll hands out.
            self.next_offset = self.plan.end_offset
        return records

    def advance(self, position: int) -> None:
        """Follow the reader's position, past offsets that hold no visible record."""
        self.next_offset = max(self.next_offset, min(position, self.plan.end_offset))

    def stumble(self, error: UndecodableBatchError) -> None:
        """Stop before a batch that cannot be decoded; the last loaded record may do without."""
        if self.checks_tail:
            self.checks_tail = False
            where = f"{self.topic}[{self.plan.partition}]"
            logger.info("%s: the last loaded record may be in a broken batch, not checked", where)
            return
        if error.start_offset is not None:
            self.advance(error.start_offset)
        if not self.finished:
            self.broken = error

    def cut(self) -> PartitionSlice | None:
        """What was covered since the last cut; None where nothing moved."""
        if self.next_offset == self.position.next_offset:
            return None
        tail = fingerprint(self.last) if self.last is not None else None
        piece = PartitionSlice(
            position=self.position,
            next_offset=self.next_offset,
            visible=self.visible,
            record_bytes=self.record_bytes,
            tail=tail,
            gap_end=self.gap_end,
        )
        self.position = Position(
            partition=self.position.partition,
            identity=self.position.identity,
            incarnation=self.position.incarnation,
            epoch=self.position.epoch,
            next_offset=self.next_offset,
            tail=tail or self.position.tail,
        )
        self.visible, self.record_bytes, self.last, self.gap_end = 0, 0, None, None
        return piece

    def _check_tail(self, first: Record) -> None:
        self.checks_tail = False
        tail = self.position.tail
        where = f"{self.topic}[{self.plan.partition}]"
        if tail is None or first.offset != tail.offset:
            logger.info("%s: the last loaded record is gone, its fingerprint not checked", where)
            return
        if fingerprint(first) != tail:
            raise LogRewrittenError(
                f"{where}@{tail.offset} is not the record that was loaded: the log was rewritten "
                "(restored, truncated and filled again, or an unclean election). Nothing was "
                f"loaded; compare with `kafka-pg peek {self.stream}`, then `kafka-pg accept-topic "
                f"{self.stream} --same-topic` starts this log from its beginning, or `kafka-pg "
                f"reset {self.stream} --to OFFSETS` moves on"
            )


class BatchReading:
    """One pass over planned partitions; ``batches`` is meant to run in a thread of its own.

    Reading begins before the encoder is there, which is waited for with the first records.
    """

    def __init__(
        self,
        topic: str,
        plans: Sequence[PartitionPlan],
        *,
        stream: str,
        open_reader: ReaderFactory,
        encoder: Future[RowEncoder],
        limits: BatchSettings,
        rows: BatchRows,
        max_records: int | None,
        stop: StopSignal,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._progress = {plan.partition: _Progress(plan, topic, stream) for plan in plans}
        self._open_reader = open_reader
        self._encoder = encoder
        self._limits = limits
        self._rows = rows
        self._records_left = max_records
        self._stop = stop
        self._clock = clock
        self._record_bytes = float(_USUAL_RECORD_BYTES)

    def batches(self) -> Generator[EncodedBatch, None, None]:
        """Batches until every partition has reached its end, a limit is met or a stop is asked.

        A partition that cannot be decoded ends before the broken batch, and the others go on.

        Raises:
            KafkaUnavailableError: no progress for ``STALL_SECONDS``, or the reader's own.
            LogRewrittenError: the record at the stored tail is another one.
            UndecodableBatchError: after all batches that could be read.

        """
        if not self._active():
            yield from self._cut(self._start_batch())
        while self._active() and not self._is_over():
            yield from self._read_on()
        for progress in self._progress.values():
            if progress.broken is not None:
                raise progress.broken

    def _read_on(self) -> Generator[EncodedBatch, None, None]:
        """Batches by one reader, which a broken batch makes useless."""
        unread = {p.plan.partition: p.read_from for p in self._active()}
        reader = self._open_reader(self._topic, unread)
        try:
            usable = True
            while usable and self._active() and not self._is_over():
                builder = self._start_batch()
                try:
                    self._fill(reader, builder)
                except UndecodableBatchError as error:
                    if error.partition is None:
                        raise
                    self._progress[error.partition].stumble(error)
                    usable = False
                yield from self._cut(builder)
        finally:
            reader.close()

    def _start_batch(self) -> BatchBuilder:
        return self._encoder.result().start_batch(Rereading(self._topic, self._open_reader).forget)

    def _active(self) -> list[_Progress]:
        return [p for p in self._progress.values() if not p.finished and p.broken is None]

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._records_left == 0

    def _fill(self, reader: RecordReader, builder: BatchBuilder) -> None:
        """Poll until the batch is full or nothing is left to read."""
        started, watch = self._clock(), StallWatch(self._clock)
        while self._active() and not self._is_over() and not self._is_full(builder, started):
            if watch.is_stalled(moved=self._poll(reader, builder)):
                raise KafkaUnavailableError(self._describe_stall())

    def _is_full(self, builder: BatchBuilder, started: float) -> bool:
        return (
            builder.records >= self._rows.number
            or builder.record_bytes >= self._limits.max_bytes
            or (builder.records > 0 and self._clock() - started >= self._limits.max_seconds)
        )

    def _poll(self, reader: RecordReader, builder: BatchBuilder) -> bool:
        """One poll; True where any partition moved."""
        found = reader.poll(max_records=self._wanted(builder), timeout_seconds=POLL_SECONDS)
        for partition, records in found.items():
            self._take(self._progress[partition], records, builder)
        moved = bool(found)
        if not found:
            moved = self._follow_positions(reader)
        for partition in found:
            if self._progress[partition].finished:
                reader.finish(partition)
        return moved

    def _wanted(self, builder: BatchBuilder) -> int:
        """Records that one poll may hand out: what is left of the batch, its bytes included."""
        bytes_left = self._limits.max_bytes - builder.record_bytes
        wanted = min(
            POLL_RECORDS,
            self._rows.number - builder.records,
            int(bytes_left / self._record_bytes) + 1,
        )
        if self._records_left is not None:
            wanted = min(wanted, self._records_left)
        return max(1, wanted)

    def _take(self, progress: _Progress, records: RecordRun, builder: BatchBuilder) -> None:
        accepted = progress.accept(records)
        if not accepted:
            return
        before = builder.record_bytes
        builder.add(accepted)
        added = builder.record_bytes - before
        progress.record_bytes += added
        self._record_bytes = max(1.0, added / len(accepted))
        if self._records_left is not None:
            self._records_left -= len(accepted)

    def _follow_positions(self, reader: RecordReader) -> bool:
        moved = False
        for progress in self._active():
            before = progress.next_offset
            progress.advance(reader.position(progress.plan.partition))
            moved = moved or progress.next_offset != before
            if progress.finished:
                reader.finish(progress.plan.partition)
        return moved

    def _cut(self, builder: BatchBuilder) -> Generator[EncodedBatch, None, None]:
        slices = tuple(
            piece
            for _, progress in sorted(self._progress.items())
            if (piece := progress.cut()) is not None
        )
        failpoints.reach("after_read")
        if slices:
            yield EncodedBatch(
                batch_id=builder.batch_id,
                slices=slices,
                chunks=builder.chunks(),
                dead_letters=tuple(builder.dead_letters),
                settled=builder.settled,
                truncates=builder.truncates,
            )

    def _describe_stall(self) -> str:
        stuck = ", ".join(
            f"{self._topic}[{p.plan.partition}]@{p.next_offset} of {p.plan.end_offset}"
            for p in self._active()
        )
        return (
            f"no record of {stuck} arrived for {STALL_SECONDS:.0f} s though the log goes on: the "
            "broker or the client is stuck. Nothing was lost; the next run continues. "
            "`kafka-pg doctor` checks the broker"
        )
