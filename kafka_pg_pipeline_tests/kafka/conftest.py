"""A real broker for the session, a fresh topic for each test."""

import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest

from kafka_pg_pipeline.adapters.kafka.inspector import KafkaInspector
from kafka_pg_pipeline.adapters.kafka.kafka_python_reader import KafkaPythonReader
from kafka_pg_pipeline.adapters.kafka.reader import open_reader_factory
from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.ports import RecordReader
from kafka_pg_pipeline.settings.models import KafkaSettings
from kafka_pg_pipeline_tests.kafka.harness import Topics, open_topics

PASSWORD = "test-password"
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@pytest.fixture(scope="session")
def broker(tmp_path_factory, kafka_distribution):
    """Never stopped: tests that do harm have a broker of their own in test_outages.

    It would create topics that are asked for, cleans compacted topics at once, and has a second
    listener (``sasl_servers``) that wants a password.
    """
    port, controller_port, sasl_port = choose_ports(3)
    listeners = f"PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl_port}"
    controller = f",CONTROLLER://127.0.0.1:{controller_port}"
    properties = {
        "auto.create.topics.enable": True,
        "log.cleaner.backoff.ms": 200,
        "listeners": listeners + ("" if kafka_distribution.needs_zookeeper else controller),
        "advertised.listeners": listeners,
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT"
        ),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.plain.sasl.jaas.config": f'{LOGIN} required user_me="{PASSWORD}";',
    }
    with KafkaServer(
        tmp_path_factory.mktemp("kafka"),
        distribution=kafka_distribution,
        port=port,
        controller_port=controller_port,
        properties=properties,
        die_with_parent=True,
    ) as server:
        server.sasl_servers = f"127.0.0.1:{sasl_port}"
        yield server


def choose_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [server.getsockname()[1] for server in servers]


@pytest.fixture
def settings(broker) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=broker.bootstrap_servers)


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


@pytest.fixture(params=["kafka-python", "confluent"])
def client(request) -> str:
    """Each client that the configuration may name."""
    return request.param


@pytest.fixture
def read(settings, client) -> Iterator[Callable[..., RecordReader]]:
    """Opens readers, of each client, that are closed after the test."""
    with contextlib.ExitStack() as opened:

        def open_reader(topic, starts, isolation="read_committed", other=None):
            chosen = (other or settings).model_copy(update={"reader": client})
            reader = open_reader_factory(chosen, isolation, "test", "events")(topic, starts)
            opened.callback(reader.close)
            return reader

        yield open_reader


@pytest.fixture
def read_in_python(settings) -> Iterator[Callable[..., KafkaPythonReader]]:
    """Opens readers whose insides a test breaks."""
    with contextlib.ExitStack() as opened:

        def open_reader(topic, starts, other=None):
            reader = KafkaPythonReader(
                other or settings,
                topic,
                starts,
                isolation="read_committed",
                client_id="test",
                stream="events",
            )
            opened.callback(reader.close)
            return reader

        yield open_reader
