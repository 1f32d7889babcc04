"""What becomes of records that a real Debezium wrote, for PostgreSQL's own types."""

import json
from typing import Any

import pytest

from kafka_pg_pipeline.domain.documents import Change, Decoded
from kafka_pg_pipeline.formats.connect_json import ConnectJsonDecoder
from kafka_pg_pipeline.formats.debezium import DebeziumDecoder
from kafka_pg_pipeline_tests.formats.debezium_samples import read_samples

WITH_SCHEMA = ("schema_precise_adaptive", "schema_string_connect")
CONFIGURATIONS = (
    *WITH_SCHEMA,
    "plain_precise_adaptive",
    "plain_string_connect",
    "plain_string_isostring",
)


def decode(configuration: str, table: str) -> list[Decoded]:
    decoder = DebeziumDecoder()
    values = [sample.value for sample in read_samples(configuration, table)]
    return [decoder.decode(value) for value in values if value is not None]


def row(decoded: Decoded) -> dict[str, Any]:
    """The document, each number as it is written."""
    assert decoded.document is not None
    found: dict[str, Any] = json.loads(decoded.document, parse_float=str, parse_int=str)
    return found


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_every_kind_of_change_is_told_apart(configuration: str) -> None:
    write, delete, truncate = Change.WRITE, Change.DELETE, Change.TRUNCATE
    assert [decoded.change for decoded in decode(configuration, "items")] == [
        *[write] * 5,  # three of the snapshot, an insert, an update
        *[delete, write],  # an update of the key
        *[delete, write, delete, truncate],
    ]


@pytest.mark.parametrize("configuration", WITH_SCHEMA)
def test_values_of_mixed_types_keep_all_their_digits(configuration: str) -> None:
    ordinary, edge, nulls = map(row, decode(configuration, "items")[:3])
    expected = {
        "c_bigint": ("1234567890123", "-9223372036854775808"),
        "c_numeric": ("12345.678900", "-99999999999999.999999"),
        "c_bytea": (r"\x00ff10", r"\x"),
        "c_date": ("2026-11-25", "0001-01-01"),
        "c_timestamptz": ("2026-11-25T10:34:56.789012Z", "9999-12-31T23:59:59.999999Z"),
        "c_jsonb": ({"a": None, "b": ["1", "2.50"]}, []),
        "c_texts": (["a", None, 'b,c"'], []),
    }
    assert {name: (ordinary[name], edge[name]) for name in expected} == expected
    assert set(nulls.values()) == {"3", None}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_value_that_postgresql_left_out_is_named_as_unchanged(configuration: str) -> None:
    update = decode(configuration, "items")[4]
    assert update.unchanged == {"big"}
    assert "big" not in row(update)


def test_a_numeric_of_thousands_of_digits_stays_whole() -> None:
    insert = decode("schema_precise_adaptive", "out_of_line")[0]
    assert row(insert)["t_numeric"] == "123456789" * 700


def test_a_bit_string_is_as_long_as_its_type() -> None:
    rows = [row(decoded) for decoded in decode("schema_precise_adaptive", "others")]
    assert [(given["o_bits"], given["o_varbit"]) for given in rows if given["o_bits"]] == [
        ("101010101010", "10101"),
        ("000000000001", "1"),  # zeros that lead a bit varying do not come out of Debezium
        ("000000000000", "0"),
    ]


def test_a_deletion_that_debezium_unwrapped_is_a_deletion() -> None:
    decoder = ConnectJsonDecoder()
    samples = read_samples("schema_unwrapped", "items")
    deletions = [json.loads(sample.value or b"")["payload"] is None for sample in samples]
    assert sum(deletions) == 3
    found = [decoder.decode(sample.value or b"").change for sample in samples]
    assert [change is Change.DELETE for change in found] == deletions
