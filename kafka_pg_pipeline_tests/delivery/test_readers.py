"""Readers in turn: what one client has read, the other one goes on behind."""

import sys

import pytest
from confluent_kafka import Producer

from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline_tests.fix_streams import Bench


def test_switching_readers_between_runs_loses_and_doubles_nothing(bench: Bench) -> None:
    """With aborted data and control records between the runs, and at the end."""
    bench.create_topic()
    in_python, fast = bench.with_reader("kafka-python"), bench.with_reader("confluent")
    for turn in range(4):
        produce_in_transactions(bench, first=turn * 1000)
        for loading in (in_python, fast):
            loading.load(max_records=170 + turn)
    bench.produce([{"id": 100_000 + number} for number in range(100)])
    produce_in_transactions(bench, first=200_000)
    fast.load()
    assert in_python.load().counts.total == 0
    bench.assert_exactly_once()
    assert bench.count() == 5 * 300 + 100


def produce_in_transactions(bench: Bench, first: int) -> None:
    """300 records committed and 90 aborted, in three partitions; the aborted ones are the last."""
    producer = Producer(
        {"bootstrap.servers": bench.bootstrap_servers, "transactional.id": bench.name}
    )
    producer.init_transactions(30)
    for count, end in ((300, producer.commit_transaction), (90, producer.abort_transaction)):
        producer.begin_transaction()
        for number in range(count):
            value = b'{"id": %d}' % (first + number)
            producer.produce(bench.stream.topic, value, partition=number % 3)
        assert producer.flush(30) == 0
        end()


def test_a_reader_whose_client_is_not_installed_names_its_extra(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.create_topic()
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    for module in ("confluent_reader", "confluent_errors"):
        monkeypatch.delitem(sys.modules, f"kafka_pg_pipeline.adapters.kafka.{module}", False)
    cure = r"kafka.reader: confluent needs confluent_kafka.*'kafka-pg-pipeline\[fast\]'"
    with pytest.raises(ConfigurationError, match=cure):
        bench.with_reader("confluent").load()
