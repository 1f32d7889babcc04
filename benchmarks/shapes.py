"""The records that are loaded: narrow, wide, Avro and Debezium."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass

import fastavro

FIRST_MOMENT = 1_767_225_600_000
CATEGORIES = 17


@dataclass(frozen=True)
class Column:
    """A column of the table, and the field of that name in the record."""

    name: str
    type: str


@dataclass(frozen=True)
class Shape:
    """One kind of record: how it is made, and the table that takes it."""

    name: str
    columns: tuple[Column, ...]
    make: Callable[[int], bytes]
    format: str = "json"


def narrow(number: int) -> bytes:
    """About 80 bytes."""
    value = f"{number % 1000}.{number % 97:02d}"
    return (
        f'{{"id":{number},"category":"category-{number % CATEGORIES}","value":{value},'
        f'"ts":"2026-01-01T{number % 24:02d}:{number % 60:02d}:00Z"}}'
    ).encode()


def wide(number: int) -> bytes:
    """About 1 KB: 30 fields, of which eleven are text of 40 to 60 characters."""
    fields = [f'"id":{number}']
    fields += [f'"count_{n}":{number * n % 1_000_003}' for n in range(1, 9)]
    fields += [f'"amount_{n}":{number % 9973}.{(number + n) % 97:02d}' for n in range(1, 7)]
    fields += [f'"is_{n}":{"true" if (number + n) % 3 else "false"}' for n in range(1, 3)]
    fields += [
        f'"moment_{n}":"2026-01-{n:02d}T{number % 24:02d}:{number % 60:02d}:00.125Z"'
        for n in range(1, 3)
    ]
    fields += [
        f'"text_{n}":"{n} the order of customer {number % 100_003} was sent to depot {number % 97}"'
        for n in range(1, 12)
    ]
    return ("{" + ",".join(fields) + "}").encode()


def avro(number: int) -> bytes:
    """The narrow record in Avro, bare: readers know the schema from elsewhere."""
    data = io.BytesIO()
    event = {
        "id": number,
        "category": f"category-{number % CATEGORIES}",
        "value": number % 1000 + number % 97 / 100,
        "ts": FIRST_MOMENT + number % 86_400_000,
    }
    fastavro.schemaless_writer(data, _WRITER, event)
    return data.getvalue()


def debezium(number: int) -> bytes:
    """The narrow record as the change that Debezium sends of an INSERT, without its schema."""
    row = narrow(number).decode()
    source = '{"version":"3.0","connector":"postgresql","name":"bench","ts_ms":1767225600000}'
    return (
        f'{{"before":null,"after":{row},"source":{source},"op":"c","ts_ms":1767225600000}}'.encode()
    )


AVRO_SCHEMA = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "category", "type": "string"},
        {"name": "value", "type": "double"},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
_WRITER = fastavro.parse_schema(
    {**AVRO_SCHEMA, "fields": [*AVRO_SCHEMA["fields"][:3], {"name": "ts", "type": "long"}]}
)
_NARROW = (
    Column("id", "bigint"),
    Column("category", "text"),
    Column("value", "double precision"),
    Column("ts", "timestamptz"),
)
_WIDE = (
    Column("id", "bigint"),
    *(Column(f"count_{n}", "bigint") for n in range(1, 9)),
    *(Column(f"amount_{n}", "double precision") for n in range(1, 7)),
    *(Column(f"is_{n}", "boolean") for n in range(1, 3)),
    *(Column(f"moment_{n}", "timestamptz") for n in range(1, 3)),
    *(Column(f"text_{n}", "text") for n in range(1, 12)),
)
SHAPES = {
    shape.name: shape
    for shape in (
        Shape("narrow", _NARROW, narrow),
        Shape("wide", _WIDE, wide),
        Shape("avro", _NARROW, avro, "avro"),
        Shape("debezium", _NARROW, debezium, "debezium"),
    )
}


def write_avro_schema(path: str) -> None:
    """Put the schema of the Avro records into a file."""
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(AVRO_SCHEMA, file)
