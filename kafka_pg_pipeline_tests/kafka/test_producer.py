import time

import pytest

from kafka_pg_pipeline.adapters.kafka.producer import DeliveryFailure, produce_values
from kafka_pg_pipeline.adapters.kafka.topics import ensure_topic
from kafka_pg_pipeline.errors import TopicMissingError
from kafka_pg_pipeline_tests.kafka.harness import read_until
from kafka_pg_pipeline_tests.kafka.resources import assert_released, count_resources


def test_every_value_is_acknowledged_and_can_be_read(topics, settings, read):
    topic = topics.create(partitions=3)
    told = []

    report = produce_values(
        settings,
        topic,
        ((b"k%d" % (i % 50), b"v%d" % i) for i in range(20_000)),
        listener=told.append,
    )

    assert report.acknowledged == 20_000
    assert sum(report.per_partition.values()) == 20_000
    assert told == sorted(told)
    assert told[-1] == 20_000
    records, _ = read_until(read(topic, dict.fromkeys(range(3), 0)), report.per_partition, 5_000)
    assert {record.value for _, record in records} == {b"v%d" % i for i in range(20_000)}


def test_values_at_fault_are_reported_and_the_rest_goes_on(topics, settings):
    topic = topics.create(max_message_bytes=2_000)
    values = [(None, b"a"), (None, b"x" * 2_000_000), (None, None), (None, b"b")]

    report = produce_values(settings, topic, values)

    assert report.acknowledged == 2
    assert report.failed == 2
    assert report.failures == (
        DeliveryFailure(1, "MessageSizeTooLargeError"),
        DeliveryFailure(2, "ValueError"),
    )


def test_value_that_the_broker_refuses_is_reported(topics, settings):
    topic = topics.create(max_message_bytes=2_000)
    noise = bytes(range(256)) * 40
    incompressible = b"".join(noise[i : i + 97] for i in range(0, 9_000, 31))[:500_000]
    report = produce_values(settings, topic, [(None, incompressible)])
    assert (report.acknowledged, report.failed) == (0, 1)


def test_rate_is_kept(topics, settings):
    topic = topics.create()
    started = time.monotonic()
    produce_values(settings, topic, ((None, b"x") for _ in range(50)), rate=50)
    assert 0.9 < time.monotonic() - started < 15


def test_missing_topic_is_told_and_not_created(topics, settings):
    with pytest.raises(TopicMissingError, match="no-such"):
        produce_values(settings, "no-such", [(None, b"x")])
    assert "no-such" not in topics.admin.list_topics()


def test_error_of_the_input_comes_through_and_leaves_nothing(topics, settings):
    topic = topics.create()
    before = count_resources()

    def broken():
        yield None, b"x"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        produce_values(settings, topic, broken())
    assert_released(before)


def test_topic_is_created_once_with_its_partitions(topics, settings, inspect):
    name = f"made-{time.time_ns()}"
    assert ensure_topic(settings, name, 4) is True
    assert ensure_topic(settings, name, 9) is False
    assert len(inspect().fetch_snapshot(name).partitions) == 4
