"""Rejected records are read again: the dead letter is the record, whichever client reads."""

from typing import Literal

import pytest

from kafka_pg_pipeline.domain.tables import MetadataField
from kafka_pg_pipeline.pipeline.reread import Rereading
from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_streams import OFFSET_COLUMNS, Bench
from kafka_pg_pipeline_tests.topics import TransactionalProducer

BAD = {0, 7, 8, 700, 1499}


def make_record(number: int) -> FakeRecord:
    """A record with all that a record can have; negative numbers are refused by the table."""
    return FakeRecord(
        b'{"id": %d}' % (-number - 1 if number in BAD else number),
        key=b"key \x00\xff %d" % number,
        headers=(("trace", b"\xfe%d" % number), ("trace", None), ("", b"")),
        timestamp=1_700_000_000_000 + number,
    )


def to_bytes(value: memoryview | None) -> bytes | None:
    return None if value is None else bytes(value)


def all_to_bytes(values: list[memoryview | None]) -> list[bytes | None]:
    return list(map(to_bytes, values))


@pytest.mark.parametrize("reader", ["kafka-python", "confluent"])
@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_dead_letter_that_was_read_again_is_the_whole_record(
    bench: Bench,
    reader: Literal["kafka-python", "confluent"],
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = bench.with_reader(reader).with_stream(batch=BatchSettings(max_rows=400), mode=mode)
    if mode == "upsert":
        bench = bench.with_stream(key=["id"])
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer PRIMARY KEY CHECK (id >= 0),"
        " kafka_partition integer, kafka_offset bigint)"
    )
    bench.produce([make_record(number) for number in range(1500)])
    times = 0
    read_wanted = Rereading._read_wanted

    def count(self: Rereading) -> object:
        nonlocal times
        times += 1
        return read_wanted(self)

    monkeypatch.setattr(Rereading, "_read_wanted", count)
    report = bench.load()
    assert (report.counts.rows, report.counts.dead) == (1495, 5)
    assert 1 <= times <= report.batches  # once for each batch, whatever its partitions
    stored = bench.query(
        "SELECT record_timestamp, timestamp_type, key, value, header_keys, header_values, reason"
        " FROM {schema}.dead_letter ORDER BY record_timestamp"
    )
    assert [
        (stamp, kind, to_bytes(key), to_bytes(value), *map(all_to_bytes, headers))
        for stamp, kind, key, value, *headers, _ in stored
    ] == [
        (
            record.timestamp,
            0,
            record.key,
            record.value,
            [name.encode() for name, _ in record.headers],
            [value for _, value in record.headers],
        )
        for record in map(make_record, sorted(BAD))
    ]
    assert {reason for *_, reason in stored} == {"rejected_by_postgresql"}
    bench.assert_exactly_once()


def test_a_load_without_a_rejected_row_reads_nothing_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("a record was read again")

    monkeypatch.setattr(Rereading, "read", refuse)
    bench = bench.with_stream(mode="upsert", key=["id"])
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer PRIMARY KEY,"
        " kafka_partition integer, kafka_offset bigint)"
    )
    values = [*({"id": number % 50} for number in range(300)), b"{broken"]
    bench.produce(values, partition=lambda _: 0)
    report = bench.load()
    assert (report.counts.rows, report.counts.superseded, report.counts.dead) == (50, 250, 1)


@pytest.mark.parametrize("reader", ["kafka-python", "confluent"])
def test_records_are_read_again_across_aborted_ones_and_markers(
    bench: Bench, reader: Literal["kafka-python", "confluent"]
) -> None:
    bench = bench.with_reader(reader)
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer CHECK (id NOT IN (4, 40, 84)),"
        " kafka_partition integer, kafka_offset bigint)"
    )
    producer = TransactionalProducer(bench)
    producer.init_transactions(30)
    for first in range(0, 90, 10):
        producer.begin_transaction()
        producer.fill(10, first)
        (producer.abort_transaction if first % 20 else producer.commit_transaction)()
    report = bench.load()
    assert (report.counts.rows, report.counts.dead) == (47, 3)
    bench.assert_exactly_once()


def test_rows_beside_a_rejected_one_have_the_id_that_the_ledger_has(bench: Bench) -> None:
    bench = bench.with_stream(
        metadata={MetadataField(n): c for n, c in OFFSET_COLUMNS.items()}
        | {MetadataField.LOAD_ID: "kafka_load_id"}
    )
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer CHECK (id <> 7),"
        " kafka_partition integer, kafka_offset bigint, kafka_load_id uuid)"
    )
    bench.produce([{"id": number} for number in range(30)])
    assert bench.load().counts.dead == 1
    ids = bench.query("SELECT DISTINCT kafka_load_id::text FROM {table} ORDER BY 1")
    assert ids == bench.query("SELECT DISTINCT batch_id::text FROM {schema}.ledger ORDER BY 1")
    assert len(ids) >= 1
