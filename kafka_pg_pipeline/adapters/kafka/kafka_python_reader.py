"""Reads chosen partitions through kafka-python's consumer, with a guard for each known defect."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kafka import KafkaConsumer, TopicPartition

from kafka_pg_pipeline.adapters.kafka.connection import (
    ClientKeeper,
    Isolation,
    build_client_options,
    open_client,
)
from kafka_pg_pipeline.adapters.kafka.guard import Guard
from kafka_pg_pipeline.adapters.kafka.liveness import Liveness
from kafka_pg_pipeline.adapters.kafka.metadata import learn_topic
from kafka_pg_pipeline.adapters.kafka.retry import retry_transient
from kafka_pg_pipeline.adapters.kafka.watchdog import Watchdog
from kafka_pg_pipeline.domain.record_runs import ListedRecords, RecordRun
from kafka_pg_pipeline.errors import (
    InvariantError,
    KafkaUnavailableError,
    TopicMissingError,
)
from kafka_pg_pipeline.settings.models import MEBIBYTE, KafkaSettings

T = TypeVar("T")

_OPEN_TIMEOUT_SECONDS = 20.0
_POLL_SLICE_SECONDS = 0.1
_NO_TIMESTAMP = -1
_GRACE_SECONDS = 2.0  # beyond the time a call was given, before it counts as hung

# One fetch answer is buffered compressed while the one before it is decoded batch by batch, so
# memory is about twice fetch_max_bytes a broker, beside the records handed out. Larger fetches
# were no faster: decoding, not the network, is the limit.
_READ_OPTIONS: Mapping[str, Any] = {
    "group_id": None,
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "allow_auto_create_topics": False,
    "enable_incremental_fetch_sessions": False,
    "check_crcs": True,
    "metrics_enabled": False,
    "fetch_max_wait_ms": 500,
    "max_poll_records": 5_000,
    "max_partition_fetch_bytes": MEBIBYTE,
    "fetch_max_bytes": 2 * MEBIBYTE,
}


class KafkaPythonReader:
    """RecordReader on kafka-python: bytes only, no group, no offset ever guessed.

    Opening it connects, and checks that the topic has the partitions asked for: kafka-python
    polls a partition that does not exist as if it were empty.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        start_offsets: Mapping[int, int],
        *,
        isolation: Isolation,
        client_id: str,
        stream: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._stream = stream
        self._clock = clock
        self._consumer: Any = None
        self._closed_by: str | None = None
        self._unfinished = set(start_offsets)
        self._passed = dict(start_offsets)
        self._patience_seconds = settings.request_timeout_seconds + _GRACE_SECONDS
        self._liveness = Liveness(settings.request_timeout_seconds, clock)
        options = {
            **build_client_options(settings, client_id),
            **_READ_OPTIONS,
            "isolation_level": isolation,
        }
        self._guard = Guard(options, ClientKeeper(), topic, stream)
        try:
            self._consumer = self._guard.run(
                lambda: self._open(options, start_offsets), seconds=_OPEN_TIMEOUT_SECONDS
            )
        except BaseException:
            self._guard.keeper.close()
            raise
        self._watchdog = Watchdog(self._abandon)

    def poll(self, *, max_records: int, timeout_seconds: float) -> Mapping[int, RecordRun]:
        """Records per partition in offset order; empty when none arrived in time.

        Comes back early, and empty, when a position moved without a record (aborted data,
        control records, compacted holes), so that the end is noticed at once.
        """
        return self._run(
            lambda: self._poll(max_records, timeout_seconds),
            seconds=timeout_seconds + self._patience_seconds,
        )

    def position(self, partition: int) -> int:
        """First offset that no poll has covered: past control records and compacted holes."""
        return self._run(lambda: self._position(partition), seconds=self._patience_seconds)

    def finish(self, partition: int) -> None:
        """Fetch no more of this partition."""
        self._check_usable()
        self._unfinished.discard(partition)
        self._consumer.pause(self._name(partition))

    def close(self) -> None:
        """Release connections and threads within seconds; safe to call twice."""
        self._close("close()")

    def _open(self, options: dict[str, Any], start_offsets: Mapping[int, int]) -> Any:
        make: Callable[..., Any] = KafkaConsumer
        consumer = open_client(make, self._guard.keeper, options)
        known = retry_transient(
            lambda: learn_topic(self._guard.keeper.manager, self._topic).partitions,
            seconds=_OPEN_TIMEOUT_SECONDS / 2,
        )
        missing = sorted(set(start_offsets) - set(known))
        if missing:
            names = ", ".join(f"{self._topic}[{partition}]" for partition in missing)
            raise TopicMissingError(
                f"{names} does not exist (the topic has {len(known)} partitions); was the topic "
                f"recreated? `kafka-pg status {self._stream}` tells"
            )
        consumer.assign([self._name(partition) for partition in start_offsets])
        for partition, offset in start_offsets.items():
            consumer.seek(self._name(partition), offset)
        return consumer

    def _poll(self, max_records: int, timeout_seconds: float) -> Mapping[int, RecordRun]:
        give_up_at = self._clock() + timeout_seconds
        while True:
            remaining = max(0.0, give_up_at - self._clock())
            answer = self._consumer.poll(
                timeout_ms=int(min(remaining, _POLL_SLICE_SECONDS) * 1000), max_records=max_records
            )
            if answer:
                return self._hand_out(answer)
            if self._moved_without_records():
                return {}
            if self._liveness.is_check_due():
                self._liveness.record_check(is_behind=self._is_behind())
            if remaining <= _POLL_SLICE_SECONDS:
                return {}

    def _hand_out(self, answer: Mapping[Any, list[Any]]) -> Mapping[int, RecordRun]:
        self._liveness.record_progress()
        records = {
            key.partition: ListedRecords(with_timestamps(batch)) for key, batch in answer.items()
        }
        for partition, batch in records.items():
            self._passed[partition] = batch[-1].offset + 1
        return records

    def _moved_without_records(self) -> bool:
        moved = False
        for partition in self._unfinished:
            position = self._position(partition)
            if position > self._passed[partition]:
                self._passed[partition] = position
                moved = True
        if moved:
            self._liveness.record_progress()
        return moved

    def _is_behind(self) -> bool:
        """Ask the broker for the ends: does any partition have more than was read?

        kafka-python swallows connection errors of fetches, so an empty poll alone may mean a
        dead broker as well as the end of the log.
        """
        keys = [self._name(partition) for partition in self._unfinished]
        if not keys:
            return False
        timeout_ms = int(self._liveness.check_timeout_seconds * 1000)
        ends = self._consumer.end_offsets(keys, timeout_ms=timeout_ms)
        return any(end > self._passed[key.partition] for key, end in ends.items())

    def _position(self, partition: int) -> int:
        timeout_ms = int(self._liveness.check_timeout_seconds * 1000)
        position = self._consumer.position(self._name(partition), timeout_ms=timeout_ms)
        if position is None:
            message = f"the position in {self._topic}[{partition}] is not known; read again"
            raise KafkaUnavailableError(message)
        return int(position)

    def _run(self, call: Callable[[], T], *, seconds: float) -> T:
        """Run a driver call under watch; after any failure the reader is of no further use.

        kafka-python polls in a tight endless loop once a poll has raised, whatever its timeout.
        The failure is raised outside of the handler: the driver's exception as its context
        would carry record content into logs.
        """
        self._check_usable()
        error: Exception | None = None
        self._watchdog.start(seconds)
        try:
            result = call()
        except Exception as raised:  # noqa: BLE001 - sorted into our tree below
            error = raised
        except BaseException as interrupt:
            self._close(type(interrupt).__name__)
            raise
        error = self._watchdog.stop() or error
        if error is None:
            return result
        failure = self._guard.explain(error, self._stopped_at())
        self._close(type(failure).__name__)
        raise failure

    def _abandon(self) -> None:
        """End a call that hangs: close the client, and empty what a tight loop would turn on."""
        fetcher = getattr(self._consumer, "_fetcher", None)
        if fetcher is not None:
            fetcher.close()
        self._guard.keeper.abandon()

    def _close(self, reason: str) -> None:
        self._closed_by = self._closed_by or reason
        self._watchdog.close()
        self._guard.keeper.close()

    def _check_usable(self) -> None:
        if self._closed_by is not None:
            raise InvariantError(
                f"the reader of {self._topic!r} was closed after {self._closed_by}; open another"
            )

    def _stopped_at(self) -> tuple[int, int] | None:
        """Partition and offset that the driver was decoding; its exceptions do not say."""
        fetcher = getattr(self._consumer, "_fetcher", None)
        decoding = getattr(fetcher, "_next_partition_records", None)
        if decoding is None:
            return None
        return decoding.topic_partition.partition, decoding.next_fetch_offset

    def _name(self, partition: int) -> Any:
        return TopicPartition(self._topic, partition)


def with_timestamps(batch: list[Any]) -> list[Any]:
    """Records of message format 0 have no timestamp: -1, as in the log of later formats.

    A log turns to a later format once, if ever, so that the first record tells.
    """
    if batch[0].timestamp is not None:
        return batch
    return [
        record
        if record.timestamp is not None
        else record._replace(timestamp=_NO_TIMESTAMP, timestamp_type=0)
        for record in batch
    ]
