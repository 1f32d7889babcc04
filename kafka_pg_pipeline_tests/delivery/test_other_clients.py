"""What other people's clients write into a topic lands exactly once."""

import json

import pytest

from kafka_pg_pipeline.domain.tables import MetadataField
from kafka_pg_pipeline_tests.fix_streams import OFFSET_COLUMNS, Bench
from kafka_pg_pipeline_tests.java_clients import NULL, JavaClients

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def texts(first: int, count: int) -> list[str]:
    return [json.dumps({"id": n, "name": f"n{n}-ü"}) for n in range(first, first + count)]


@pytest.mark.parametrize("codec", CODECS)
def test_what_java_and_librdkafka_compress_lands_exactly_once(
    bench: Bench, java_clients: JavaClients, codec: str
) -> None:
    bench.create_topic()
    java_clients.type_values(bench.stream.topic, texts(0, 300), f"--compression-codec={codec}")
    java_clients.perform(bench.stream.topic, 5000, texts(1000, 50), compression_type=codec)
    bench.produce([text.encode() for text in texts(2000, 300)], **{"compression.type": codec})
    assert bench.load().counts.rows == 300 + 5000 + 300
    bench.assert_exactly_once()
    assert bench.query("SELECT count(DISTINCT id) FROM {table} WHERE id < 1000 OR id >= 2000") == [
        (600,)
    ]


def test_the_performance_tools_transactions_land_exactly_once(
    bench: Bench, java_clients: JavaClients
) -> None:
    bench.create_topic()
    transactional = ("--transactional-id", bench.name, "--transaction-duration-ms", "20")
    java_clients.perform(bench.stream.topic, 20_000, texts(0, 50), *transactional)
    report = bench.load()
    assert report.counts.rows == 20_000
    assert report.counts.absent > 0  # the transactions' own marks
    bench.assert_exactly_once()


def test_a_producer_without_idempotence_and_one_with_land_exactly_once(
    bench: Bench, java_clients: JavaClients
) -> None:
    bench.create_topic()
    for idempotence in ("true", "false"):
        java_clients.perform(bench.stream.topic, 3000, texts(0, 50), enable_idempotence=idempotence)
    assert bench.load().counts.rows == 6000
    bench.assert_exactly_once()


def test_keys_headers_and_nulls_of_the_console_producer_land_as_typed(
    bench: Bench, java_clients: JavaClients
) -> None:
    metadata = {**OFFSET_COLUMNS, MetadataField.KEY: "k", MetadataField.HEADERS: "h"}
    bench = bench.with_stream(metadata=metadata)
    bench.create_topic(1)
    bench.query(
        "CREATE TABLE {table}"
        " (id bigint, k text, h jsonb, kafka_partition int, kafka_offset bigint)"
    )
    java_clients.type_records(
        bench.stream.topic,
        [
            ("source:a,source:b", "key-ü", '{"id": 1}'),
            (f"source:{NULL}", NULL, '{"id": 2}'),
            ("source:", "", NULL),
        ],
    )
    bench.load()
    assert bench.query("SELECT k, id, h FROM {table} ORDER BY kafka_offset") == [
        ("key-ü", 1, [{"key": "source", "value": "YQ=="}, {"key": "source", "value": "Yg=="}]),
        (None, 2, [{"key": "source", "value": None}]),
        ("", None, [{"key": "source", "value": ""}]),
    ]
    assert bench.findings() == []
