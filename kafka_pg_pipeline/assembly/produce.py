"""Puts records on a stream's topic: generated demo events, or the lines of a JSONL file."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from kafka_pg_pipeline.adapters.kafka.inspector import KafkaInspector
from kafka_pg_pipeline.adapters.kafka.producer import (
    ProduceListener,
    ProduceReport,
    produce_values,
)
from kafka_pg_pipeline.adapters.kafka.topics import ensure_topic
from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.models import KafkaSettings, StreamSettings

_DEMO_PARTITIONS = 3
_CATEGORIES = ("books", "garden", "music", "sports", "tools")

KeyAndValue = tuple[bytes | None, bytes | None]


def produce_to_stream(
    name: str,
    stream: StreamSettings,
    endpoints: Endpoints,
    *,
    count: int | None = None,
    file: Path | None = None,
    key_separator: str | None = None,
    rate: float | None = None,
    listener: ProduceListener | None = None,
) -> ProduceReport:
    """Produce a file's lines, or generated events, and wait for the brokers' acknowledgement.

    Creates the topic where it is missing and ours to make: one with a ``source``, or any on the
    local stack.

    Args:
        name: The stream's name, for messages.
        stream: Where to produce to; its ``source`` decides what ``count`` and ``file`` leave open.
        endpoints: Where Kafka is.
        count: Generated events, or the most lines taken of a file.
        file: JSONL file; every line is one record's value as it stands.
        key_separator: What stands between key and value in a line. A line of a key alone is a
            tombstone.
        rate: Records a second at most.
        listener: Told now and then how many were acknowledged.

    Raises:
        ConfigurationError: the stream has no ``source`` and no file was named, or the file cannot
            be read.
        KafkaUnavailableError, TopicMissingError, AuthenticationError: see ``produce_values``.
    """
    source = stream.source
    if file is None and source is None:
        raise ConfigurationError(
            f"stream {name!r} has no `source:`, so nothing is generated into its topic "
            f"{stream.topic!r}; name a JSONL file to produce, or give the stream a source"
        )
    if source is not None or endpoints.kafka_is_local:
        ensure_topic(endpoints.kafka, stream.topic, _DEMO_PARTITIONS)
    if source is not None:
        count = count if count is not None or file is not None else source.count
        file = file or source.file
        key_separator = key_separator or source.key_separator
    values = (
        _generate(_next_id(endpoints.kafka, stream.topic), count or 0)
        if file is None
        else _read_lines(file, count, key_separator)
    )
    return produce_values(endpoints.kafka, stream.topic, values, rate=rate, listener=listener)


def _next_id(kafka: KafkaSettings, topic: str) -> int:
    """Ids go on where the topic's offsets end, so that no two demo runs repeat one."""
    inspector = KafkaInspector(kafka, isolation="read_uncommitted", client_id="kafka-pg-produce")
    with closing(inspector):
        snapshot = inspector.fetch_snapshot(topic)
    return sum(bounds.high_watermark for bounds in snapshot.partitions)


def _generate(first: int, count: int) -> Iterator[KeyAndValue]:
    for number in range(first, first + count):
        category = _CATEGORIES[number % len(_CATEGORIES)]
        event = {
            "id": number,
            "category": category,
            "value": round(number * 7.31 % 1000, 2),
            "ts": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        }
        yield str(number).encode(), json.dumps(event).encode()


def _read_lines(file: Path, count: int | None, key_separator: str | None) -> Iterator[KeyAndValue]:
    try:
        with file.open("rb") as lines:
            taken = 0
            for line in lines:
                text = line.rstrip(b"\r\n")
                if count is not None and taken >= count:
                    return
                if text:
                    taken += 1
                    yield _split(text, key_separator)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None


def _split(text: bytes, key_separator: str | None) -> KeyAndValue:
    if key_separator is None:
        return None, text
    key, _, value = text.partition(key_separator.encode())
    return key, value or None
