import time
import traceback

import pytest
from kafka.errors import CorruptRecordError

from kafka_pg_pipeline.errors import (
    InvariantError,
    KafkaUnavailableError,
    RetentionGapError,
    TopicMissingError,
    UndecodableBatchError,
)
from kafka_pg_pipeline_tests.kafka.harness import read_until
from kafka_pg_pipeline_tests.kafka.resources import assert_released, count_resources

CANARY = "canary-4111"
# librdkafka fetches by itself; so long it needs for what these tests produce.
CLIENT_READS_AHEAD_SECONDS = 1.5


def offsets(records):
    return [record.offset for _, record in records]


def test_records_come_in_offset_order_from_each_start(topics, read):
    topic = topics.create(partitions=3)
    for partition in range(3):
        topics.fill(topic, 1_000, partition=partition)

    records, _ = read_until(read(topic, {0: 0, 2: 990}), {0: 1_000, 2: 1_000}, max_records=70)

    assert [r.offset for p, r in records if p == 0] == list(range(1_000))
    assert [r.offset for p, r in records if p == 2] == list(range(990, 1_000))
    assert {p for p, _ in records} == {0, 2}


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_every_codec_is_read(topics, read, codec):
    topic = topics.create()
    topics.fill(topic, 300, compression_type=codec)
    records, _ = read_until(read(topic, {0: 0}), {0: 300})
    assert [record.value for _, record in records] == [b"value %d" % i for i in range(300)]


def test_aborted_data_and_markers_are_passed_without_waiting(topics, read):
    topic = topics.create()
    topics.fill(topic, 3)
    topics.transaction(topic, 100, end="abort")
    topics.transaction(topic, 2, end="commit")
    end = 3 + 101 + 3

    reader = read(topic, {0: 0})
    started = time.monotonic()
    records, polls = read_until(reader, {0: end}, timeout_seconds=30)

    assert offsets(records) == [0, 1, 2, 104, 105]
    assert reader.position(0) == end
    assert polls < 8
    assert time.monotonic() - started < 15


def test_markers_that_waited_in_the_client_with_records_are_passed_with_them(topics, read):
    topic = topics.create()
    topics.fill(topic, 3)
    topics.transaction(topic, 2, end="abort")
    reader = read(topic, {0: 0})
    time.sleep(CLIENT_READS_AHEAD_SECONDS)
    started = time.monotonic()
    records, _ = read_until(reader, {0: 6}, timeout_seconds=30)
    assert offsets(records) == [0, 1, 2]
    assert time.monotonic() - started < 15


def test_partition_that_ends_in_aborted_data_ends_at_once(topics, read):
    topic = topics.create()
    topics.transaction(topic, 50, end="abort")
    reader = read(topic, {0: 0})
    started = time.monotonic()
    assert reader.poll(max_records=10, timeout_seconds=30) == {}
    assert reader.position(0) == 51
    assert time.monotonic() - started < 15


def test_read_uncommitted_shows_aborted_and_open_records(topics, read):
    topic = topics.create()
    topics.transaction(topic, 4, end="abort")
    topics.transaction(topic, 3, end="open")
    records, _ = read_until(read(topic, {0: 0}, isolation="read_uncommitted"), {0: 8})
    assert offsets(records) == [0, 1, 2, 3, 5, 6, 7]


def test_open_transaction_holds_the_reader_back(topics, read):
    topic = topics.create()
    topics.fill(topic, 10)
    topics.transaction(topic, 5, end="open")
    topics.fill(topic, 10)
    reader = read(topic, {0: 0})
    records, _ = read_until(reader, {0: 10})
    assert offsets(records) == list(range(10))
    assert reader.poll(max_records=100, timeout_seconds=1) == {}
    assert reader.position(0) == 10


def test_compaction_leaves_holes_and_the_position_passes_them(topics, read):
    topic = topics.create(
        cleanup_policy="compact",
        segment_ms=100,
        min_cleanable_dirty_ratio=0.001,
        max_compaction_lag_ms=100,
    )
    producer = topics.producer()
    for index in range(50):
        producer.send(topic, key=b"k%d" % (index % 2), value=b"%d" % index)
        producer.flush(10)
    time.sleep(0.3)
    producer.send(topic, key=b"last", value=b"rolls the segment")
    producer.flush(10)

    for _ in range(60):
        reader = read(topic, {0: 0})
        records, _ = read_until(reader, {0: 51})
        if len(records) == 3:
            break
        reader.close()
        time.sleep(0.5)

    assert [record.value for _, record in records] == [b"48", b"49", b"rolls the segment"]
    assert reader.position(0) == 51


def test_null_and_empty_stay_apart_and_headers_keep_order_and_duplicates(topics, read):
    topic = topics.create()
    producer = topics.producer()
    headers = [("h", b"1"), ("h", b""), ("ü", b"\xff")]
    producer.send(topic, key=b"tombstone", value=None)
    producer.send(topic, key=None, value=b"")
    producer.send(topic, key=b"", value=b"v", headers=headers)
    producer.flush(10)

    records, _ = read_until(read(topic, {0: 0}), {0: 3})
    first, second, third = (record for _, record in records)

    assert (first.key, first.value) == (b"tombstone", None)
    assert (second.key, second.value) == (None, b"")
    assert (third.key, list(third.headers)) == (b"", headers)
    assert (third.timestamp_type, third.partition) == (0, 0)
    assert third.timestamp > 1_600_000_000_000


class Unprintable(str):
    """A header name that goes over the wire as bytes that are not UTF-8."""

    def encode(self, *_args):
        return b"\xff" + CANARY.encode()


def test_header_name_not_utf8_ends_the_reader_naming_its_place(topics, read):
    topic = topics.create()
    topics.fill(topic, 5)
    send_undecodable(topics, topic)
    before = count_resources()
    reader = read(topic, {0: 0})

    started, cpu = time.monotonic(), time.process_time()
    with pytest.raises(UndecodableBatchError) as caught:
        read_until(reader, {0: 6})

    assert f"{topic}[0]@5" in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
    assert_of_no_further_use(reader)
    assert time.monotonic() - started < 15
    assert time.process_time() - cpu < 2
    assert_released(before)


def test_corrupted_batch_ends_the_reader_naming_its_place(topics, read, broker):
    topic = topics.create()
    topics.fill(topic, 3)
    topics.fill(topic, 3)
    segment = broker.directory / "data" / f"{topic}-0" / "00000000000000000000.log"
    content = bytearray(segment.read_bytes())
    content[-1] ^= 0xFF
    segment.write_bytes(content)

    reader = read(topic, {0: 0})
    with pytest.raises(UndecodableBatchError, match=rf"{topic}\[0\]@3"):
        read_until(reader, {0: 6})
    assert_of_no_further_use(reader)


def test_tight_loop_of_the_client_is_ended_by_the_watchdog(topics, read_in_python, settings):
    topic = topics.create()
    topics.fill(topic, 1)
    send_undecodable(topics, topic)
    impatient = settings.model_copy(update={"request_timeout_seconds": 1.0})
    reader = read_in_python(topic, {0: 0}, other=impatient)
    assert reader._consumer.poll(timeout_ms=2_000)
    with pytest.raises(CorruptRecordError):
        reader._consumer.poll(timeout_ms=2_000)

    started = time.monotonic()  # the poll after an exception never returns by itself
    with pytest.raises(KafkaUnavailableError, match="no answer within"):
        reader.poll(max_records=10, timeout_seconds=1)

    assert time.monotonic() - started < 20
    assert_of_no_further_use(reader)


def send_undecodable(topics, topic):
    producer = topics.producer()
    producer.send(topic, value=CANARY.encode(), headers=[(Unprintable("x"), b"1")], partition=0)
    producer.flush(10)


def test_missing_codec_says_what_to_install(topics, read_in_python, monkeypatch):
    topic = topics.create()
    topics.fill(topic, 3, compression_type="zstd")
    monkeypatch.setattr("kafka.codec.has_zstd", lambda: False)
    reader = read_in_python(topic, {0: 0})
    with pytest.raises(UndecodableBatchError, match=r"@0 .*pip install 'kafka-python\[zstd\]'"):
        read_until(reader, {0: 3})


def assert_of_no_further_use(reader):
    for use in (
        lambda: reader.poll(max_records=1, timeout_seconds=0.1),
        lambda: reader.position(0),
        lambda: reader.finish(0),
    ):
        with pytest.raises(InvariantError, match="open another"):
            use()
    reader.close()


def test_deleted_records_are_a_retention_gap(topics, read):
    topic = topics.create()
    topics.fill(topic, 20)
    topics.delete_records(topic, 15)
    reader = read(topic, {0: 10})
    with pytest.raises(RetentionGapError, match=rf"{topic}\[0\]@10"):
        read_until(reader, {0: 20})
    assert_of_no_further_use(reader)


def test_start_behind_the_end_is_never_reset(topics, read):
    topic = topics.create()
    topics.fill(topic, 5)
    with pytest.raises(RetentionGapError, match=rf"{topic}\[0\]@100"):
        read_until(read(topic, {0: 100}), {0: 101})


def test_missing_topic_is_told_when_opening_and_leaves_nothing(read):
    read_missing(read)
    before = count_resources()
    for _ in range(20):
        read_missing(read)
    assert_released(before)


def read_missing(read):
    with pytest.raises(TopicMissingError, match="no-such-topic"):
        read("no-such-topic", {0: 0})


def test_missing_partition_is_told_when_opening(topics, read):
    topic = topics.create(partitions=2)
    with pytest.raises(TopicMissingError, match=rf"{topic}\[2\].*has 2 partitions"):
        read(topic, {0: 0, 2: 0})


def test_finished_partition_delivers_no_more_and_the_others_go_on(topics, read):
    topic = topics.create(partitions=2)
    topics.fill(topic, 100, partition=0)
    topics.fill(topic, 100, partition=1)
    reader = read(topic, {0: 0, 1: 0})
    while reader.position(0) < 50:
        reader.poll(max_records=10, timeout_seconds=2)
    stopped_at, passed = reader.position(0), reader.position(1)
    reader.finish(0)
    records, _ = read_until(reader, {1: 100}, max_records=10)
    # Which partition comes first is the broker's choice.
    assert [partition for partition, _ in records] == [1] * (100 - passed)
    assert reader.position(0) == stopped_at


def test_broken_batch_behind_a_finished_partition_is_no_concern(topics, read):
    topic = topics.create(partitions=2)
    topics.fill(topic, 5, partition=0)
    topics.fill(topic, 2_000, partition=1)
    send_undecodable(topics, topic)
    reader = read(topic, {0: 0, 1: 0})
    while reader.position(0) < 5:
        reader.poll(max_records=5, timeout_seconds=2)
    reader.finish(0)
    read_until(reader, {1: 2_000}, max_records=100)


def test_broken_batch_that_waited_in_the_client_is_no_concern_once_its_partition_is_finished(
    topics, read
):
    topic = topics.create(partitions=2)
    topics.fill(topic, 5, partition=0)
    topics.fill(topic, 200, partition=1)
    send_undecodable(topics, topic)
    reader = read(topic, {0: 0, 1: 0})
    time.sleep(CLIENT_READS_AHEAD_SECONDS)
    found = []
    while reader.position(0) < 5:
        for partition, batch in reader.poll(max_records=5_000, timeout_seconds=2).items():
            found += [(partition, record) for record in batch]
    reader.finish(0)
    if reader.position(1) < 200:
        found += read_until(reader, {1: 200}, max_records=100)[0]
    assert reader.poll(max_records=100, timeout_seconds=0.5) == {}
    assert [r.offset for p, r in found if p == 0] == list(range(5))
    assert [r.offset for p, r in found if p == 1] == list(range(200))


def test_poll_returns_empty_in_time_at_the_end(topics, read):
    topic = topics.create()
    topics.fill(topic, 1)
    reader = read(topic, {0: 1})
    started = time.monotonic()
    assert reader.poll(max_records=10, timeout_seconds=0.5) == {}
    assert 0.3 < time.monotonic() - started < 8


def test_record_produced_while_waiting_arrives_at_once(topics, read):
    topic = topics.create()
    reader = read(topic, {0: 0})
    assert reader.poll(max_records=10, timeout_seconds=0.2) == {}
    topics.fill(topic, 1)
    started = time.monotonic()
    assert len(reader.poll(max_records=10, timeout_seconds=30)[0]) == 1
    assert time.monotonic() - started < 15


def test_large_record_is_read_whole(topics, read):
    topic = topics.create(max_message_bytes=20_000_000)
    producer = topics.producer(max_request_size=20_000_000)
    producer.send(topic, value=b"x" * 12_000_000)
    producer.flush(20)
    records, _ = read_until(read(topic, {0: 0}), {0: 1})
    assert len(records[0][1].value) == 12_000_000


def test_interrupt_closes_the_reader(topics, read_in_python, monkeypatch):
    topic = topics.create()
    reader = read_in_python(topic, {0: 0})

    def interrupt(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(reader._consumer, "poll", interrupt)
    with pytest.raises(KeyboardInterrupt):
        reader.poll(max_records=1, timeout_seconds=1)
    assert_of_no_further_use(reader)


def test_closing_leaves_nothing_and_may_be_repeated(topics, read):
    topic = topics.create()
    topics.fill(topic, 10)
    before = count_resources()
    for _ in range(5):
        reader = read(topic, {0: 0})
        read_until(reader, {0: 10})
        reader.close()
        reader.close()
    assert_released(before)
