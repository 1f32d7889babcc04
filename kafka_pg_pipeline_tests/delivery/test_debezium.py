"""A table that Debezium follows and its copy that a stream makes compare equal, row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from kafka_pg_pipeline.settings.models import KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests import mixed_types
from kafka_pg_pipeline_tests.debezium import DebeziumSource
from kafka_pg_pipeline_tests.fix_streams import OFFSET_COLUMNS, Bench, BenchMaker

_CONVERTERS = {
    f"{part}.converter": "org.apache.kafka.connect.json.JsonConverter" for part in ("key", "value")
}
_PLAIN = {
    **_CONVERTERS,
    **{f"{part}.converter.schemas.enable": "false" for part in ("key", "value")},
}
_WHOLE = {"interval.handling.mode": "string"}  # else a month becomes 30.4375 days


@dataclass(frozen=True)
class Manner:
    """A connector's configuration, and the columns whose values it does not carry whole."""

    configuration: Mapping[str, str]
    lost: Sequence[str] = ()

    @property
    def columns(self) -> list[str]:
        return [name for name in ("id", *mixed_types.COLUMNS, "big") if name not in self.lost]


PRECISE = Manner(_WHOLE)
STRINGS = Manner(
    {**_WHOLE, "decimal.handling.mode": "string", "time.precision.mode": "connect"},
    lost=("c_time", "c_timestamp6"),  # milliseconds only
)
PLAIN = Manner(
    {
        **_WHOLE,
        **_PLAIN,
        "decimal.handling.mode": "string",
        "time.precision.mode": "isostring",
    },
    lost=("c_bytea", "c_json", "c_jsonb"),  # strings, and nothing tells of what
)
MANNERS = {"precise": PRECISE, "strings": STRINGS, "plain": PLAIN}

COPY = {"format": "debezium", "mode": "upsert", "key": ["id"]}


@dataclass(frozen=True)
class Replica:
    """A source and the stream that copies it."""

    source: DebeziumSource
    bench: Bench
    columns: list[str] = field(default_factory=list)

    def load(self) -> None:
        self.source.wait_until_caught_up()
        self.bench.load()
        assert self.bench.query("SELECT stage, reason, column_name FROM {schema}.dead_letter") == []
        assert self.bench.findings() == []

    def assert_equal(self) -> None:
        """Both show the same values, column by column and row by row."""
        shown = ", ".join(_SHOWN.get(name, f"{name}::text") for name in self.columns)
        query = f"SELECT {shown} FROM {{table}} ORDER BY id"
        copies, originals = self.bench.query(query), self.source.query(query)
        assert [copy[0] for copy in copies] == [original[0] for original in originals] != []
        assert [
            (original[0], name, theirs, ours)
            for copy, original in zip(copies, originals, strict=True)
            for name, ours, theirs in zip(self.columns, copy, original, strict=True)
            if ours != theirs
        ] == []


# Debezium drops the zeros at the end of a numeric without a scale; so does the type of a column
# that is added for want of one.
_SHOWN = {
    "c_free": "trim_scale(c_free)::text",
    "added": "trim_scale(added::numeric)::text",
}


@pytest.fixture
def make_replica(
    kafka: KafkaSettings,
    postgres: PostgresSettings,
    bench_maker: BenchMaker,
    debezium_source: DebeziumSource,
):
    def make(manner: Manner, stream: Mapping[str, Any]) -> Replica:
        given = {"topic": debezium_source.topic, "metadata": {}, **stream}
        return Replica(debezium_source, bench_maker.make(kafka, postgres, **given), manner.columns)

    return make


def create_both(replica: Replica, *, identity: str = "DEFAULT") -> None:
    """The table in the source, and an empty one of the same types in the target."""
    replica.source.execute(
        mixed_types.ENUM,
        mixed_types.create(),
        f"ALTER TABLE {{table}} REPLICA IDENTITY {identity}",
    )
    schema = replica.bench.stream.table.partition(".")[0]
    for statement in (mixed_types.ENUM, mixed_types.create()):
        replica.bench.query(statement.replace("{schema}", schema))


# What happens to the rows, in steps after each of which the two must be equal.
ROWS = (
    mixed_types.insert(10, edge=True),
    mixed_types.insert(11, big=True),
    mixed_types.insert_nulls(12),
    "UPDATE {table} SET c_integer = c_integer - 1, c_text = 'changed' WHERE id < 12",
    "UPDATE {table} SET c_text = NULL, c_numeric = NULL, c_texts = NULL WHERE id = 11",
)
# With REPLICA IDENTITY DEFAULT the record of a new key has no out-of-line values: none moves here.
KEYS = (
    "UPDATE {table} SET id = id + 100 WHERE id IN (2, 3, 12)",
    "DELETE FROM {table} WHERE id IN (1, 102)",
    mixed_types.insert(1, edge=True),
    mixed_types.insert(3),
)
COLUMN = (
    "ALTER TABLE {table} ADD COLUMN added numeric(8,2)",
    "UPDATE {table} SET added = 2.50 WHERE id = 10",
    mixed_types.insert(30, edge=True),
)
TRUNCATION = ("TRUNCATE {table}", mixed_types.insert(10), mixed_types.insert(40, edge=True))


@pytest.mark.parametrize(
    ("name", "identity"),
    [("precise", "DEFAULT"), ("precise", "FULL"), ("strings", "DEFAULT"), ("plain", "FULL")],
)
def test_source_and_target_are_equal_after_each_step(
    make_replica, name: str, identity: str
) -> None:
    manner = MANNERS[name]
    replica = make_replica(manner, {**COPY, "evolution": "add"})
    create_both(replica, identity=identity)
    replica.source.execute(
        mixed_types.insert(1, big=True),
        mixed_types.insert(2, edge=True),
        mixed_types.insert_nulls(3),
    )
    replica.source.follow(manner.configuration)
    replica.load()
    replica.assert_equal()
    for step in (ROWS, KEYS, COLUMN, TRUNCATION):
        replica.source.execute(*step)
        replica.load()
        if step is COLUMN:
            replica.columns.append("added")
        replica.assert_equal()


@pytest.mark.parametrize("max_rows", [1, 3, 50_000])
def test_source_and_target_are_equal_however_the_changes_are_cut_into_batches(
    make_replica, max_rows: int
) -> None:
    replica = make_replica(PRECISE, {**COPY, "batch": {"max_rows": max_rows}})
    create_both(replica)
    replica.source.execute(*(mixed_types.insert(number) for number in (1, 2, 3, 41)))
    replica.source.follow(PRECISE.configuration)
    replica.source.execute(*ROWS, *KEYS, *TRUNCATION, *ROWS[1:], *KEYS[:2])
    replica.load()
    replica.assert_equal()


def test_changes_spread_over_partitions_make_an_equal_table(make_replica) -> None:
    replica = make_replica(PRECISE, COPY)
    create_both(replica)
    replica.source.execute(*(mixed_types.insert(number) for number in range(1, 10)))
    replica.source.follow(PRECISE.configuration, partitions=3)
    replica.source.execute(*ROWS, *KEYS)
    replica.load()
    replica.assert_equal()


def test_a_change_of_the_key_carries_out_of_line_values_with_full_identity(make_replica) -> None:
    replica = make_replica(PRECISE, COPY)
    create_both(replica, identity="FULL")
    replica.source.follow(PRECISE.configuration)
    replica.source.execute(
        mixed_types.insert(1, big=True),
        "UPDATE {table} SET c_integer = 1",
        "UPDATE {table} SET id = 2",
    )
    replica.load()
    replica.assert_equal()
    assert replica.bench.query("SELECT length(big) FROM {table}") == [(9600,)]


def test_a_second_reading_of_all_changes_ends_where_the_first_did(make_replica) -> None:
    replica = make_replica(PRECISE, COPY)
    create_both(replica)
    replica.source.follow(PRECISE.configuration)
    replica.source.execute(*ROWS, *KEYS, *TRUNCATION, *ROWS[1:])
    replica.load()
    with replica.bench.session() as session:
        session.moves.reset({0: 0}, None, allow_duplicates=True)
    replica.load()
    replica.assert_equal()


@pytest.mark.parametrize("name", ["precise", "plain"])
def test_changes_that_debezium_has_unwrapped_make_an_equal_table(make_replica, name: str) -> None:
    """Rows, and null for a deletion: Debezium's own transform, which drops truncations."""
    unwrapping = {
        "transforms": "unwrap",
        "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
        "transforms.unwrap.delete.tombstone.handling.mode": "tombstone",
    }
    manner = MANNERS[name]
    replica = make_replica(manner, {**COPY, "format": "connect-json"})
    create_both(replica, identity="FULL")
    replica.source.execute(mixed_types.insert(1, big=True), mixed_types.insert(2, edge=True))
    replica.source.follow({**manner.configuration, **unwrapping})
    for step in (ROWS, KEYS):
        replica.source.execute(*step)
        replica.load()
        replica.assert_equal()


def test_in_append_mode_each_change_is_a_row(make_replica) -> None:
    replica = make_replica(PLAIN, {"metadata": OFFSET_COLUMNS})
    replica.source.execute("CREATE TABLE {table} (id integer PRIMARY KEY, v text)")
    replica.source.execute("INSERT INTO {table} VALUES (1, 'a')")
    replica.source.follow(PLAIN.configuration)
    replica.source.execute(
        "UPDATE {table} SET v = 'b'",
        "UPDATE {table} SET id = 2",
        "DELETE FROM {table}",
        "TRUNCATE {table}",
    )
    replica.load()
    replica.bench.assert_exactly_once()
    changes = replica.bench.query(
        "SELECT op, before ->> 'id', after ->> 'id' FROM {table} ORDER BY kafka_offset"
    )
    assert changes == [
        ("r", None, "1"),
        ("u", None, "1"),
        ("d", "1", None),
        (None, None, None),
        ("c", None, "2"),
        ("d", "2", None),
        (None, None, None),
        ("t", None, None),
    ]
