"""What can happen to a topic's log, done by a client that is not ours."""

import contextlib
import time
from collections.abc import Iterator

import tenacity
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from kafka_pg_pipeline_tests.fix_streams import Bench


@contextlib.contextmanager
def open_transaction(bench: Bench, count: int) -> Iterator[Producer]:
    """A transaction of ``count`` records in partition 0, flushed and left open."""
    producer = Producer(
        {
            "bootstrap.servers": bench.bootstrap_servers,
            "transactional.id": f"{bench.name}-{time.monotonic_ns()}",
        }
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(count):
        value = b'{"id": %d}' % (1_000_000 + number)
        producer.produce(bench.stream.topic, value, key=b"%d" % number, partition=0)
    assert producer.flush(30) == 0
    yield producer


def delete_before(bench: Bench, partition: int, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": bench.bootstrap_servers})
    place = TopicPartition(bench.stream.topic, partition, offset)
    admin.delete_records([place])[place].result(30)


def recreate(bench: Bench, partitions: int = 3) -> None:
    bench.delete_topic()
    again = tenacity.Retrying(stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.2))
    again(bench.create_topic, partitions)  # the deletion may still be on its way
