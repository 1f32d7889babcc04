"""Records, columns and a short way through the encoder, for tests of what becomes of a value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kafka_pg_pipeline.domain.batches import CopyChunk
from kafka_pg_pipeline.domain.column_types import describe_type
from kafka_pg_pipeline.domain.record_runs import ListedRecords
from kafka_pg_pipeline.domain.records import DeadLetter, Reason
from kafka_pg_pipeline.domain.tables import (
    Attribute,
    Column,
    MetadataField,
    TableName,
    TargetTable,
    ValueField,
)
from kafka_pg_pipeline.domain.verdicts import Rejected, Unfit
from kafka_pg_pipeline.pipeline.decode_json import JsonDecoder
from kafka_pg_pipeline.pipeline.encode import RowEncoder
from kafka_pg_pipeline.pipeline.encode_record import RunContext
from kafka_pg_pipeline.pipeline.write_lines import write_lines


class FakeRecord(NamedTuple):
    value: bytes | None
    key: bytes | None = None
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    timestamp_type: int = 0
    headers: tuple[tuple[str, bytes | None], ...] = ()


def column(
    name: str,
    base_type: str = "text",
    *,
    is_array: bool = False,
    type_name: str | None = None,
    metadata: MetadataField | None = None,
    nullable: bool = True,
    has_default: bool = False,
) -> Column:
    described = describe_type(base_type, is_array=is_array)
    return Column(
        name=name,
        type_name=type_name or base_type,
        kind=described.kind,
        nullable=nullable,
        has_default=has_default,
        minimum=described.minimum,
        maximum=described.maximum,
        source=Attribute(metadata) if metadata else ValueField(name),
    )


def array_column(name: str, type_name: str = "text[]") -> Column:
    return column(name, type_name.removesuffix("[]"), is_array=True, type_name=type_name)


def table_of(columns: Sequence[Column]) -> TargetTable:
    return TargetTable(TableName("public", "t"), oid=1, columns=tuple(columns), plain=True)


@dataclass(frozen=True)
class Encoded:
    chunks: tuple[CopyChunk, ...]
    dead: tuple[DeadLetter, ...]
    record_bytes: int

    @property
    def lines(self) -> list[str]:
        return [line for chunk in self.chunks for line in chunk.lines]

    @property
    def rows(self) -> int:
        return len(self.lines)

    @property
    def verdicts(self) -> list[tuple[str, Reason, str | None]]:
        return [(letter.stage.value, letter.reason, letter.column) for letter in self.dead]


def encode(columns: Sequence[Column], *records: Any, topic: str = "shop.orders") -> Encoded:
    """Encode records in one batch; bytes and None stand for a record with that value."""
    builder = RowEncoder(table_of(columns), RunContext(topic)).start_batch()
    builder.add(
        ListedRecords(
            record if isinstance(record, FakeRecord) else FakeRecord(record, offset=offset)
            for offset, record in enumerate(records)
        )
    )
    return Encoded(builder.chunks(), tuple(builder.dead_letters), builder.record_bytes)


Verdict = tuple[str, Reason, str | None]


def in_a_block(columns: Sequence[Column], value: bytes) -> tuple[Any, ...] | None:
    """The columns as a block of records gives them; None where it leaves them to closer looks."""
    block = JsonDecoder(columns).decode_block([value])
    if block is None:
        return None
    filled, rows = block
    try:
        (line,) = write_lines(rows)
    except Unfit:
        return None
    found = dict(zip(filled, line.split("\t"), strict=True))
    return tuple(found.get(index, "UNSET") for index in range(len(columns)))


def by_record(columns: Sequence[Column], value: bytes) -> tuple[Any, ...] | Verdict:
    return _judge(JsonDecoder(columns).decode, value)


def exactly(columns: Sequence[Column], value: bytes) -> tuple[Any, ...] | Verdict:
    return _judge(JsonDecoder(columns).decode_exactly, value)


def _judge(decode: Any, value: bytes) -> tuple[Any, ...] | Verdict:
    try:
        return tuple(map(str, decode(value)))
    except Rejected as verdict:
        return (verdict.stage.value, verdict.reason, verdict.column)
