"""Puts values on a topic and answers for each of them."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import kafka.errors as driver
from kafka import KafkaProducer

from kafka_pg_pipeline.adapters.kafka.connection import (
    BOOTSTRAP_TIMEOUT_SECONDS,
    CLOSE_TIMEOUT_SECONDS,
    ClientKeeper,
    build_client_options,
    open_client,
)
from kafka_pg_pipeline.adapters.kafka.guard import Guard
from kafka_pg_pipeline.adapters.kafka.inspector import KafkaInspector
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.settings.models import KafkaSettings

CLIENT_ID = "kafka-pg-produce"

_OPEN_TIMEOUT_SECONDS = BOOTSTRAP_TIMEOUT_SECONDS + 12.0
_WINDOW_RECORDS = 10_000
_WINDOW_BYTES = 16 * 1024 * 1024
_PROGRESS_EVERY = 1_000
NAMED_FAILURES = 1_000

T = TypeVar("T")

# What is held against one record; the records after it may still go through.
_RECORD_FAULTS = (
    driver.MessageSizeTooLargeError,
    driver.RecordListTooLargeError,
    driver.InvalidRecordError,
    driver.InvalidTimestampError,
    ValueError,
)


class Message(NamedTuple):
    """What is put on a topic as one record; the client knows no header without a value."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class DeliveryFailure:
    """A value that was not taken: its place in the input (from 0) and the kind of error."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class ProduceReport:
    """What became of the values: acknowledged by all replicas, or failed by their own fault.

    ``failures`` names the first thousand of the ``failed``.
    """

    acknowledged: int
    per_partition: Mapping[int, int]
    failed: int = 0
    failures: tuple[DeliveryFailure, ...] = ()


class ProduceListener(Protocol):
    """Told now and then how many values were acknowledged so far; must not raise."""

    def __call__(self, acknowledged: int) -> None:
        """Take note of the count."""


def produce_values(
    settings: KafkaSettings,
    topic: str,
    values: Iterable[tuple[bytes | None, bytes | None]],
    *,
    rate: float | None = None,
    listener: ProduceListener | None = None,
    client_id: str = CLIENT_ID,
) -> ProduceReport:
    """Send (key, value) pairs to an existing topic; as ``produce_messages``."""
    return produce_messages(
        settings,
        topic,
        (Message(key, value) for key, value in values),
        rate=rate,
        listener=listener,
        client_id=client_id,
    )


def produce_messages(
    settings: KafkaSettings,
    topic: str,
    messages: Iterable[Message],
    *,
    rate: float | None = None,
    listener: ProduceListener | None = None,
    client_id: str = CLIENT_ID,
    idempotent: bool = True,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> ProduceReport:
    """Send messages to an existing topic, at most ``rate`` a second.

    Acknowledged by all replicas. Some thousand values are in flight at most, so memory stays
    bounded however long the input is. A value at fault itself (too large, or neither key nor
    value) is reported, and the rest goes on; but an ``idempotent`` producer, which puts nothing
    on the topic twice, gives up what is in flight behind a value that the broker refuses.

    Raises:
        TopicMissingError: No such topic; nothing is created.
        KafkaUnavailableError: The broker went away; the message says how many were acknowledged.
        AuthenticationError: Credentials or the right to write are missing.
    """
    _check_topic(settings, topic, client_id)
    options = {**_build_options(settings, client_id), "enable_idempotence": idempotent}
    guard = Guard(options, ClientKeeper(), topic)
    deliveries = _Deliveries(topic, listener, 3 * settings.request_timeout_seconds)
    producer: Any = None
    try:
        producer = _open_producer(guard)
        for index, message in enumerate(_iter_paced(messages, rate, clock, sleep)):
            deliveries.send(producer, index, message)
        deliveries.settle_all()
    except driver.KafkaError as error:
        raise _with_count(guard.explain(error), deliveries.acknowledged) from error
    finally:
        _close_producer(producer, guard.keeper)
    return deliveries.report()


def _check_topic(settings: KafkaSettings, topic: str, client_id: str) -> None:
    inspector = KafkaInspector(settings, isolation="read_uncommitted", client_id=client_id)
    try:
        inspector.fetch_identity(topic)
    finally:
        inspector.close()


def _build_options(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    request_timeout_ms = int(settings.request_timeout_seconds * 1000)
    return {
        **build_client_options(settings, client_id),
        "acks": "all",
        "allow_auto_create_topics": False,
        "compression_type": "lz4",
        "linger_ms": 20,
        "batch_size": 128 * 1024,
        "max_block_ms": request_timeout_ms,
        "delivery_timeout_ms": 2 * request_timeout_ms,
        "metrics_enabled": False,
    }


def _open_producer(guard: Guard) -> Any:
    make: Callable[..., Any] = KafkaProducer
    return guard.run(
        lambda: open_client(make, guard.keeper, dict(guard.options)), seconds=_OPEN_TIMEOUT_SECONDS
    )


def _close_producer(producer: Any, keeper: ClientKeeper) -> None:
    """End the sender thread before its sockets go; otherwise it would log errors in a loop."""
    sender = getattr(producer, "_sender", None)
    if sender is not None:
        sender.force_close()
        sender.join(CLOSE_TIMEOUT_SECONDS)
        producer.close(timeout=0)
    keeper.close()


def _iter_paced(
    values: Iterable[T],
    rate: float | None,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Iterator[T]:
    """The values, none earlier than ``rate`` a second allows."""
    started = clock()
    for index, value in enumerate(values):
        if rate is not None:
            early = started + index / rate - clock()
            if early > 0:
                sleep(early)
        yield value


def _with_count(failure: PipelineError, acknowledged: int) -> PipelineError:
    return type(failure)(f"{failure}; {acknowledged} values were acknowledged before")


class _Deliveries:
    """Values in flight, a bounded window of them, and what became of the others."""

    def __init__(
        self, topic: str, listener: ProduceListener | None, patience_seconds: float
    ) -> None:
        self._topic = topic
        self._listener = listener
        self._patience_seconds = patience_seconds
        self._in_flight: deque[tuple[int, Any, int]] = deque()
        self._bytes = 0
        self._per_partition: Counter[int] = Counter()
        self._failed = 0
        self._failures: list[DeliveryFailure] = []
        self.acknowledged = 0

    def send(self, producer: Any, index: int, message: Message) -> None:
        """Hand one value to the client, waiting for the oldest while the window is full."""
        key, value, headers = message
        size = len(key or b"") + len(value or b"")
        while self._in_flight and self._is_full(size):
            self._settle_oldest()
        try:
            future = producer.send(self._topic, key=key, value=value, headers=list(headers))
        except _RECORD_FAULTS as error:
            self._record_failure(index, error)
            return
        self._in_flight.append((index, future, size))
        self._bytes += size

    def settle_all(self) -> None:
        """Wait until every value was acknowledged or has failed."""
        while self._in_flight:
            self._settle_oldest()
        self._tell()

    def report(self) -> ProduceReport:
        """What became of the values so far."""
        return ProduceReport(
            self.acknowledged,
            dict(sorted(self._per_partition.items())),
            self._failed,
            tuple(self._failures),
        )

    def _is_full(self, size: int) -> bool:
        return len(self._in_flight) >= _WINDOW_RECORDS or self._bytes + size > _WINDOW_BYTES

    def _settle_oldest(self) -> None:
        index, future, size = self._in_flight.popleft()
        self._bytes -= size
        try:
            metadata = future.get(timeout=self._patience_seconds)
        except _RECORD_FAULTS as error:
            self._record_failure(index, error)
            return
        self._per_partition[metadata.partition] += 1
        self.acknowledged += 1
        if self.acknowledged % _PROGRESS_EVERY == 0:
            self._tell()

    def _record_failure(self, index: int, error: BaseException) -> None:
        self._failed += 1
        if len(self._failures) < NAMED_FAILURES:
            self._failures.append(DeliveryFailure(index, type(error).__name__))

    def _tell(self) -> None:
        if self._listener is not None:
            self._listener(self.acknowledged)
