"""The record's own attributes on a real broker: keys, headers and timestamps in their columns."""

import base64
import json
from typing import Any

import pytest

from kafka_pg_pipeline.settings.models import KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.content.landing import (
    Dead,
    create_table,
    fates_by_offset,
    load_fates,
    one_partition,
)
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_streams import OFFSET_COLUMNS, Bench, BenchMaker

HEADERS = [
    (),
    (("a", b"1"), ("b", None), ("a", b""), ("a", None), ("a", b"1")),
    (("", b""), ("ü\t\\N", b"\x00\xff"), ('"', b'{"x": 1}')),
    (("only", None),),
]
KEYS = [None, b"", b"\\N", b"NULL", b"k\t\n\\", "ü 😀".encode()]


@pytest.fixture
def keyed(bench_maker: BenchMaker, kafka: KafkaSettings, postgres: PostgresSettings) -> Bench:
    """A stream that keeps keys, headers, topic and kind of timestamp; its topic made."""
    names = {"key": "record_key", "headers": "headers", "topic": "topic", "timestamp_type": "clock"}
    bench = bench_maker.make(kafka, postgres, metadata={**OFFSET_COLUMNS, **names})
    bench.create_topic(1)
    return bench


@pytest.mark.parametrize("kind", ["jsonb", "json", "text"])
def test_headers_keep_order_duplicates_and_null_apart_from_empty(keyed: Bench, kind: str) -> None:
    create_table(keyed, {"record_key": "bytea", "headers": kind, "topic": "text", "clock": "text"})
    keyed.produce([FakeRecord(b"{}", headers=each) for each in HEADERS], partition=one_partition)
    keyed.load()
    keyed.assert_exactly_once()
    landed = fates_by_offset(keyed, ["headers"])
    assert [json.loads(landed[offset]["headers"]) for offset in range(len(HEADERS))] == [
        [{"key": key, "value": in_base64(value)} for key, value in each] for each in HEADERS
    ]


def in_base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


@pytest.mark.parametrize("kind", ["bytea", "text"])
def test_a_null_key_is_null_and_an_empty_key_is_empty(keyed: Bench, kind: str) -> None:
    create_table(keyed, {"record_key": kind, "headers": "jsonb", "topic": "text", "clock": "text"})
    keyed.produce([FakeRecord(b"{}", key=key) for key in KEYS], partition=one_partition)
    keyed.load()
    keyed.assert_exactly_once()
    stored = keyed.query("SELECT record_key, topic, clock FROM {table} ORDER BY kafka_offset")
    assert [as_bytes(key) for key, _, _ in stored] == KEYS
    assert {row[1:] for row in stored} == {(keyed.stream.topic, "create")}


def as_bytes(stored: Any) -> bytes | None:
    return stored.encode() if isinstance(stored, str) else None if stored is None else bytes(stored)


def test_a_key_that_its_column_cannot_hold_is_a_dead_letter(keyed: Bench) -> None:
    create_table(
        keyed, {"record_key": "text", "headers": "jsonb", "topic": "text", "clock": "text"}
    )
    records = [FakeRecord(b"{}", key=key) for key in (b"\xff", b"a\0", b"fine")]
    fates = load_fates(keyed, ["record_key"], records)
    assert fates == [
        Dead("encode", "invalid_utf8", "record_key"),
        Dead("encode", "nul_character", "record_key"),
        {"record_key": "fine"},
    ]


def test_a_dead_letter_keeps_keys_and_headers_as_they_were(bench: Bench) -> None:
    bench.create_topic(1)
    create_table(bench, {"whole": "bigint"})
    sent = [FakeRecord(b"broken", key, headers=each) for key in KEYS for each in HEADERS]
    assert load_fates(bench, ["whole"], sent) == [Dead("decode", "invalid_json")] * len(sent)
    stored = bench.query(
        "SELECT key, header_keys, header_values FROM {schema}.dead_letter ORDER BY record_offset"
    )
    assert [
        (as_bytes(key), tuple(zip(map(as_text, names), map(as_bytes, values), strict=True)))
        for key, names, values in stored
    ] == [(record.key, record.headers) for record in sent]


def as_text(stored: Any) -> str:
    return bytes(stored).decode()
