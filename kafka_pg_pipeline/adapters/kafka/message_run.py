"""librdkafka's messages as records: column by column, and one by one only where that is wanted."""

import contextlib
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
    """Messages that hold records, with the headers of each."""

    def __init__(self, messages: Sequence[Message], headers: Sequence[Any]) -> None:
        self._messages = messages
        self._headers = headers

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Record]:
        return map(_make_record, self._messages, self._headers)

    def record(self, index: int) -> Record:
        """The record at a place."""
        return _make_record(self._messages[index], self._headers[index])

    def part(self, places: slice) -> "MessageRun":
        """Some of the records."""
        return MessageRun(self._messages[places], self._headers[places])

    def column(self, attribute: str) -> list[Any]:
        """That attribute of each record."""
        if attribute == "headers":
            if not any(self._headers):
                return [()] * len(self)
            return [headers or () for headers in self._headers]
        return list(map(_ATTRIBUTES[attribute], self._messages))


def read_messages(messages: Sequence[Message]) -> MessageRun:
    """The messages as records, up to the first whose headers cannot be read.

    A header's name that is not UTF-8 raises, once: asked again, the client says that there are no
    headers. So each message is asked here, and never after.
    """
    headers: list[Any] = []
    with contextlib.suppress(SystemError, UnicodeError):
        headers.extend(map(Message.headers, messages))  # keeps those before one that raises
    return MessageRun(messages[: len(headers)], headers)


def _timestamp(message: Message) -> int:
    kind, timestamp = message.timestamp()
    return timestamp if kind else _NO_TIMESTAMP


def _timestamp_type(message: Message) -> int:
    return _TIMESTAMP_TYPES[message.timestamp()[0]]


_ATTRIBUTES: Mapping[str, Callable[[Message], Any]] = {
    "partition": Message.partition,
    "offset": Message.offset,
    "timestamp": _timestamp,
    "timestamp_type": _timestamp_type,
    "key": Message.key,
    "value": Message.value,
}


def _make_record(message: Message, headers: Any) -> FetchedRecord:
    read = {name: read(message) for name, read in _ATTRIBUTES.items()}
    return FetchedRecord(**read, headers=headers or ())
