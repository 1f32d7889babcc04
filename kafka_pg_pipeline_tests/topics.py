"""What can happen to a topic's log, done by a client that is not ours."""

import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import Any

import tenacity
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.waiting import wait_until


class TransactionalProducer(Producer):
    """Ends a transaction only when its marker is in the log; brokers answer before that."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(
            {
                "bootstrap.servers": bench.bootstrap_servers,
                "transactional.id": f"{bench.name}-{time.monotonic_ns()}",
            }
        )
        self._bench = bench
        self._last_offset = -1

    def fill(self, count: int, first: int = 1_000_000) -> None:
        """Produce records, with ids from ``first`` on, into partition 0 and wait for the acks."""
        for number in range(count):
            self.produce(
                self._bench.stream.topic,
                b'{"id": %d}' % (first + number),
                key=b"%d" % number,
                partition=0,
                on_delivery=self._note,
            )
        assert self.flush(30) == 0

    def commit_transaction(self, *arguments: Any) -> None:
        super().commit_transaction(*arguments)
        self._wait_for_marker()

    def abort_transaction(self, *arguments: Any) -> None:
        super().abort_transaction(*arguments)
        self._wait_for_marker()

    def _note(self, error: Any, message: Any) -> None:
        assert error is None
        self._last_offset = message.offset()

    def _wait_for_marker(self) -> None:
        place = TopicPartition(self._bench.stream.topic, 0, self._last_offset)
        wait_until_stable(self._bench.bootstrap_servers, place)


def wait_until_stable(bootstrap_servers: str, place: TopicPartition) -> None:
    """Wait until no open transaction holds back whoever reads the record at this place."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"stable-{uuid.uuid4()}",
            "isolation.level": "read_committed",
        }
    )
    try:
        wait_until(lambda: consumer.get_watermark_offsets(place, 30)[1] > place.offset)
    finally:
        consumer.close()


@contextlib.contextmanager
def open_transaction(bench: Bench, count: int) -> Iterator[Producer]:
    """A transaction of ``count`` records in partition 0, flushed and left open."""
    producer = TransactionalProducer(bench)
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.fill(count)
    yield producer


def delete_before(bench: Bench, partition: int, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": bench.bootstrap_servers})
    place = TopicPartition(bench.stream.topic, partition, offset)
    admin.delete_records([place])[place].result(30)


def recreate(bench: Bench, partitions: int = 3) -> None:
    bench.delete_topic()
    again = tenacity.Retrying(stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.2))
    again(bench.create_topic, partitions)  # the deletion may still be on its way
