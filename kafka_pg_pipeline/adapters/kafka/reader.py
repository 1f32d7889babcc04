"""Opens readers by the client that the configuration names."""

from collections.abc import Callable, Mapping
from typing import Any

from kafka_pg_pipeline.adapters.kafka.connection import Isolation
from kafka_pg_pipeline.extras import import_extra
from kafka_pg_pipeline.ports import ReaderFactory, RecordReader
from kafka_pg_pipeline.settings.models import KafkaSettings

# Loaded when asked for: confluent-kafka is an extra, and each takes its time to import.
_READERS: Mapping[str, tuple[str, str]] = {
    "kafka-python": ("kafka_python_reader", "KafkaPythonReader"),
    "confluent": ("confluent_reader", "ConfluentReader"),
}


def open_reader_factory(
    settings: KafkaSettings, isolation: Isolation, client_id: str, stream: str
) -> ReaderFactory:
    """A factory of readers that share settings, isolation level, client id and stream.

    Raises:
        ConfigurationError: the client that ``kafka.reader`` names is not installed.
    """
    make = _load_reader(settings.reader)

    def open_reader(topic: str, start_offsets: Mapping[int, int]) -> RecordReader:
        reader: RecordReader = make(
            settings,
            topic,
            start_offsets,
            isolation=isolation,
            client_id=client_id,
            stream=stream,
        )
        return reader

    return open_reader


def _load_reader(name: str) -> Callable[..., Any]:
    module, reader = _READERS[name]
    loaded = import_extra(
        f"kafka_pg_pipeline.adapters.kafka.{module}",
        extra="fast",
        needed_by=f"kafka.reader: {name}",
    )
    made: Callable[..., Any] = getattr(loaded, reader)
    return made
