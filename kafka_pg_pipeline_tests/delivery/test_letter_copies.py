"""Copies of dead letters on a topic: complete, at least once, and never the reason of a failure."""

import uuid
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_pg_pipeline.domain.letters import LetterFilter
from kafka_pg_pipeline.settings.models import DeadLetterSettings
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_streams import Bench

UNCOPIED = "SELECT count(*) FROM {schema}.dead_letter WHERE copied_at IS NULL"


def one_partition(_: int) -> int:
    return 0


def with_copies(bench: Bench, *, max_message_bytes: int = 1_000_000) -> Bench:
    """A stream whose dead letters are copied to a topic of their own, which exists."""
    bench = bench.with_stream(dead_letters=DeadLetterSettings(topic=f"{bench.stream.topic}.dead"))
    create_letter_topic(bench, max_message_bytes=max_message_bytes)
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    return bench


def create_letter_topic(bench: Bench, *, max_message_bytes: int = 1_000_000) -> None:
    name = letter_topic(bench)
    admin = AdminClient({"bootstrap.servers": bench.bootstrap_servers})
    topic = NewTopic(name, 1, 1, config={"max.message.bytes": str(max_message_bytes)})
    admin.create_topics([topic])[name].result(30)


def letter_topic(bench: Bench) -> str:
    assert bench.stream.dead_letters.topic
    return bench.stream.dead_letters.topic


def read_copies(bench: Bench) -> list[Any]:
    """All messages of the topic of dead letters, by librdkafka."""
    consumer = Consumer(
        {"bootstrap.servers": bench.bootstrap_servers, "group.id": f"oracle-{uuid.uuid4()}"}
    )
    place = TopicPartition(letter_topic(bench), 0, 0)
    try:
        _, end = consumer.get_watermark_offsets(place, 30)
        consumer.assign([place])
        found: list[Any] = []
        while len(found) < end:
            found += consumer.consume(end - len(found), 30)
        return found
    finally:
        consumer.close()


def test_a_copy_is_the_record_as_it_was_and_says_what_was_wrong(bench: Bench) -> None:
    bench = with_copies(bench)
    bench.produce(
        [
            {"id": 1},
            FakeRecord(b'{"id": "a"}', key=b"k\x00\xff", headers=(("h", b"\x00"), ("h", None))),
            b"{broken",
        ],
        partition=one_partition,
    )
    report = bench.load()
    assert (report.counts.dead, report.warnings) == (2, ())
    first, second = read_copies(bench)
    assert (first.key(), first.value()) == (b"k\x00\xff", b'{"id": "a"}')
    assert first.headers() == [
        ("h", b"\x00"),
        ("h", b""),
        ("kafka_pg.stream", bench.name.encode()),
        ("kafka_pg.topic", bench.stream.topic.encode()),
        ("kafka_pg.partition", b"0"),
        ("kafka_pg.offset", b"1"),
        ("kafka_pg.stage", b"encode"),
        ("kafka_pg.reason", b"wrong_type"),
        ("kafka_pg.column", b"id"),
    ]
    assert (second.key(), second.value()) == (None, b"{broken")
    assert bench.query(UNCOPIED) == [(0,)]
    assert bench.load().counts.dead == 0
    assert len(read_copies(bench)) == 2
    bench.assert_exactly_once()


def test_a_record_without_key_and_value_is_copied_with_an_empty_value(bench: Bench) -> None:
    bench = with_copies(bench)
    bench.query("ALTER TABLE {table} ALTER id SET NOT NULL")
    bench.produce([None], partition=one_partition)
    assert bench.load().counts.dead == 1
    [copy] = read_copies(bench)
    assert (copy.key(), copy.value() or b"") == (None, b"")
    assert bench.query(UNCOPIED) == [(0,)]


def test_a_topic_that_is_missing_is_a_warning_and_is_made_up_for_by_the_next_run(
    bench: Bench,
) -> None:
    bench = bench.with_stream(dead_letters=DeadLetterSettings(topic=f"{bench.stream.topic}.dead"))
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    bench.produce([{"id": 1}, b"broken", {"id": 2}], partition=one_partition)
    report = bench.load()
    assert (report.counts.rows, report.counts.dead) == (2, 1)
    [warning] = report.warnings
    assert letter_topic(bench) in warning
    assert f"the next `kafka-pg load {bench.name}`" in warning
    assert bench.query(UNCOPIED) == [(1,)]
    create_letter_topic(bench)
    assert bench.load().warnings == ()
    assert [copy.value() for copy in read_copies(bench)] == [b"broken"]
    assert bench.query(UNCOPIED) == [(0,)]


def test_a_copy_that_the_topic_refuses_holds_up_no_other(bench: Bench) -> None:
    bench = with_copies(bench, max_message_bytes=2_000)
    noise = uuid.uuid4().hex.encode()
    large = b"{" + b"".join(
        uuid.uuid5(uuid.NAMESPACE_DNS, f"{noise!r}{n}").bytes for n in range(400)
    )
    bench.produce([b"broken", large, b"broken too"], partition=one_partition)
    [warning] = bench.load().warnings
    assert "refused the copies of 1 dead letters" in warning
    assert sorted(copy.value() for copy in read_copies(bench)) == [b"broken", b"broken too"]
    assert bench.query(UNCOPIED) == [(1,)]
    with bench.session() as session:
        session.letters.discard(LetterFilter(offset=1), run_id="tidy")
    assert bench.load().warnings == ()


def test_what_was_resolved_before_it_was_copied_is_not_copied(bench: Bench) -> None:
    plain = bench.with_stream(dead_letters=DeadLetterSettings())
    plain.create_topic()
    plain.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    plain.produce([b"one", b"two"], partition=one_partition)
    plain.load()
    with plain.session() as session:
        session.letters.discard(LetterFilter(offset=0), run_id="tidy")
    bench = bench.with_stream(dead_letters=DeadLetterSettings(topic=f"{bench.stream.topic}.dead"))
    create_letter_topic(bench)
    bench.load()
    assert [copy.value() for copy in read_copies(bench)] == [b"two"]


@pytest.mark.parametrize("count", [1, 2_500])
def test_all_letters_are_copied_however_many(bench: Bench, count: int) -> None:
    bench = with_copies(bench)
    letters = bench.stream.dead_letters
    bench = bench.with_stream(
        dead_letters=letters.model_copy(
            update={"max_records": 5_000, "max_share": 1.0, "max_run_records": 5_000}
        )
    )
    bench.produce([b"%d" % number for number in range(count)], partition=one_partition)
    assert bench.load().counts.dead == count
    assert [copy.value() for copy in read_copies(bench)] == [b"%d" % n for n in range(count)]
    assert bench.query(UNCOPIED) == [(0,)]
