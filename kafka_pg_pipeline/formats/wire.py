"""The wire format of Confluent's serializers: a zero, a schema's id in four bytes, the data."""

from kafka_pg_pipeline.domain.records import Reason, Stage
from kafka_pg_pipeline.domain.verdicts import Rejected

_HEADER_BYTES = 5
_MOST_INDEXES = 100  # as deep as Protobuf itself nests messages
_VARINT_BYTES = 5


def has_schema_id(data: bytes) -> bool:
    """Whether data begins as the wire format does, which no JSON text can."""
    return data[:1] == b"\0" and len(data) >= _HEADER_BYTES


def split_schema_id(data: bytes) -> tuple[int, bytes]:
    """The schema's id, and the data behind it.

    Raises:
        Rejected: there is no id.
    """
    if not has_schema_id(data):
        raise Rejected(Stage.DECODE, Reason.NO_SCHEMA_ID)
    return int.from_bytes(data[1:_HEADER_BYTES], "big"), data[_HEADER_BYTES:]


def split_indexes(data: bytes) -> tuple[tuple[int, ...], bytes]:
    """Protobuf's message indexes, and the message behind them; a lone zero is the first message.

    Raises:
        Rejected: the indexes end in the middle, or no schema has so many.
    """
    count, rest = _read_varint(data)
    if count == 0:
        return (0,), rest
    if not 0 < count <= _MOST_INDEXES:
        raise Rejected(Stage.DECODE, Reason.UNDECODABLE)
    indexes = []
    for _ in range(count):
        index, rest = _read_varint(rest)
        indexes.append(index)
    return tuple(indexes), rest


def _read_varint(data: bytes) -> tuple[int, bytes]:
    """A zigzag varint, as Avro and Protobuf's sint write one."""
    number = shift = 0
    for position, byte in enumerate(data[:_VARINT_BYTES]):
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), data[position + 1 :]
    raise Rejected(Stage.DECODE, Reason.UNDECODABLE)
