"""What the tests ask of the servers."""

import contextlib
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg2
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.local.postgres_server import PostgresServer


def create_topic(server: KafkaServer, topic: str) -> None:
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=server.bootstrap_servers)) as admin:
        admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])


def produce(server: KafkaServer, topic: str, *values: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=server.bootstrap_servers, acks="all")
    with contextlib.closing(producer):
        for value in values:
            producer.send(topic, value).get(timeout=20)


def consume(server: KafkaServer, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(
        bootstrap_servers=server.bootstrap_servers,
        auto_offset_reset="earliest",
        group_id=None,
        consumer_timeout_ms=15_000,
    )
    with contextlib.closing(consumer):
        consumer.assign([TopicPartition(topic, 0)])
        return [record.value for _, record in zip(range(count), consumer, strict=False)]


@contextlib.contextmanager
def connected(server: PostgresServer) -> Iterator[Any]:
    with contextlib.closing(psycopg2.connect(**server.connection_parameters())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def ask(server: PostgresServer, query: str) -> Any:
    with connected(server) as cursor:
        cursor.execute(query)
        return None if cursor.description is None else cursor.fetchone()[0]


def list_listening_addresses(pid: int) -> set[str]:
    """Return the addresses of listening TCP sockets and the paths of named Unix sockets."""
    process = psutil.Process(pid)
    tcp = {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    unix = {c.laddr for c in process.net_connections("unix") if c.laddr}
    return tcp | unix
