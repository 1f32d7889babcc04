"""The decoders of a stream, from what the file says of its formats."""

from collections.abc import Callable, Mapping

from kafka_pg_pipeline.formats.connect_json import ConnectJsonDecoder
from kafka_pg_pipeline.formats.debezium import DebeziumDecoder
from kafka_pg_pipeline.formats.text import BytesDecoder, JsonDecoder, TextDecoder
from kafka_pg_pipeline.ports import Decoders, RecordDecoder
from kafka_pg_pipeline.settings.models import StreamSettings

_VALUES: Mapping[str, Callable[[], RecordDecoder | None]] = {
    "json": lambda: None,  # documents as they are
    "connect-json": ConnectJsonDecoder,
    "debezium": DebeziumDecoder,
    "text": TextDecoder,
    "bytes": BytesDecoder,
}
_KEYS: Mapping[str, Callable[[], RecordDecoder]] = {
    "json": JsonDecoder,
    "connect-json": ConnectJsonDecoder,
    "debezium": ConnectJsonDecoder,
    "text": TextDecoder,
    "bytes": BytesDecoder,
}


def build_decoders(stream: StreamSettings) -> Decoders:
    """What reads the stream's values and keys."""
    return Decoders(_VALUES[stream.format](), _KEYS[stream.format_of_keys]())
