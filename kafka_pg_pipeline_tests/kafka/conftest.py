"""A real broker for the session, a fresh topic for each test."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from kafka_pg_pipeline.adapters.kafka.inspector import KafkaInspector
from kafka_pg_pipeline.adapters.kafka.reader import KafkaPythonReader
from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.settings.models import KafkaSettings

FAST_CLEANER = {"log.cleaner.backoff.ms": 200}


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    directory = tmp_path_factory.mktemp("kafka")
    with KafkaServer(directory, properties=FAST_CLEANER, die_with_parent=True) as server:
        yield server


@pytest.fixture
def settings(broker) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=broker.bootstrap_servers)


@dataclass
class Topics:
    """What tests do to a broker, as other programs would."""

    servers: str
    admin: KafkaAdminClient
    producers: list[KafkaProducer]

    def create(self, partitions: int = 1, name: str | None = None, **configs: object) -> str:
        topic = name or f"t-{uuid.uuid4().hex[:12]}"
        texts = {key.replace("_", "."): str(value) for key, value in configs.items()}
        self.admin.create_topics({topic: {"num_partitions": partitions, "configs": texts}})
        self.admin.wait_for_topics([topic])
        return topic

    def producer(self, **options: object) -> KafkaProducer:
        producer = KafkaProducer(bootstrap_servers=self.servers, linger_ms=5, **options)
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
        for index in range(count):
            producer.send(topic, value=b"tx %d" % index, partition=partition)
        producer.flush(20)
        if end == "commit":
            producer.commit_transaction()
        elif end == "abort":
            producer.abort_transaction()
        return producer

    def delete_records(self, topic: str, before: int, partition: int = 0) -> None:
        self.admin.delete_records({TopicPartition(topic, partition): before})


def open_topics(servers: str) -> Topics:
    return Topics(servers, KafkaAdminClient(bootstrap_servers=servers), [])


@pytest.fixture
def topics(broker) -> Iterator[Topics]:
    topics = open_topics(broker.bootstrap_servers)
    yield topics
    for producer in topics.producers:
        producer.close(5)
    topics.admin.close()


@pytest.fixture
def inspect(settings) -> Iterator[Callable[..., KafkaInspector]]:
    """Opens inspectors that are closed after the test."""
    opened: list[KafkaInspector] = []

    def open_inspector(isolation="read_committed", deadline_seconds=20.0, other=None):
        inspector = KafkaInspector(
            other or settings,
            isolation=isolation,
            client_id="test",
            deadline_seconds=deadline_seconds,
        )
        opened.append(inspector)
        return inspector

    yield open_inspector
    for inspector in opened:
        inspector.close()


@pytest.fixture
def read(settings) -> Iterator[Callable[..., KafkaPythonReader]]:
    """Opens readers that are closed after the test."""
    opened: list[KafkaPythonReader] = []

    def open_reader(topic, starts, isolation="read_committed", other=None):
        reader = KafkaPythonReader(
            other or settings, topic, starts, isolation=isolation, client_id="test"
        )
        opened.append(reader)
        return reader

    yield open_reader
    for reader in opened:
        reader.close()


def read_until(reader, ends, max_records=500):
    """All records of the partitions up to ``ends``, and how many polls that took."""
    records = []
    for polls in itertools.count(1):
        assert polls < 200, "the reader does not reach the end"
        for partition, batch in reader.poll(max_records=max_records, timeout_seconds=2).items():
            records += [(partition, record) for record in batch]
        if all(reader.position(partition) >= end for partition, end in ends.items()):
            return records, polls
    raise AssertionError
