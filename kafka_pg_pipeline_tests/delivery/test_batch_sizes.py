"""Batches that PostgreSQL takes too long to write."""

from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.fix_streams import Bench

RECORDS = 3_000
TABLE = "CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)"
SLOWLY = "PERFORM pg_sleep(0.001); RETURN NEW;"


def test_a_batch_that_outlasts_the_statement_timeout_is_tried_again_with_fewer_records(
    bench: Bench,
) -> None:
    """3,000 rows take more than three seconds in this table."""
    bench = bench.with_postgres(statement_timeout_seconds=2.0).with_stream(
        batch=BatchSettings(write_seconds=0.5)
    )
    bench.create_topic(partitions=1)
    bench.query(TABLE)
    bench.trigger_before_inserts(SLOWLY)
    bench.produce([{"id": number} for number in range(RECORDS)], partition=lambda _: 0)
    report = bench.load()
    assert (report.counts.rows, bench.count()) == (RECORDS, RECORDS)
    assert report.batches >= 2
    bench.assert_exactly_once()
