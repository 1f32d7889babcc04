"""The loops that people write: kafka-python, then an INSERT a record or execute_values. A script.

Neither knows after a crash what it has loaded.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg2
from kafka import KafkaConsumer, TopicPartition
from psycopg2.extras import execute_values

PAGE_ROWS = 1_000


def insert_each(cursor: Any, statement: str, rows: Sequence[list[Any]]) -> None:
    for row in rows:
        cursor.execute(f"{statement} ({', '.join(['%s'] * len(row))})", row)


def insert_pages(cursor: Any, statement: str, rows: Sequence[list[Any]]) -> None:
    execute_values(cursor, f"{statement} %s", rows, page_size=PAGE_ROWS)


def loop(order: dict[str, Any], write: Callable[[Any, str, Sequence[list[Any]]], None]) -> float:
    names = [name for name, _ in order["columns"]]
    statement = f'INSERT INTO "{order["table"]}" ({", ".join(names)}) VALUES'
    connection = psycopg2.connect(**order["postgres"])
    cursor = connection.cursor()
    consumer = KafkaConsumer(
        bootstrap_servers=order["bootstrap_servers"], group_id=None, max_poll_records=PAGE_ROWS
    )
    partitions = [TopicPartition(order["topic"], number) for number in range(order["partitions"])]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    left, started = order["records"], time.monotonic()
    while left:
        found = consumer.poll(timeout_ms=1_000)
        messages = [message for batch in found.values() for message in batch][:left]
        events = [json.loads(message.value) for message in messages]
        write(cursor, statement, [[event[name] for name in names] for event in events])
        connection.commit()
        left -= len(messages)
    return time.monotonic() - started


if __name__ == "__main__":
    order = json.load(sys.stdin)
    print(json.dumps({"started": time.time()}))
    ways = {"insert": insert_each, "execute-values": insert_pages}
    print(json.dumps({"seconds": loop(order, ways[order["way"]])}))
