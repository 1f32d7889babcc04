"""librdkafka's messages as records: column by column, and one by one only where that is wanted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Message

from kafka_pg_pipeline.domain.record_runs import RecordRun
from kafka_pg_pipeline.domain.records import Record

_NO_TIMESTAMP = -1
_TIMESTAMP_TYPES = (0, 0, 1)  # librdkafka counts from 1, and 0 is none at all


class FetchedRecord(NamedTuple):
    """A ``Record`` made of a message."""

    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class MessageRun(RecordRun):
    """Messages that hold records; none of their headers raises when it is read."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Record]:
        return map(_make_record, self._messages)

    def record(self, index: int) -> Record:
        """The record at a place."""
        return _make_record(self._messages[index])

    def part(self, places: slice) -> "MessageRun":
        """Some of the records."""
        return MessageRun(self._messages[places])

    def column(self, attribute: str) -> list[Any]:
        """That attribute of each record."""
        return list(map(_ATTRIBUTES[attribute], self._messages))


def _timestamp(message: Message) -> int:
    kind, timestamp = message.timestamp()
    return timestamp if kind else _NO_TIMESTAMP


def _timestamp_type(message: Message) -> int:
    return _TIMESTAMP_TYPES[message.timestamp()[0]]


def _headers(message: Message) -> Any:
    return message.headers() or ()


_ATTRIBUTES: Mapping[str, Callable[[Message], Any]] = {
    "partition": Message.partition,
    "offset": Message.offset,
    "timestamp": _timestamp,
    "timestamp_type": _timestamp_type,
    "key": Message.key,
    "value": Message.value,
    "headers": _headers,
}


def _make_record(message: Message) -> FetchedRecord:
    return FetchedRecord(**{name: read(message) for name, read in _ATTRIBUTES.items()})
