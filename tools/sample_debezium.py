# ruff: noqa: S608 - nobody else gives a part of these statements
"""Writes real records of Debezium, for tests of what decodes them.

    python tools/sample_debezium.py

One file for each configuration, a line of JSON for each record: table, key, value and headers, the
bytes as base64. A file's first line is the connector's configuration.
"""

import base64
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Any

from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.local.postgres_server import PostgresServer
from kafka_pg_pipeline_tests import mixed_types
from kafka_pg_pipeline_tests.connect_worker import ConnectWorker
from kafka_pg_pipeline_tests.debezium import (
    SOURCE_SETTINGS,
    DebeziumSource,
    Record,
    open_source,
    read_topic,
)
from kafka_pg_pipeline_tests.fix_servers import postgres_settings
from kafka_pg_pipeline_tests.java import fetch_java

_SAMPLES = Path(__file__).parents[1] / "kafka_pg_pipeline_tests" / "formats" / "debezium_samples"
_PLAIN = {"key.converter.schemas.enable": "false", "value.converter.schemas.enable": "false"}
_CONVERTERS = {
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
}
_UNWRAPPED = {
    "transforms": "unwrap",
    "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
    "transforms.unwrap.delete.tombstone.handling.mode": "tombstone",
}
_CONFIGURATIONS: Mapping[str, Mapping[str, str]] = {
    "schema_precise_adaptive": {},
    "schema_string_connect": {
        "decimal.handling.mode": "string",
        "time.precision.mode": "connect",
    },
    "plain_precise_adaptive": {**_CONVERTERS, **_PLAIN},
    "plain_string_connect": {
        **_CONVERTERS,
        **_PLAIN,
        "decimal.handling.mode": "string",
        "time.precision.mode": "connect",
    },
    "plain_string_isostring": {
        **_CONVERTERS,
        **_PLAIN,
        "decimal.handling.mode": "string",
        "time.precision.mode": "isostring",
        "interval.handling.mode": "string",
        "binary.handling.mode": "hex",
    },
    "schema_unwrapped": _UNWRAPPED,
    "plain_unwrapped": {**_CONVERTERS, **_PLAIN, **_UNWRAPPED},
}

_TABLES = ("items", "full_identity", "out_of_line", "others", "extremes", "required", "keyless")
_TABLES_UNWRAPPED = ("items", "keyless")
# Types and values beyond the mixed table: name, type, value.
_OTHERS = (
    ("o_money", "money", "'$1,234.56'"),
    ("o_bit", "bit(1)", "B'1'"),
    ("o_bits", "bit(12)", "B'101010101010'"),
    ("o_varbit", "varbit", "B'10101'"),
    ("o_timetz", "timetz", "'12:34:56.789012+02'"),
    ("o_range", "int4range", "'[1,5)'"),
    ("o_tstzrange", "tstzrange", "'[2026-01-01 00:00+00,2026-01-02 00:00+00)'"),
    ("o_cidr", "cidr", "'10.0.0.0/8'"),
    ("o_macaddr", "macaddr", "'08:00:2b:01:02:03'"),
    ("o_point", "point", "'(1.5,2)'"),
    ("o_oid", "oid", "4294967295"),
    ("o_dates", "date[]", "'{{2026-01-01,NULL}}'"),
    ("o_numerics", "numeric(10,2)[]", "'{{1.50,NULL}}'"),
    ("o_timestamps", "timestamptz[]", "'{{2026-01-01 00:00:00+00}}'"),
    ("o_uuids", "uuid[]", "'{{8c1f1e5e-33a5-4e1b-a9a5-0123456789ab}}'"),
    ("o_booleans", "boolean[]", "'{{t,f,NULL}}'"),
    ("o_doubles", "double precision[]", "'{{1.5,NaN}}'"),
    ("o_jsonbs", "jsonb[]", "ARRAY['{{\"a\": 1}}'::jsonb]"),
    ("o_moods", "{schema}.mood[]", "ARRAY['ok']::{schema}.mood[]"),
    ("o_matrix", "int[]", "'{{{{1,2}},{{3,4}}}}'"),
    ("o_json", "json", "'null'"),
    ("o_jsonb", "jsonb", "'null'"),
    ("o_domain", "{schema}.positive", "12.5"),
    ("o_tsvector", "tsvector", "'a fat cat'"),
    ("o_plain_time", "time(3)", "'12:34:56.789'"),
    ("o_generated", "integer GENERATED ALWAYS AS (id * 2) STORED", "DEFAULT"),
)
# Values that PostgreSQL keeps out of line and leaves out of an update that does not change them.
_OUT_OF_LINE = (
    ("t_text", "text", "'{text}'"),
    ("t_varchar", "varchar", "'{text}'"),
    ("t_bytea", "bytea", "'{text}'"),
    ("t_json", "json", "'\"{text}\"'"),
    ("t_jsonb", "jsonb", "'\"{text}\"'"),
    ("t_texts", "text[]", "ARRAY['{text}']"),
    ("t_integers", "int[]", "array_fill(7, ARRAY[800])"),
    ("t_bigints", "bigint[]", "array_fill(7, ARRAY[800])"),
    ("t_uuids", "uuid[]", "array_fill('8c1f1e5e-33a5-4e1b-a9a5-0123456789ab'::uuid, ARRAY[200])"),
    ("t_dates", "date[]", "array_fill('2026-01-01'::date, ARRAY[800])"),
    ("t_numeric", "numeric", "repeat('123456789', 700)::numeric"),
)
# What the types of both ends hold but JSON or Java may not; a row takes one of each column.
_EXTREMES: Mapping[str, Sequence[str]] = {
    "c_numeric": ("'NaN'", "-0.000001"),
    "c_free": ("'NaN'", "'Infinity'", "'-Infinity'", "1e400", "0", "1000"),
    "c_real": ("'NaN'", "1e-45"),
    "c_double": ("'NaN'", "'Infinity'", "'-Infinity'", "1e300", "'-0.0'"),
    "c_date": ("'infinity'", "'-infinity'", "'0044-03-15 BC'", "'294276-12-31'"),
    "c_time": ("'24:00:00'", "'00:00:00'"),
    "c_timestamp3": ("'infinity'", "'-infinity'", "'0044-03-15 12:00:00 BC'"),
    "c_timestamp6": (
        "'infinity'",
        "'-infinity'",
        "'0044-03-15 12:00:00 BC'",
        "'294276-12-31 23:59:59.999999'",
    ),
    "c_timestamptz": (
        "'infinity'",
        "'-infinity'",
        "'0044-03-15 12:00:00+00 BC'",
        "'294276-12-31 23:59:59.999999+00'",
    ),
    "c_interval": ("'1 year 2 mons 3 days 04:05:06.789012'", "'-1 mons +2 days'"),
}


def main() -> None:
    """Run each configuration on servers of its own."""
    java = fetch_java()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        directory = Path(folder)
        directory.chmod(0o755)
        kafka = stack.enter_context(KafkaServer(directory / "kafka", die_with_parent=True))
        postgres = stack.enter_context(
            PostgresServer(directory / "postgres", settings=SOURCE_SETTINGS, die_with_parent=True)
        )
        (directory / "connect").mkdir()
        worker = stack.enter_context(
            ConnectWorker(directory / "connect", java, kafka.bootstrap_servers)
        )
        _SAMPLES.mkdir(parents=True, exist_ok=True)
        for name, configuration in _CONFIGURATIONS.items():
            with open_source(
                postgres_settings(postgres), worker, kafka.bootstrap_servers
            ) as source:
                _live(source, configuration)
                tables = _TABLES_UNWRAPPED if "transforms" in configuration else _TABLES
                lines = [json.dumps({"configuration": configuration}), *_format(source, tables)]
            (_SAMPLES / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def _live(source: DebeziumSource, configuration: Mapping[str, str]) -> None:
    """The lives of a few tables, first before and then under Debezium's eyes."""
    source.execute(
        mixed_types.ENUM,
        mixed_types.create(),
        mixed_types.insert(1),
        mixed_types.insert(2, edge=True),
        mixed_types.insert_nulls(3),
        *_create_others(),
        *_insert_extremes(0),
    )
    source.follow(configuration)
    source.execute(
        *_change_items(),
        *_change_full_identity(),
        *_change_out_of_line(),
        *_insert_extremes(100),
        *_change_required(),
        "INSERT INTO {schema}.keyless VALUES (1, 'a'), (1, 'a')",
        "UPDATE {schema}.keyless SET v = 'b'",
        "DELETE FROM {schema}.keyless",
        "INSERT INTO {schema}.others VALUES (1, "
        + ", ".join(value for _, _, value in _OTHERS)
        + ")",
        "INSERT INTO {schema}.others (id) VALUES (2)",
        "INSERT INTO {schema}.others (id, o_bits, o_varbit)"
        " VALUES (3, B'000000000001', B'0001'), (4, B'000000000000', B'')",
    )
    source.wait_until_caught_up()


def _create_others() -> Iterator[str]:
    yield mixed_types.create("{schema}.full_identity")
    yield "ALTER TABLE {schema}.full_identity REPLICA IDENTITY FULL"
    yield "CREATE DOMAIN {schema}.positive AS numeric(10,2) CHECK (VALUE > 0)"
    kinds = {name: mixed_types.COLUMNS[name][0] for name in _EXTREMES}
    yield _create("extremes", [("shown", "text"), *kinds.items()])
    yield _create("others", [(name, kind) for name, kind, _ in _OTHERS])
    yield _create("out_of_line", [("n", "int"), *((name, kind) for name, kind, _ in _OUT_OF_LINE)])
    for name, _, _ in _OUT_OF_LINE:
        yield f"ALTER TABLE {{schema}}.out_of_line ALTER {name} SET STORAGE EXTERNAL"

    yield """CREATE TABLE {schema}.required (
        a integer, b text, words text NOT NULL, number integer NOT NULL, day date NOT NULL,
        moment timestamptz NOT NULL, amount numeric(10,2) NOT NULL, defaulted integer DEFAULT 5,
        PRIMARY KEY (b, a))"""
    yield "CREATE TABLE {schema}.keyless (id integer, v text)"
    yield "ALTER TABLE {schema}.keyless REPLICA IDENTITY FULL"


def _create(table: str, columns: Iterable[tuple[str, str]]) -> str:
    given = ", ".join(f"{name} {kind}" for name, kind in columns)
    return f"CREATE TABLE {{schema}}.{table} (id integer PRIMARY KEY, {given})"


def _insert_extremes(first: int) -> Iterator[str]:
    """Rows whose ``shown`` has their values as SQL."""
    for number, values in enumerate(zip_longest(*_EXTREMES.values(), fillvalue="NULL")):
        shown = json.dumps(dict(zip(_EXTREMES, values, strict=True)))
        yield (
            f"INSERT INTO {{schema}}.extremes VALUES ({first + number},"
            f" $${shown.replace('{', '{{').replace('}', '}}')}$$, {', '.join(values)})"
        )


def _change_items() -> Iterator[str]:
    yield mixed_types.insert(4, big=True)
    yield "UPDATE {table} SET c_integer = 43 WHERE id = 4"
    yield "UPDATE {table} SET id = 5 WHERE id = 4"
    yield "DELETE FROM {table} WHERE id = 3"
    yield "ALTER TABLE {table} ADD COLUMN added numeric(5,2) NOT NULL DEFAULT 1.25"
    yield "UPDATE {table} SET added = 2.50 WHERE id = 1"
    yield "DELETE FROM {table} WHERE id = 1"
    yield "TRUNCATE {table}"


def _change_full_identity() -> Iterator[str]:
    full = "{schema}.full_identity"
    yield mixed_types.insert(1, table=full, big=True)
    yield f"UPDATE {full} SET c_text = 'changed' WHERE id = 1"
    yield f"UPDATE {full} SET id = 2 WHERE id = 1"
    yield f"DELETE FROM {full} WHERE id = 2"


def _change_required() -> Iterator[str]:
    required = "{schema}.required"
    values = "'a', 1, '2026-01-01', '2026-01-01Z', 1.5"
    yield f"INSERT INTO {required} VALUES (1, 'x', {values}, NULL)"
    yield f"INSERT INTO {required} VALUES (2, 'x', {values})"
    yield f"UPDATE {required} SET number = 2, defaulted = NULL"
    yield f"DELETE FROM {required} WHERE a = 1"


def _change_out_of_line() -> Iterator[str]:
    values = ", ".join(value.format(text="ab" * 1500) for _, _, value in _OUT_OF_LINE)
    yield f"INSERT INTO {{schema}}.out_of_line VALUES (1, 1, {values})"
    yield "UPDATE {schema}.out_of_line SET n = 2"


def _format(source: DebeziumSource, tables: Iterable[str]) -> Iterator[str]:
    for table in tables:
        for record in read_topic(source.bootstrap_servers, f"dbz.{source.name}.{table}"):
            yield json.dumps({"table": table, **_describe(record, source.name)})


def _describe(record: Record, name: str) -> dict[str, Any]:
    def encode(data: bytes | None) -> str | None:
        # The schema's name is drawn by lot; a fixed one of the same length keeps the files alike.
        fixed = None if data is None else data.replace(name.encode(), b"src_" + b"0" * 12)
        return None if fixed is None else base64.b64encode(fixed).decode()

    return {
        "key": encode(record.key),
        "value": encode(record.value),
        "headers": [
            [header, encode(value)]
            for header, value in record.headers
            if not header.startswith("__debezium.context.")
        ],
    }


if __name__ == "__main__":
    main()
