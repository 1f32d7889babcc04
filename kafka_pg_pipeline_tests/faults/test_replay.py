"""Replays that die, freeze, meet each other or lose the answer to COMMIT; copies cut short."""

from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_pg_pipeline.settings.models import DeadLetterSettings
from kafka_pg_pipeline_tests.configuration import write_file
from kafka_pg_pipeline_tests.faults.conftest import MakeLoaders
from kafka_pg_pipeline_tests.faults.loaders import count_sessions
from kafka_pg_pipeline_tests.faults.test_postgres import through
from kafka_pg_pipeline_tests.fix_proxy import Loss
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.waiting import wait_until

pytestmark = pytest.mark.faults

OPEN = "SELECT count(*) FROM {schema}.dead_letter WHERE resolved_at IS NULL"
AUDITED = "SELECT count(*) FROM {schema}.audit WHERE action = 'replay-dead-letters'"
PLAIN = "CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)"
STAGED = (
    "CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint,"
    " UNIQUE (kafka_partition, kafka_offset))"
)


@pytest.fixture(params=[PLAIN, STAGED], ids=["plain", "staged"])
def rejected(request: pytest.FixtureRequest, bench: Bench) -> Bench:
    """300 rows, and 30 dead letters that fit since the column was widened."""
    return fill(bench, request.param)


def fill(bench: Bench, table: str = PLAIN) -> Bench:
    bench.create_topic()
    bench.query(table)
    bench.produce([{"id": number} for number in range(300)])
    bench.produce([{"id": 2**40 + number} for number in range(30)])
    bench.load()
    assert (bench.count(), bench.query(OPEN)) == (300, [(30,)])
    bench.query("ALTER TABLE {table} ALTER id TYPE bigint")
    return bench


@pytest.mark.parametrize(
    "failpoint",
    ["after_replay_lock", "in_copy@1", "after_replay_write", "before_replay_commit"],
)
def test_a_replay_killed_before_commit_leaves_the_letters_as_they_were(
    rejected: Bench, make_loaders: MakeLoaders, failpoint: str
) -> None:
    loaders = make_loaders(rejected)
    loaders.replay(f"{failpoint}:kill").wait_killed()
    assert (rejected.count(), rejected.query(OPEN)) == (300, [(30,)])
    assert loaders.replay().finish_command()["replayed"] == 30
    assert (rejected.count(), rejected.query(OPEN)) == (330, [(0,)])
    rejected.assert_exactly_once()


def test_a_replay_killed_after_commit_replays_nothing_again(
    rejected: Bench, make_loaders: MakeLoaders
) -> None:
    loaders = make_loaders(rejected)
    loaders.replay("after_replay_commit:kill").wait_killed()
    assert (rejected.count(), rejected.query(OPEN)) == (330, [(0,)])
    assert loaders.replay().finish_command()["replayed"] == 0
    assert rejected.query(AUDITED) == [(1,)]
    rejected.assert_exactly_once()


@pytest.mark.parametrize("rivals", [2, 4])
def test_of_replays_at_once_each_letter_has_one(
    rejected: Bench, make_loaders: MakeLoaders, rivals: int
) -> None:
    """The first holds the locks; the others have chosen the same letters and wait for it."""
    loaders = make_loaders(rejected)
    gate = loaders.gate()
    first = loaders.replay(f"before_replay_commit@1:{gate}")
    gate.wait_reached()
    others = [loaders.replay() for _ in range(rivals - 1)]
    wait_until(lambda: count_waiting(rejected) == rivals - 1)
    gate.open()
    replayed = [replay.finish_command()["replayed"] for replay in (first, *others)]
    assert replayed == [30, *[0] * (rivals - 1)]
    rejected.assert_exactly_once()


def test_a_frozen_replay_is_ended_by_the_server_and_its_letters_are_taken_by_another(
    rejected: Bench, make_loaders: MakeLoaders
) -> None:
    """The idle timeout of a transaction is 10 s."""
    loaders = make_loaders(rejected)
    frozen = loaders.replay("before_replay_commit@1:stop")
    frozen.wait_frozen()
    assert loaders.replay().finish_command()["replayed"] == 30
    frozen.thaw()
    assert frozen.finish_command()["replayed"] == 0
    rejected.assert_exactly_once()


def test_a_lost_answer_to_commit_is_resolved_to_committed(
    bench: Bench, make_loaders: MakeLoaders, make_proxy: Any
) -> None:
    bench = fill(bench)
    server = bench.endpoints.postgres
    proxy = make_proxy(server.host, server.port)
    proxy.lose(Loss.ANSWER)
    replay = make_loaders(through(bench, proxy)).replay()
    assert replay.finish_command()["replayed"] == 30
    assert proxy.losses == 1
    assert "UNKNOWN resolved to committed" in replay.said()
    assert bench.query(AUDITED) == [(1,)]
    bench.assert_exactly_once()


def test_a_commit_that_never_arrives_is_replayed_once_more(
    bench: Bench, make_loaders: MakeLoaders, make_proxy: Any
) -> None:
    bench = fill(bench)
    server = bench.endpoints.postgres
    proxy = make_proxy(server.host, server.port)
    proxy.lose(Loss.COMMIT)
    replay = make_loaders(through(bench, proxy)).replay()
    assert replay.finish_command()["replayed"] == 30
    assert proxy.losses == 1
    assert "UNKNOWN resolved to not committed" in replay.said()
    assert bench.query(AUDITED) == [(1,)]
    bench.assert_exactly_once()


@pytest.mark.parametrize("table", ["{table}", "{schema}.dead_letter"])
def test_a_full_disk_makes_no_dead_letter(
    bench: Bench, make_loaders: MakeLoaders, table: str
) -> None:
    """Case 7; the server says 53100 through a trigger, of rows or of the letters themselves."""
    bench.create_topic()
    bench.query(PLAIN)
    bench.produce([{"id": 1}])
    bench.load()
    positions = bench.positions()
    bench.produce([{"id": n} for n in range(500)] + [b"{", {"id": "abc"}, {"id": 2**40}])
    bench.query(
        "CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = 'disk_full'; END $$"
    )
    bench.query(
        f"CREATE TRIGGER is_full BEFORE INSERT ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION {schema}.refuse()"
    )
    loaders = make_loaders(bench).impatient()
    assert "53100" in loaders.start().fail()
    assert (bench.count(), bench.positions(), bench.query(OPEN)) == (1, positions, [(0,)])
    bench.query(f"DROP TRIGGER is_full ON {table}")
    report = loaders.load()
    assert (report["rows"], report["dead_letters"]) == (500, 3)
    bench.assert_exactly_once()


# -- copies on a topic of dead letters ------------------------------------------------------------


@pytest.mark.parametrize(
    ("failpoint", "copies"), [("before_letters_copied", 2), ("after_letters_copied", 4)]
)
def test_copies_cut_short_by_a_kill_are_made_by_the_next_run(
    bench: Bench, make_loaders: MakeLoaders, failpoint: str, copies: int
) -> None:
    """At least once: where the broker has them and the mark is missing, they come once more."""
    topic = f"{bench.stream.topic}.dead"
    bench = bench.with_stream(dead_letters=DeadLetterSettings(topic=topic))
    admin = AdminClient({"bootstrap.servers": bench.bootstrap_servers})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    bench.create_topic()
    bench.query(PLAIN)
    bench.produce([{"id": 1}, b"one", {"id": 2}, b"two"])
    loaders = make_loaders(bench)
    write_file(loaders.file, bench, **{bench.name: {"dead_letters": {"topic": topic}}})
    loaders.start(f"{failpoint}:kill").wait_killed()
    assert (bench.count(), bench.query(OPEN)) == (2, [(2,)])
    assert loaders.load()["warnings"] == []
    found = read_values(bench, topic)
    assert (len(found), set(found)) == (copies, {b"one", b"two"})
    assert loaders.load()["rows"] == 0
    assert len(read_values(bench, topic)) == copies
    bench.assert_exactly_once()


def read_values(bench: Bench, topic: str) -> list[Any]:
    consumer = Consumer({"bootstrap.servers": bench.bootstrap_servers, "group.id": topic})
    place = TopicPartition(topic, 0, 0)
    try:
        _, end = consumer.get_watermark_offsets(place, 30)
        consumer.assign([place])
        return [message.value() for message in consumer.consume(end, 30)]
    finally:
        consumer.close()


def count_waiting(bench: Bench) -> int:
    return count_sessions(bench, "wait_event_type = 'Lock'")
