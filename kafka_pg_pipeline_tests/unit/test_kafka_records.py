"""Records as kafka-python hands them out, made fit for the pipeline."""

from typing import Any

from kafka.consumer.fetcher import ConsumerRecord

from kafka_pg_pipeline.adapters.kafka.kafka_python_reader import with_timestamps


def test_records_of_a_format_without_timestamps_get_the_logs_word_for_none() -> None:
    """Message format 0, as kafka-python hands it out; brokers since 4.0 have no such records."""
    with_time = make_record(timestamp=5, timestamp_type=1)
    old = make_record(timestamp=None, timestamp_type=None)
    assert with_timestamps([with_time]) == [with_time]
    [first, second] = with_timestamps([old, with_time])
    assert (first.timestamp, first.timestamp_type, first.value) == (-1, 0, b"v")
    assert second is with_time


def make_record(**changes: Any) -> Any:
    fields = dict.fromkeys(ConsumerRecord._fields)
    return ConsumerRecord(**{**fields, "value": b"v", "headers": [], **changes})
