"""Sends records through Kafka into one table and tells what became of each."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kafka_pg_pipeline_tests.fix_streams import Bench

# How PostgreSQL is asked to show what landed, whatever the environment makes of a session.
SHOWN_PLAINLY = (
    "SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres';"
    " SET bytea_output = 'hex'; SET extra_float_digits = 1;"
)
_NEIGHBOUR = b'{"beside": true}'


class Dead(NamedTuple):
    """What a dead letter says of its record."""

    stage: str
    reason: str
    column: str | None = None
    sqlstate: str | None = None


Fate = dict[str, str] | Dead


def one_partition(_: int) -> int:
    return 0


def record_of(column: str, literal: str) -> bytes:
    """A record with one field, its JSON text as given."""
    return f"{{{json.dumps(column)}: {literal}}}".encode()


def quoted(name: str) -> str:
    """The name as an identifier in a statement of ``Bench.query``."""
    return '"' + name.replace('"', '""').replace("{", "{{").replace("}", "}}") + '"'


def create_table(bench: Bench, columns: Mapping[str, str], *constraints: str) -> None:
    """A table of these columns beside those that ``load_fates`` needs."""
    kinds = {
        **columns,
        "beside": "boolean",
        "kafka_partition": "integer",
        "kafka_offset": "bigint",
    }
    lines = [f"{quoted(name)} {kind}" for name, kind in kinds.items()]
    bench.query(f"CREATE TABLE {{table}} ({', '.join([*lines, *constraints])})")


def load_fates(
    bench: Bench, columns: Sequence[str], records: Sequence[Any], **producing: Any
) -> list[Fate]:
    """Load the records, each between two good ones, and tell what became of each.

    A row is given as the text of its columns that are not NULL. On the way it is checked that the
    neighbours landed, and that everything is there exactly once.
    """
    with_neighbours: list[Any] = [_NEIGHBOUR] * (2 * len(records) + 1)
    with_neighbours[1::2] = records
    bench.produce(with_neighbours, partition=one_partition, **producing)
    bench.load()
    bench.assert_exactly_once()
    fates = fates_by_offset(bench, [*columns, "beside"])
    neighbours = [fates[offset] for offset in range(0, len(with_neighbours), 2)]
    assert neighbours == [{"beside": "true"}] * (len(records) + 1)
    return [fates[offset] for offset in range(1, len(with_neighbours), 2)]


def fates_by_offset(
    bench: Bench, columns: Sequence[str], *, first: int = 0, **shown: str
) -> dict[int, Fate]:
    """What became of every offset from ``first`` on.

    ``shown`` is SQL that shows a column, where its plain text will not do.
    """
    expressions = ", ".join(shown.get(name, f"{quoted(name)}::text") for name in columns)
    fates: dict[int, Fate] = {}
    for offset, *texts in bench.query(
        f"{SHOWN_PLAINLY} SELECT kafka_offset, {expressions} FROM {{table}}"
        f" WHERE kafka_offset >= {first}"
    ):
        named = zip(columns, texts, strict=True)
        fates[offset] = {name: text for name, text in named if text is not None}
    for offset, *said in bench.query(
        "SELECT record_offset, stage, reason, column_name, sqlstate FROM {schema}.dead_letter"
        f" WHERE record_offset >= {first}"
    ):
        fates[offset] = Dead(*said)
    return fates
