"""Reading alone, with the settings of our readers: what bounds a loader. A script."""

import json
import sys
import time
from typing import Any


def read_with_kafka_python(order: dict[str, Any]) -> float:
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=order["bootstrap_servers"],
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        enable_incremental_fetch_sessions=False,
        max_poll_records=5_000,
        fetch_max_bytes=8 << 20,
    )
    names = [TopicPartition(order["topic"], number) for number in range(order["partitions"])]
    consumer.assign(names)
    for name in names:
        consumer.seek(name, 0)
    count, started = 0, time.monotonic()
    while count < order["records"]:
        count += sum(map(len, consumer.poll(timeout_ms=1_000).values()))
    return time.monotonic() - started


def read_with_confluent(order: dict[str, Any]) -> float:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": order["bootstrap_servers"],
            "group.id": "bench",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 10,
        }
    )
    topic = order["topic"]
    consumer.assign([TopicPartition(topic, number, 0) for number in range(order["partitions"])])
    count, started = 0, time.monotonic()
    while count < order["records"]:
        for message in consumer.consume(5_000, 1.0):
            count += message.value() is not None
    return time.monotonic() - started


if __name__ == "__main__":
    order = json.load(sys.stdin)
    print(json.dumps({"started": time.time()}))
    readers = {"kafka-python": read_with_kafka_python, "confluent": read_with_confluent}
    print(json.dumps({"seconds": readers[order["reader"]](order)}))
