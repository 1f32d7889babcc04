"""The decoders of a stream, from what the file says of its formats."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.formats.avro import AvroDecoder, AvroFileDecoder
from kafka_pg_pipeline.formats.connect_json import ConnectJsonDecoder
from kafka_pg_pipeline.formats.debezium import DebeziumDecoder
from kafka_pg_pipeline.formats.json_schema import JsonSchemaDecoder
from kafka_pg_pipeline.formats.protobuf import ProtobufDecoder
from kafka_pg_pipeline.formats.text import BytesDecoder, JsonDecoder, TextDecoder
from kafka_pg_pipeline.ports import Decoders, RecordDecoder, SchemaRegistry
from kafka_pg_pipeline.settings.models import SchemaRegistrySettings, StreamSettings

# These read the schema of each record from a registry.
_REGISTERED: Mapping[str, Callable[[SchemaRegistry], RecordDecoder]] = {
    "avro": AvroDecoder,
    "protobuf": ProtobufDecoder,
    "json-schema": JsonSchemaDecoder,
}
_PLAIN: Mapping[str, Callable[[], RecordDecoder]] = {
    "json": JsonDecoder,
    "connect-json": ConnectJsonDecoder,
    "text": TextDecoder,
    "bytes": BytesDecoder,
}


@contextmanager
def open_decoders(
    name: str, stream: StreamSettings, registry: SchemaRegistrySettings
) -> Iterator[Decoders]:
    """What reads a stream's values and keys; the registry is reached when a schema is needed.

    Raises:
        ConfigurationError: a format needs a registry and none is named, or a library that is not
            installed, or the file of its schema cannot be read.
    """
    with _opened(registry) as found:
        yield Decoders(_value_decoder(name, stream, found), _key_decoder(name, stream, found))


@contextmanager
def _opened(settings: SchemaRegistrySettings) -> Iterator[SchemaRegistry | None]:
    if not settings.url:
        yield None
        return
    # What speaks HTTP takes a tenth of a second to import, and few streams need it.
    from kafka_pg_pipeline.adapters.schema_registry import HttpSchemaRegistry

    with closing(HttpSchemaRegistry(settings)) as registry:
        yield registry


def _value_decoder(
    name: str, stream: StreamSettings, registry: SchemaRegistry | None
) -> RecordDecoder | None:
    if stream.format == "json":
        return None  # documents as they are
    if stream.format == "debezium":
        return DebeziumDecoder(registry)
    if stream.schema_file is not None:
        return _file_decoder(name, stream)
    return _make(name, "format", stream.format, registry)


def _key_decoder(
    name: str, stream: StreamSettings, registry: SchemaRegistry | None
) -> RecordDecoder:
    if stream.format_of_keys == "debezium":
        return ConnectJsonDecoder(registry)
    return _make(name, "key_format", stream.format_of_keys, registry)


def _make(name: str, key: str, chosen: str, registry: SchemaRegistry | None) -> RecordDecoder:
    if chosen in _PLAIN:
        return _PLAIN[chosen]()
    if registry is None:
        raise ConfigurationError(
            f"streams.{name}.{key}: {chosen} reads its schemas from a registry, and none is named: "
            "set schema_registry.url in the file, or SCHEMA_REGISTRY_URL"
        )
    return _REGISTERED[chosen](registry)


def _file_decoder(name: str, stream: StreamSettings) -> RecordDecoder:
    path = stream.schema_file
    try:
        text = path.read_text("utf-8") if path else ""
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(
            f"streams.{name}.schema_file: {path} cannot be read: is it there, and text?"
        ) from None
    try:
        return AvroFileDecoder(text)
    except Rejected:
        raise ConfigurationError(
            f"streams.{name}.schema_file: {path} holds no Avro schema that can be read"
        ) from None
