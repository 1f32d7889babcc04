"""Reads chosen partitions through librdkafka, several times as fast as in Python alone."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import kafka.errors as driver
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from kafka_pg_pipeline.adapters.kafka.confluent_errors import is_final, to_driver_error
from kafka_pg_pipeline.adapters.kafka.connection import (
    ClientKeeper,
    Isolation,
    build_client_options,
)
from kafka_pg_pipeline.adapters.kafka.errors import is_transient
from kafka_pg_pipeline.adapters.kafka.guard import Guard
from kafka_pg_pipeline.adapters.kafka.kafka_python_reader import KafkaPythonReader
from kafka_pg_pipeline.adapters.kafka.liveness import Liveness
from kafka_pg_pipeline.adapters.kafka.message_run import MessageRun, read_messages
from kafka_pg_pipeline.domain.record_runs import RecordRun
from kafka_pg_pipeline.errors import (
    InvariantError,
    PipelineError,
    TopicMissingError,
    UndecodableBatchError,
)
from kafka_pg_pipeline.settings.discovered import DiscoveredKafka
from kafka_pg_pipeline.settings.models import MEBIBYTE, KafkaSettings

T = TypeVar("T")

_OPEN_TIMEOUT_SECONDS = 20.0
_SLICE_SECONDS = 0.1
_ASK_SECONDS = 1.0
_END = -1  # the timestamp that stands for the end of the log

# The end of a partition is told by a fetch that found nothing, so that the wait for one is what
# trailing control records cost. Memory is the queue, and twice a fetch: its bytes are counted as
# they travel, and unpacked they are several times as many, with 300 more for each record. The
# back-off of a full queue is a whole second unless told otherwise.
_READ_OPTIONS: Mapping[str, Any] = {
    "group.id": "kafka-pg",  # wanted by the client; nothing joins it, nothing is committed
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
    "enable.partition.eof": True,
    "enable.metrics.push": False,
    "check.crcs": True,
    "log_level": 0,  # what it has to say comes as errors, too
    "fetch.wait.max.ms": 100,
    "fetch.error.backoff.ms": 100,
    "fetch.queue.backoff.ms": 10,
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 4 * 1024,
    "fetch.message.max.bytes": MEBIBYTE,
    "fetch.max.bytes": MEBIBYTE,
}


class ConfluentReader:
    """RecordReader on confluent-kafka: bytes only, no group joined, no offset ever guessed.

    Opening it connects, and checks that the topic has the partitions asked for.
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
        self._closed_by: str | None = None
        self._passed = dict(start_offsets)
        self._unfinished = set(start_offsets)
        self._failure: Exception | None = None
        self._failures: dict[int, PipelineError] = {}
        self._liveness = Liveness(settings.request_timeout_seconds, clock)
        self._guard = Guard(
            build_client_options(settings, client_id), ClientKeeper(), topic, stream
        )
        self._explain_batch = partial(
            KafkaPythonReader,
            settings,
            topic,
            isolation=isolation,
            client_id=client_id,
            stream=stream,
        )
        self._consumer = Consumer(
            {
                **build_confluent_options(settings, client_id),
                **_READ_OPTIONS,
                "isolation.level": isolation,
                "error_cb": self._note,
            }
        )
        self._run(lambda: self._open(start_offsets))

    def poll(self, *, max_records: int, timeout_seconds: float) -> Mapping[int, RecordRun]:
        """Records per partition in offset order; empty when none arrived in time.

        Comes back early, and empty, when a position moved without a record (aborted data,
        control records, compacted holes), so that the end is noticed at once.
        """
        return self._run(lambda: self._poll(max_records, timeout_seconds))

    def position(self, partition: int) -> int:
        """First offset that no poll has covered: past control records and compacted holes."""
        self._check_usable()
        return self._passed[partition]

    def finish(self, partition: int) -> None:
        """Fetch no more of this partition."""
        self._check_usable()
        self._unfinished.discard(partition)
        self._failures.pop(partition, None)
        self._consumer.pause([TopicPartition(self._topic, partition)])

    def close(self) -> None:
        """Release connections and threads within seconds; safe to call twice."""
        self._close("close()")

    def _open(self, start_offsets: Mapping[int, int]) -> None:
        known = self._fetch_partitions()
        missing = sorted(set(start_offsets) - known)
        if missing:
            names = ", ".join(f"{self._topic}[{partition}]" for partition in missing)
            raise TopicMissingError(
                f"{names} does not exist (the topic has {len(known)} partitions); was the topic "
                f"recreated? `kafka-pg status {self._stream}` tells"
            )
        self._consumer.assign(
            [TopicPartition(self._topic, *start) for start in start_offsets.items()]
        )

    def _fetch_partitions(self) -> set[int]:
        """Ask until a broker answers, or until one has refused the login."""
        over = self._clock() + _OPEN_TIMEOUT_SECONDS / 2
        while True:
            try:
                found = self._consumer.list_topics(self._topic, timeout=_ASK_SECONDS)
                topic = found.topics[self._topic]
                if topic.error is None:
                    return set(topic.partitions)
                error = to_driver_error(topic.error, self._topic)
            except KafkaException as raised:
                error = to_driver_error(raised.args[0], self._topic)
            self._consumer.poll(0)  # brings what ``_note`` is told
            self._raise_failure()
            is_missing = isinstance(error, driver.UnknownTopicOrPartitionError)
            if is_missing or not is_transient(error) or self._clock() > over:
                raise error
            time.sleep(_SLICE_SECONDS)

    def _note(self, error: KafkaError) -> None:
        """Told of errors that belong to no partition; most of them pass."""
        if is_final(error) and self._failure is None:
            self._failure = to_driver_error(error, self._topic)

    def _raise_failure(self) -> None:
        for failure in (self._failure, *self._failures.values()):
            if failure is not None:
                raise failure

    def _poll(self, max_records: int, timeout_seconds: float) -> Mapping[int, RecordRun]:
        give_up_at = self._clock() + timeout_seconds
        while True:
            self._raise_failure()
            remaining = max(0.0, give_up_at - self._clock())
            messages = self._consumer.consume(max_records, min(remaining, _SLICE_SECONDS))
            if messages:
                found, moved = self._take(messages)
                if found or moved:
                    self._liveness.record_progress()
                    return found
            elif self._liveness.is_check_due():
                self._liveness.record_check(is_behind=self._is_behind())
            self._raise_failure()
            if remaining <= _SLICE_SECONDS:
                return {}

    def _take(self, messages: Sequence[Message]) -> tuple[Mapping[int, RecordRun], bool]:
        """Records per partition, and whether a position moved without one."""
        moved = False
        if any(map(Message.error, messages)):
            messages, moved = self._sift(messages)
        given: dict[int, list[Message]] = {}
        for partition, some in groupby(messages, Message.partition):
            if partition in self._unfinished:
                given.setdefault(partition, []).extend(some)
        runs = {}
        for partition, its in given.items():
            run = self._read(partition, its)
            if run:
                runs[partition] = run
                self._pass(partition, run[-1].offset + 1)
        return runs, moved

    def _sift(self, messages: Sequence[Message]) -> tuple[list[Message], bool]:
        """The messages that are records, without those behind a failure of their partition."""
        records: list[Message] = []
        moved = False
        for message in messages:
            error, partition, offset = message.error(), message.partition(), message.offset()
            if partition in self._failures:
                continue
            if error is None:
                records.append(message)
            elif partition is None or offset is None:
                self._note(error)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its name
                moved = self._pass(partition, offset) or moved
            elif partition in self._unfinished and is_final(error):
                raised = to_driver_error(error, self._topic, partition, self._passed[partition])
                self._failures[partition] = self._explain(raised, partition, offset)
        return records, moved

    def _read(self, partition: int, messages: Sequence[Message]) -> MessageRun:
        """The records of one partition before the first that cannot be read."""
        run = read_messages(messages)
        if len(run) < len(messages):
            offset = messages[len(run)].offset() or 0
            error = driver.CorruptRecordError()
            self._failures[partition] = self._explain(error, partition, offset)
        return run

    def _pass(self, partition: int, offset: int) -> bool:
        moved = partition in self._unfinished and offset > self._passed[partition]
        if moved:
            self._passed[partition] = offset
        return moved

    def _explain(self, error: Exception, partition: int, offset: int) -> PipelineError:
        failure = self._guard.explain(error, (partition, offset))
        if isinstance(failure, UndecodableBatchError):
            return self._find_end(failure, partition, offset)
        return failure

    def _find_end(self, failure: PipelineError, partition: int, offset: int) -> PipelineError:
        """The same with the end of the broken batch, which kafka-python knows."""
        try:
            reader = self._explain_batch({partition: offset})
            try:
                reader.poll(max_records=1, timeout_seconds=_ASK_SECONDS)
            finally:
                reader.close()
        except UndecodableBatchError as told:
            return told
        except PipelineError:
            pass
        return failure

    def _is_behind(self) -> bool:
        """Ask the brokers for the ends: does any partition have more than was read?

        The client hides lost connections, so an empty poll alone may mean a dead broker as well
        as the end of the log.
        """
        asked = [TopicPartition(self._topic, partition, _END) for partition in self._unfinished]
        if not asked:
            return False
        timeout = self._liveness.check_timeout_seconds
        ends = self._consumer.offsets_for_times(asked, timeout=timeout)
        return any(end.offset > self._passed[end.partition] for end in ends)

    def _run(self, call: Callable[[], T]) -> T:
        """Run a call; after any failure the reader is of no further use.

        The failure is raised outside of the handler: the driver's exception as its context
        would carry what the log holds into logs.
        """
        self._check_usable()
        try:
            return call()
        except KafkaException as raised:
            error: Exception = to_driver_error(raised.args[0], self._topic)
        except Exception as raised:  # noqa: BLE001 - sorted into our tree below
            error = raised
        except BaseException as interrupt:
            self._close(type(interrupt).__name__)
            raise
        failure = self._guard.explain(error)
        self._close(type(failure).__name__)
        raise failure

    def _close(self, reason: str) -> None:
        if self._closed_by is None:
            self._closed_by = reason
            self._consumer.close()

    def _check_usable(self) -> None:
        if self._closed_by is not None:
            raise InvariantError(
                f"the reader of {self._topic!r} was closed after {self._closed_by}; open another"
            )


def build_confluent_options(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """The settings that all clients share, in librdkafka's words.

    Raises:
        KafkaException: a TLS file cannot be used.
    """
    password = settings.sasl_password
    chosen = {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": client_id,
        # Half of it passes before a new client asks its first question; it doubles by itself.
        "reconnect.backoff.ms": 20,
        "socket.timeout.ms": max(int(settings.request_timeout_seconds * 1000), 1000),
        "security.protocol": settings.security_protocol,
        "ssl.ca.location": settings.ssl_cafile,
        "ssl.certificate.location": settings.ssl_certfile,
        "ssl.key.location": settings.ssl_keyfile,
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": None if password is None else password.get_secret_value(),
        **(_tls_texts(settings) if isinstance(settings, DiscoveredKafka) else {}),
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _tls_texts(settings: DiscoveredKafka) -> dict[str, str | None]:
    return {
        "ssl.ca.pem": settings.ca,
        "ssl.certificate.pem": settings.certificate,
        "ssl.key.pem": settings.key.get_secret_value() if settings.key is not None else None,
    }
