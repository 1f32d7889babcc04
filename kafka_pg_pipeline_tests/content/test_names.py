"""Names that need quoting, as columns, tables and metadata columns, on every way into a table."""

from typing import Any

import pytest

from kafka_pg_pipeline.domain.naming import Naming
from kafka_pg_pipeline.domain.tables import MetadataField
from kafka_pg_pipeline.errors import TargetError
from kafka_pg_pipeline_tests.content.landing import Dead, one_partition, quoted
from kafka_pg_pipeline_tests.fix_streams import Bench

NAMES = [
    'double " quote',
    "single ' quote",
    "with space ",
    "100 % sure",
    "%s",
    "%(stream)s",
    "%%",
    "MiXed",
    "select",
    "XMIN",
    "semi;colon, comma: (x)",
    "back\\slash",
    "{braces} {table} {}",
    "$1 -- /* no comment",
    "new\nline",
    "tab\t",
    "größe",
    "emoji 😀",
    "x" * 63,
    "é" * 31 + "y",
    "café",  # composed
    "cafe\u0301",  # decomposed: another name
    "0",
    "kafka_pg_line",  # what the stage calls its own column
    "kafka_pg_line_",
]
TABLES = ["Wei\"rd %s ta'ble", "%d", "größe " + "é" * 27 + "x", "a, line 2, column b", "x" * 63]
PARTITION, OFFSET = 'kafka % "partition"', "kafka %s offset"


def awkward(bench: Bench, table: str = TABLES[0]) -> Bench:
    schema = bench.stream.table.partition(".")[0]
    metadata = {MetadataField.PARTITION: PARTITION, MetadataField.OFFSET: OFFSET}
    return bench.with_stream(table=f"{schema}.{table}", metadata=metadata, naming=Naming.PRESERVE)


def record(number: int) -> dict[str, Any]:
    return {name: number * 100 + index for index, name in enumerate(NAMES)}


def rows(bench: Bench, names: list[str]) -> list[tuple[Any, ...]]:
    listed = ", ".join(map(quoted, names))
    return bench.query(f"SELECT {listed} FROM {{table}} ORDER BY {quoted(OFFSET)}")


def create_table(bench: Bench, first: str, kind: str = "bigint") -> None:
    lines = [f"{quoted(name)} {kind}" for name in NAMES]
    lines[0] += f" {first}"
    lines += [f"{quoted(PARTITION)} integer", f"{quoted(OFFSET)} bigint"]
    bench.query(f"CREATE TABLE {{table}} ({', '.join(lines)})")


def test_a_new_table_takes_the_names_of_the_fields(bench: Bench) -> None:
    bench = awkward(bench)
    bench.create_topic(1)
    bench.produce([record(1), record(2)], partition=one_partition)
    assert bench.load().counts.rows == 2
    assert rows(bench, NAMES) == [tuple(record(number).values()) for number in (1, 2)]
    assert bench.findings() == []


@pytest.mark.parametrize("constraint", ["", "PRIMARY KEY"], ids=["plain", "staged"])
def test_records_land_in_columns_of_their_names(bench: Bench, constraint: str) -> None:
    bench = awkward(bench)
    bench.create_topic(1)
    create_table(bench, constraint)
    bench.produce([record(1), {NAMES[0]: 2}, record(3)], partition=one_partition)
    assert bench.load().counts.rows == 3
    sparse = (2, *[None] * (len(NAMES) - 1))
    first, third = tuple(record(1).values()), tuple(record(3).values())
    assert rows(bench, NAMES) == [first, sparse, third]
    assert bench.findings() == []


@pytest.mark.parametrize("constraint", ["", "PRIMARY KEY"], ids=["plain", "staged"])
def test_a_row_that_postgresql_rejects_is_found_and_its_column_named(
    bench: Bench, constraint: str
) -> None:
    bench = awkward(bench)
    bench.create_topic(1)
    create_table(bench, constraint, "inet")
    bad = [{NAMES[0]: f"10.0.0.{number}", name: "bad"} for number, name in enumerate(NAMES[1:])]
    good = [dict.fromkeys(NAMES, f"10.0.1.{number}") for number in range(len(bad))]
    both = [item for pair in zip(good, bad, strict=True) for item in pair]
    bench.produce(both, partition=one_partition)
    assert bench.load().counts.rows == len(good)
    assert dead_letters(bench) == {
        2 * index + 1: Dead("write", "rejected_by_postgresql", name, "22P02")
        for index, name in enumerate(NAMES[1:])
    }
    assert bench.findings() == []


@pytest.mark.parametrize("table", TABLES)
def test_a_tables_name_does_not_mislead_the_search_for_a_rejected_row(
    bench: Bench, table: str
) -> None:
    bench = awkward(bench, table)
    bench.create_topic(1)
    create_table(bench, "", "inet")
    values: list[Any] = [{NAMES[0]: f"10.0.0.{number}"} for number in range(9)]
    values[6][NAMES[1]] = "bad"
    bench.produce(values, partition=one_partition)
    assert bench.load().counts.rows == 8
    assert dead_letters(bench) == {6: Dead("write", "rejected_by_postgresql", NAMES[1], "22P02")}


def test_rows_are_shown_and_deleted_by_their_names(bench: Bench) -> None:
    bench = awkward(bench)
    bench.create_topic(1)
    bench.produce([record(1), record(2)], partition=one_partition)
    bench.load()
    with bench.session() as session:
        target = session.catalog.fetch_target()
        newest = session.inspection.fetch_newest_rows(target, 1)
        assert [row[name] for row in newest for name in NAMES] == list(map(str, record(2).values()))
        session.moves.reset({0: 1}, target, allow_duplicates=False)
    assert rows(bench, NAMES[:1]) == [(100,)]
    assert bench.load().counts.rows == 1
    assert bench.findings() == []


def test_a_table_whose_name_postgresql_would_cut_is_refused(bench: Bench) -> None:
    bench.create_topic(1)
    bench.produce([{"a": 1}])
    for name in ("x" * 64, "é" * 32):
        with pytest.raises(TargetError, match="63 bytes"):
            awkward(bench, name).load()
    schema = bench.stream.table.partition(".")[0]
    assert bench.query("SELECT * FROM pg_tables WHERE schemaname = %s", schema) == []


def test_a_field_named_like_a_system_column_is_refused_by_its_name(bench: Bench) -> None:
    bench.create_topic(1)
    bench.produce([{"id": 1, "ctid": 1}])
    with pytest.raises(TargetError, match="'ctid' cannot be a column"):
        bench.load()


def dead_letters(bench: Bench) -> dict[int, Dead]:
    return {
        offset: Dead(*said)
        for offset, *said in bench.query(
            "SELECT record_offset, stage, reason, column_name, sqlstate FROM {schema}.dead_letter"
        )
    }
