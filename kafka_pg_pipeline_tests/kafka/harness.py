"""What other programs do to a broker while ours look at it."""

import itertools
import uuid
from dataclasses import dataclass

import confluent_kafka
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.errors import TopicAlreadyExistsError, UnknownError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from kafka_pg_pipeline.adapters.kafka.connection import ClientKeeper
from kafka_pg_pipeline.adapters.kafka.sockets import DIRECT
from kafka_pg_pipeline_tests.topics import wait_until_stable


@dataclass
class Topics:
    """What tests do to a broker, as other programs would."""

    servers: str
    admin: KafkaAdminClient
    producers: list[KafkaProducer]

    def create(self, partitions: int = 1, name: str | None = None, **configs: object) -> str:
        topic = name or f"t-{uuid.uuid4().hex[:12]}"
        texts = {key.replace("_", "."): str(value) for key, value in configs.items()}
        wanted = {topic: {"num_partitions": partitions, "configs": texts}}
        retrying = Retrying(
            # A topic of that name still being deleted, or a broker that has just started.
            retry=retry_if_exception_type((TopicAlreadyExistsError, UnknownError)),
            stop=stop_after_delay(20),
            wait=wait_fixed(0.2),
            reraise=True,
        )
        retrying(self.admin.create_topics, wanted)
        self.admin.wait_for_topics([topic])
        return topic

    def producer(self, **options: object) -> KafkaProducer:
        producer = KafkaProducer(
            bootstrap_servers=self.servers,
            kafka_client=ClientKeeper(),
            proxy_url=DIRECT,
            linger_ms=5,
            **options,
        )
        self.producers.append(producer)
        return producer

    def fill(self, topic: str, count: int, partition: int = 0, **options: object) -> None:
        producer = self.producer(**options)
        for index in range(count):
            producer.send(topic, value=b"value %d" % index, partition=partition)
        producer.flush(20)

    def transaction(self, topic: str, count: int, end: str, partition: int = 0) -> KafkaProducer:
        """Records in a transaction that is committed, aborted or left open."""
        producer = self.producer(transactional_id=f"tx-{uuid.uuid4().hex}")
        producer.init_transactions()
        producer.begin_transaction()
        sent = [
            producer.send(topic, value=b"tx %d" % index, partition=partition)
            for index in range(count)
        ]
        producer.flush(20)
        if end == "commit":
            producer.commit_transaction()
        elif end == "abort":
            producer.abort_transaction()
        if end != "open":
            # The broker answers before the marker is in the log.
            last_offset = sent[-1].get(20).offset
            place = confluent_kafka.TopicPartition(topic, partition, last_offset)
            wait_until_stable(self.servers, place)
        return producer

    def delete_records(self, topic: str, before: int, partition: int = 0) -> None:
        self.admin.delete_records({TopicPartition(topic, partition): before})


def open_topics(servers: str) -> Topics:
    return Topics(
        servers,
        KafkaAdminClient(bootstrap_servers=servers, kafka_client=ClientKeeper(), proxy_url=DIRECT),
        [],
    )


def read_until(reader, ends, max_records=500, timeout_seconds=2):
    """All records of the partitions up to ``ends``, and how many polls that took."""
    records = []
    for polls in itertools.count(1):
        assert polls < 200, "the reader does not reach the end"
        found = reader.poll(max_records=max_records, timeout_seconds=timeout_seconds)
        for partition, batch in found.items():
            records += [(partition, record) for record in batch]
        if all(reader.position(partition) >= end for partition, end in ends.items()):
            return records, polls
    raise AssertionError
