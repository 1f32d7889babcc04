"""Brokers killed, frozen and restarted: a broker of this module's own."""

import time

import pytest

from kafka_pg_pipeline.adapters.kafka.producer import produce_values
from kafka_pg_pipeline.errors import KafkaUnavailableError
from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.settings.models import KafkaSettings
from kafka_pg_pipeline_tests.kafka.harness import open_topics, read_until
from kafka_pg_pipeline_tests.kafka.resources import assert_released, count_resources

pytestmark = pytest.mark.faults

REQUEST_TIMEOUT_SECONDS = 4.0


@pytest.fixture(scope="module")
def victim(tmp_path_factory, kafka_distribution):
    directory = tmp_path_factory.mktemp("victim")
    with KafkaServer(directory, distribution=kafka_distribution, die_with_parent=True) as server:
        yield server


@pytest.fixture
def hurt(victim):
    """The broker to do harm to; healthy before and after each test."""
    victim.start()
    yield victim
    victim.resume()
    victim.start()


@pytest.fixture
def settings(victim):
    return KafkaSettings(
        bootstrap_servers=victim.bootstrap_servers,
        request_timeout_seconds=REQUEST_TIMEOUT_SECONDS,
    )


@pytest.fixture
def topic(hurt):
    topics = open_topics(hurt.bootstrap_servers)
    name = topics.create(partitions=2)
    topics.fill(name, 500, partition=0)
    for producer in topics.producers:
        producer.close()
    topics.admin.close()
    return name


def read_for_ever(reader):
    while True:
        reader.poll(max_records=100, timeout_seconds=1)


@pytest.mark.parametrize("harm", ["kill", "pause"])
def test_silent_broker_ends_the_reader_in_time_without_spinning(hurt, topic, read, harm):
    before = count_resources()
    reader = read(topic, {0: 0, 1: 0})
    read_until(reader, {0: 500})
    getattr(hurt, harm)()

    started, cpu = time.monotonic(), time.process_time()
    with pytest.raises(KafkaUnavailableError) as caught:
        read_for_ever(reader)
    elapsed, used = time.monotonic() - started, time.process_time() - cpu

    assert elapsed < 2 * REQUEST_TIMEOUT_SECONDS + 12
    assert used / elapsed < 0.5
    cure = "start the broker" if harm == "kill" else "the broker hangs"
    assert cure in str(caught.value)
    assert hurt.bootstrap_servers in str(caught.value)
    assert_released(before)


@pytest.mark.parametrize("harm", ["kill", "pause"])
def test_open_inspector_gives_up_in_time_and_recovers(hurt, topic, inspect, harm):
    inspector = inspect(deadline_seconds=8)
    identity = inspector.fetch_identity(topic)
    before = count_resources()
    getattr(hurt, harm)()

    started, cpu = time.monotonic(), time.process_time()
    with pytest.raises(KafkaUnavailableError):
        inspector.fetch_snapshot(topic)
    elapsed, used = time.monotonic() - started, time.process_time() - cpu

    assert elapsed < 14
    assert used / elapsed < 0.5
    assert_released(before)
    hurt.resume()
    hurt.start()
    assert inspector.fetch_identity(topic) == identity


def test_frozen_broker_refuses_a_new_inspector_in_time(hurt, topic, inspect):
    hurt.pause()
    before = count_resources()
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(KafkaUnavailableError):
            inspect(deadline_seconds=4).fetch_identity(topic)
        assert time.monotonic() - started < 8
    assert_released(before, seconds=20)


def test_frozen_broker_refuses_a_new_reader_in_time(hurt, topic, read):
    hurt.pause()
    before = count_resources()
    started = time.monotonic()
    with pytest.raises(KafkaUnavailableError):
        read(topic, {0: 0})
    assert time.monotonic() - started < 30
    assert_released(before, seconds=20)


def test_restarted_broker_is_read_on_when_it_is_back_in_time(hurt, topic, read):
    patient = KafkaSettings(bootstrap_servers=hurt.bootstrap_servers, request_timeout_seconds=180)
    reader = read(topic, {0: 0, 1: 0}, other=patient)
    read_until(reader, {0: 500})
    hurt.restart()
    topics = open_topics(hurt.bootstrap_servers)
    topics.fill(topic, 10)
    records, _ = read_until(reader, {0: 510})
    assert [record.offset for _, record in records] == list(range(500, 510))
    topics.producers[0].close()
    topics.admin.close()


def test_inspector_outlives_a_restart(hurt, topic, inspect):
    inspector = inspect()
    identity = inspector.fetch_identity(topic)
    hurt.restart()
    assert inspector.fetch_identity(topic) == identity


def test_producing_to_a_killed_broker_counts_what_was_acknowledged(hurt, topic, settings):
    before = count_resources()

    def values():
        for index in range(100_000):
            if index == 50_000:
                hurt.kill()
            yield None, b"x%d" % index

    started = time.monotonic()
    with pytest.raises(KafkaUnavailableError, match=r"\d+ values were acknowledged before"):
        produce_values(settings, topic, values())
    assert time.monotonic() - started < 6 * REQUEST_TIMEOUT_SECONDS
    assert_released(before)
