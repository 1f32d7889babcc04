import socket
import time

import pytest

from kafka_pg_pipeline.adapters.kafka import inspector as inspector_module
from kafka_pg_pipeline.adapters.kafka.metadata import TopicMetadata
from kafka_pg_pipeline.domain.offsets import TopicIdentity
from kafka_pg_pipeline.errors import KafkaUnavailableError, TopicMissingError
from kafka_pg_pipeline.settings.models import KafkaSettings
from kafka_pg_pipeline_tests.kafka.resources import assert_released, count_resources


def test_open_transaction_stands_between_stable_end_and_high_watermark(topics, inspect):
    topic = topics.create()
    topics.fill(topic, 10)
    topics.transaction(topic, 5, end="open")

    committed = inspect().fetch_snapshot(topic).partitions[0]
    uncommitted = inspect("read_uncommitted").fetch_snapshot(topic).partitions[0]

    assert (committed.begin_offset, committed.end_offset, committed.high_watermark) == (0, 10, 15)
    assert (uncommitted.end_offset, uncommitted.high_watermark) == (15, 15)


def test_snapshot_has_every_partition_in_order(topics, inspect):
    topic = topics.create(partitions=5)
    topics.fill(topic, 3, partition=4)
    topics.delete_records(topic, 2, partition=4)

    snapshot = inspect().fetch_snapshot(topic)

    assert [bounds.partition for bounds in snapshot.partitions] == [0, 1, 2, 3, 4]
    assert (snapshot.bounds(4).begin_offset, snapshot.bounds(4).end_offset) == (2, 3)
    assert snapshot.bounds(3).end_offset == 0


def test_many_topics_at_once_are_seen_as_each_by_itself_and_a_missing_one_is_left_out(
    topics, inspect
):
    quiet, busy = topics.create(), topics.create(partitions=3)
    topics.fill(busy, 4, partition=2)
    topics.transaction(busy, 2, end="open", partition=2)
    inspector = inspect()

    found = inspector.fetch_snapshots([quiet, "there-is-none", busy])

    assert found == {topic: inspector.fetch_snapshot(topic) for topic in (quiet, busy)}
    bounds = found[busy].bounds(2)
    assert (bounds.end_offset, bounds.high_watermark) == (4, 6)
    assert inspector.fetch_snapshots(["there-is-none"]) == {}


def test_recreated_topic_has_another_id_and_the_same_cluster(topics, inspect):
    topic = topics.create()
    inspector = inspect()
    before = inspector.fetch_identity(topic)

    topics.admin.delete_topics([topic])
    _wait_until_missing(inspector, topic)
    topics.create(name=topic)
    after = inspector.fetch_identity(topic)

    assert before.cluster_id == after.cluster_id is not None
    assert before.topic_id != after.topic_id
    assert isinstance(after.topic_id, str)
    assert inspector.fetch_snapshot(topic).identity == after


def _wait_until_missing(inspector, topic):
    for _ in range(100):
        try:
            inspector.fetch_identity(topic)
        except TopicMissingError:
            return
        time.sleep(0.1)
    pytest.fail("the topic was not deleted")


def test_missing_topic_is_told_at_once_with_a_near_name_and_not_created(topics, inspect):
    topic = topics.create(name=f"shop.orders-{time.time_ns()}")
    inspector = inspect(deadline_seconds=60)
    inspector.fetch_identity(topic)
    wrong = topic.replace("orders", "order")

    started = time.monotonic()
    with pytest.raises(TopicMissingError, match=f"did you mean .*{topic}"):
        inspector.fetch_snapshot(wrong)

    assert time.monotonic() - started < 15  # retries would go on for 30 s
    assert wrong not in topics.admin.list_topics()
    assert inspector.fetch_identity(topic).topic_id  # the inspector stays usable


def test_offset_at_a_time_is_the_first_not_earlier_else_the_stable_end(topics, inspect):
    topic = topics.create(partitions=2)
    producer = topics.producer()
    for stamp in (1_000, 2_000, 3_000):
        producer.send(topic, value=b"x", partition=0, timestamp_ms=stamp)
    producer.flush(10)
    topics.transaction(topic, 2, end="open", partition=0)
    inspector = inspect()

    assert inspector.fetch_offsets_at(topic, 2_000) == {0: 1, 1: 0}
    assert inspector.fetch_offsets_at(topic, 2_001) == {0: 2, 1: 0}
    assert inspector.fetch_offsets_at(topic, 2**62) == {0: 3, 1: 0}
    assert inspector.fetch_offsets_at(topic, -5) == {0: 0, 1: 0}


def test_leaderless_partition_is_named_after_bounded_retries(topics, inspect, monkeypatch):
    topic = topics.create(partitions=3)
    found = TopicMetadata(TopicIdentity("c", "t"), partitions=(0, 1, 2), leaderless=(1,))
    monkeypatch.setattr(inspector_module, "fetch_topic_metadata", lambda *_: found)

    started = time.monotonic()
    with pytest.raises(KafkaUnavailableError, match=rf"{topic}\[1\]"):
        inspect(deadline_seconds=6).fetch_snapshot(topic)

    assert time.monotonic() - started < 10


def test_offsets_that_are_not_told_fail_instead_of_a_partial_snapshot(topics, inspect, monkeypatch):
    topic = topics.create(partitions=2)
    inspector = inspect(deadline_seconds=6)
    inspector.fetch_identity(topic)
    admin = inspector._session.admin
    ask = admin.list_partition_offsets

    def forget_one(specs, **options):
        return {key: value for key, value in ask(specs, **options).items() if key.partition != 1}

    monkeypatch.setattr(admin, "list_partition_offsets", forget_one)
    with pytest.raises(KafkaUnavailableError, match=rf"{topic}\[1\]"):
        inspector.fetch_snapshot(topic)


def test_inspector_connects_again_after_an_error(topics, inspect):
    topic = topics.create()
    inspector = inspect()
    inspector.fetch_identity(topic)
    inspector._session.keeper.close()

    with pytest.raises(KafkaUnavailableError):
        inspector.fetch_identity(topic)
    assert inspector.fetch_identity(topic).topic_id


def test_twenty_failing_inspectors_leave_no_thread_and_no_descriptor(monkeypatch):
    monkeypatch.setattr(
        "kafka_pg_pipeline.adapters.kafka.connection.BOOTSTRAP_TIMEOUT_SECONDS", 0.2
    )
    refused = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    _fail_to_inspect(refused)
    before = count_resources()
    for _ in range(20):
        _fail_to_inspect(refused)
    assert_released(before)


def _fail_to_inspect(settings):
    inspector = inspector_module.KafkaInspector(
        settings, isolation="read_committed", client_id="test"
    )
    with pytest.raises(KafkaUnavailableError, match="refuses connections: start the broker"):
        inspector.fetch_snapshot("any")
    # No close(): a failed call has to clean up by itself.


def test_closing_leaves_nothing_and_may_be_repeated(topics, settings):
    topic = topics.create()
    before = count_resources()
    inspector = inspector_module.KafkaInspector(
        settings, isolation="read_committed", client_id="test"
    )
    inspector.fetch_snapshot(topic)
    inspector.close()
    inspector.close()
    assert_released(before)


def test_unknown_host_name_is_told_with_its_cure(monkeypatch):
    monkeypatch.setattr(
        "kafka_pg_pipeline.adapters.kafka.connection.BOOTSTRAP_TIMEOUT_SECONDS", 0.5
    )
    settings = KafkaSettings(bootstrap_servers="no-such-host.invalid:9092")
    inspector = inspector_module.KafkaInspector(
        settings, isolation="read_committed", client_id="test"
    )
    with pytest.raises(KafkaUnavailableError, match=r"unknown host name: correct kafka\.bootstrap"):
        inspector.fetch_snapshot("any")


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_listener_that_never_answers_costs_no_descriptor(protocol):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = KafkaSettings(
            bootstrap_servers=f"127.0.0.1:{silent.getsockname()[1]}", security_protocol=protocol
        )
        _fail_in_silence(settings)
        before = count_resources()
        for _ in range(5):
            _fail_in_silence(settings)
        assert_released(before)


def _fail_in_silence(settings):
    inspector = inspector_module.KafkaInspector(
        settings, isolation="read_committed", client_id="test", deadline_seconds=2.3
    )
    with pytest.raises(KafkaUnavailableError):
        inspector.fetch_snapshot("any")


def test_plain_listener_asked_for_tls_is_told_with_its_cure(broker, monkeypatch):
    monkeypatch.setattr(
        "kafka_pg_pipeline.adapters.kafka.connection.BOOTSTRAP_TIMEOUT_SECONDS", 1.0
    )
    settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers, security_protocol="SSL")
    inspector = inspector_module.KafkaInspector(
        settings, isolation="read_committed", client_id="test"
    )
    with pytest.raises(KafkaUnavailableError, match=r"kafka\.security_protocol SSL may not fit"):
        inspector.fetch_snapshot("any")
