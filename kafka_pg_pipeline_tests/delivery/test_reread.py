"""Rejected records are read again: the dead letter is the record, whichever client reads."""

from dataclasses import replace
from typing import Literal

import pytest

from kafka_pg_pipeline.pipeline.reread import Rereading
from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_streams import Bench

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
    kafka = bench.endpoints.kafka.model_copy(update={"reader": reader})
    bench = replace(bench, endpoints=replace(bench.endpoints, kafka=kafka)).with_stream(
        batch=BatchSettings(max_rows=400), mode=mode
    )
    if mode == "upsert":
        bench = bench.with_stream(key=["id"])
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer PRIMARY KEY CHECK (id >= 0),"
        " kafka_partition integer, kafka_offset bigint)"
    )
    bench.produce([make_record(number) for number in range(1500)])
    read: list[int] = []
    read_partition = Rereading._read_partition

    def note(self: Rereading, partition: int) -> object:
        read.append(partition)
        return read_partition(self, partition)

    monkeypatch.setattr(Rereading, "_read_partition", note)
    report = bench.load()
    assert (report.counts.rows, report.counts.dead) == (1495, 5)
    assert set(read) == {number % 3 for number in BAD} == {0, 1, 2}
    assert len(read) <= 5  # once for each batch and partition
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
