"""What Kafka's log can hold and do: transactions, compaction, retention, recreated topics."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import Producer

from kafka_pg_pipeline.domain.batches import WriteResult
from kafka_pg_pipeline.domain.planning import count_blocked
from kafka_pg_pipeline.domain.reports import Outcome
from kafka_pg_pipeline.errors import (
    ConfigurationError,
    IncarnationChangedError,
    LogRewrittenError,
    RetentionGapError,
)
from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.settings.models import BatchSettings, KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker, load_in
from kafka_pg_pipeline_tests.topics import delete_before, open_transaction, recreate
from kafka_pg_pipeline_tests.waiting import wait_until


def in_first(_: int) -> int:
    return 0


def events(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": number} for number in range(first, first + count)]


# -- case 5 ---------------------------------------------------------------------------------------


def test_a_single_new_record_is_loaded_at_once(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(9))
    bench.load()
    bench.produce(events(1, first=9), partition=lambda _: 2)
    report = bench.load()
    assert (report.counts.rows, report.counts.absent) == (1, 0)


def test_commit_markers_at_the_end_are_passed_by_position(bench: Bench) -> None:
    bench.create_topic()
    with open_transaction(bench, 10) as producer:
        producer.commit_transaction(30)
    report = bench.load()
    assert (report.counts.rows, report.counts.absent) == (10, 1)
    assert report.lag_after == 0
    assert bench.positions()[0] == 11
    assert bench.load().partitions == ()
    bench.assert_exactly_once()


def test_an_end_that_is_a_marker_is_reached_while_records_keep_coming(bench: Bench) -> None:
    bench.create_topic()
    with open_transaction(bench, 10) as producer:
        producer.commit_transaction(30)
    over = threading.Event()

    def keep_producing() -> None:
        source = Producer({"bootstrap.servers": bench.bootstrap_servers, "linger.ms": 0})
        while not over.wait(0.002):
            source.produce(bench.stream.topic, b'{"id": 0}', partition=0)
            source.poll(0)
        source.flush(30)

    with bench.session() as session, ThreadPoolExecutor(2) as pool:
        plan = freeze_plan(session.name, bench.stream, session.inspector)
        producing = pool.submit(keep_producing)
        try:
            wait_until(lambda: len(bench.read_all()) > 20)
            loading = pool.submit(session.loader.load, plan, stop=over)
            report = loading.result(30)
        finally:
            over.set()
        producing.result()
    assert (report.outcome, report.counts.rows) == (Outcome.END_OF_STREAM, 10)
    assert bench.positions()[0] == 11
    bench.load()
    bench.assert_exactly_once()


def test_aborted_records_are_absent_under_read_committed(bench: Bench) -> None:
    bench.create_topic()
    with open_transaction(bench, 100) as producer:
        producer.abort_transaction(30)
    report = bench.load()
    assert (report.counts.rows, report.counts.absent) == (0, 101)
    assert bench.positions()[0] == 101
    bench.produce(events(3), partition=in_first)
    assert bench.load().counts.rows == 3
    bench.assert_exactly_once()


def test_aborted_records_are_rows_under_read_uncommitted(bench: Bench) -> None:
    bench = bench.with_stream(isolation="read_uncommitted")
    bench.create_topic()
    with open_transaction(bench, 100) as producer:
        producer.abort_transaction(30)
    assert bench.load().counts.rows == 100
    assert bench.positions()[0] == 101
    assert bench.findings() == []


def test_compacted_holes_are_absent_and_the_position_is_past_them(bench: Bench) -> None:
    """Offsets 0, 3 and 7 are left, an aborted record and its marker end the log at 10."""
    bench.create_topic(
        1,
        **{
            "cleanup.policy": "compact",
            "segment.ms": "100",
            "min.cleanable.dirty.ratio": "0.01",
            "max.compaction.lag.ms": "200",
        },
    )
    producer = Producer({"bootstrap.servers": bench.bootstrap_servers})
    for number, key in enumerate([b"a", b"b", b"b", b"b", b"c", b"c", b"c", b"c"]):
        producer.produce(bench.stream.topic, b'{"id": %d}' % number, key=key)
    assert producer.flush(30) == 0
    time.sleep(0.2)  # what comes next opens another segment, so that the cleaner may touch this one
    with open_transaction(bench, 1) as transactional:
        transactional.abort_transaction(30)
    wait_until(lambda: sorted(bench.read_all()) == [(0, 0), (0, 3), (0, 7)], 60)
    report = bench.load()
    assert (report.counts.rows, report.counts.absent) == (3, 7)
    assert bench.positions() == {0: 10}
    assert bench.query("SELECT id FROM {table} ORDER BY id") == [(0,), (3,), (7,)]
    bench.assert_exactly_once()


# -- case 6 ---------------------------------------------------------------------------------------


def test_an_open_transaction_is_neither_read_nor_waited_for(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(200), partition=in_first)
    with open_transaction(bench, 1463) as producer:
        started = time.monotonic()
        report = bench.load()
        assert time.monotonic() - started < 30  # the transaction times out after 60 s
        assert (report.outcome, report.counts.rows) == (Outcome.END_OF_STREAM, 200)
        assert (report.lag_after, bench.positions()[0]) == (0, 200)
        with bench.session() as session:
            snapshot = session.inspector.fetch_snapshot(bench.stream.topic)
        assert (snapshot.partitions[0].end_offset, count_blocked(snapshot)) == (200, 1463)
        assert bench.load().partitions == ()
        producer.commit_transaction(30)
    report = bench.load()
    assert (report.counts.rows, report.counts.absent) == (1463, 1)
    bench.assert_exactly_once()


def test_committed_records_behind_an_open_transaction_wait_for_it(bench: Bench) -> None:
    bench.create_topic()
    with open_transaction(bench, 50) as producer:
        bench.produce(events(20), partition=in_first)
        assert bench.load().partitions == ()
        producer.abort_transaction(30)
    report = bench.load()
    assert (report.counts.rows, report.counts.absent) == (20, 51)
    bench.assert_exactly_once()


# -- case 9: retention ----------------------------------------------------------------------------


def make_gap(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(1000), partition=in_first)
    bench.load()
    bench.produce(events(1000, first=1000), partition=in_first)
    delete_before(bench, 0, 1500)


def test_a_retention_gap_fails_with_its_range_before_any_write(bench: Bench) -> None:
    make_gap(bench)
    message = rf"{bench.stream.topic}\[0\] \[1000,1500\) \(500 lost\)"
    for _ in range(2):
        with pytest.raises(RetentionGapError, match=message):
            bench.load()
    assert bench.count() == 1000
    assert bench.positions()[0] == 1000


def test_a_gap_is_recorded_and_passed_when_the_stream_says_continue(bench: Bench) -> None:
    make_gap(bench)
    bench = bench.with_stream(on_data_loss="continue")
    report = bench.load()
    assert (report.counts.rows, report.counts.absent) == (500, 500)
    gaps = bench.query("SELECT partition, start_offset, end_offset, reason FROM {schema}.gap")
    assert gaps == [(0, 1000, 1500, "retention")]
    assert bench.positions()[0] == 2000
    assert bench.findings() == []


def test_a_gap_is_passed_after_an_operator_accepts_it(bench: Bench) -> None:
    make_gap(bench)
    with bench.session() as session:
        gaps = session.moves.accept_gaps(session.inspector.fetch_snapshot(bench.stream.topic))
        assert [(gap.start_offset, gap.end_offset) for gap in gaps] == [(1000, 1500)]
    assert bench.load().counts.rows == 500
    assert bench.findings() == []


def test_everything_removed_before_it_was_loaded_is_a_gap_without_rows(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(100), partition=in_first)
    bench.load()
    bench.produce(events(100), partition=in_first)
    delete_before(bench, 0, 200)
    bench = bench.with_stream(on_data_loss="continue")
    report = bench.load()
    assert (report.counts.rows, report.counts.absent) == (0, 100)
    assert bench.positions()[0] == 200
    assert bench.findings() == []


@pytest.mark.parametrize("policy", ["fail", "continue"])
def test_retention_that_overtakes_a_running_load_is_never_a_silent_reset(
    bench: Bench, policy: str
) -> None:
    """The plan is frozen, then the log's beginning moves past the position."""
    bench = bench.with_stream(on_data_loss=policy, batch=BatchSettings(max_rows=100))
    bench.create_topic()
    bench.produce(events(100), partition=in_first)
    bench.load()
    bench.produce(events(900, first=100), partition=in_first)
    with bench.session() as session:
        inspector = session.inspector
        fetch = inspector.fetch_snapshot
        calls: list[int] = []

        def fetch_then_delete(topic: str) -> Any:
            snapshot = fetch(topic)
            if not calls:
                delete_before(bench, 0, 400)
            calls.append(1)
            return snapshot

        inspector.fetch_snapshot = fetch_then_delete  # type: ignore[method-assign]
        if policy == "fail":
            with pytest.raises(RetentionGapError, match=r"\[100,400\) \(300 lost\)"):
                load_in(session)
            assert bench.count() == 100
        else:
            report = load_in(session)
            assert (report.counts.rows, report.counts.absent) == (600, 300)
    assert bench.findings() == []


@pytest.mark.parametrize("policy", ["fail", "continue"])
def test_retention_that_overtakes_the_reading_is_never_a_silent_reset(
    bench: Bench, policy: str
) -> None:
    """The first batch is committed when the rest, too large to be fetched ahead, is removed."""
    bench = bench.with_stream(on_data_loss=policy, batch=BatchSettings(max_rows=100))
    bench.create_topic()
    padding = "x" * 40_000
    bench.produce([{"id": n, "text": padding} for n in range(1000)], partition=in_first)
    committed: list[int] = []

    def remove(result: WriteResult) -> None:
        if not committed:
            delete_before(bench, 0, 950)
        committed.extend(entry.offsets.end_offset for entry in result.entries)

    with bench.session() as session:
        plan = freeze_plan(session.name, bench.stream, session.inspector)
        if policy == "fail":
            with pytest.raises(RetentionGapError) as caught:
                session.loader.load(plan, stop=threading.Event(), listener=remove)
            assert f"[0] [{committed[-1]},950) ({950 - committed[-1]} lost)" in str(caught.value)
            assert bench.count() == committed[-1] == bench.positions()[0]
        else:
            report = session.loader.load(plan, stop=threading.Event(), listener=remove)
            [(start, end)] = bench.query("SELECT start_offset, end_offset FROM {schema}.gap")
            assert (end, report.counts.rows, report.counts.absent) == (
                950,
                1000 - (end - start),
                end - start,
            )
            assert bench.positions()[0] == 1000
    assert 100 <= committed[0] < 950
    assert bench.findings() == []


# -- case 10: another topic or cluster ------------------------------------------------------------


@pytest.mark.parametrize("new_records", [300, 5000], ids=["shorter", "longer"])
def test_a_recreated_topic_stops_the_stream_until_it_is_accepted(
    bench: Bench, new_records: int
) -> None:
    bench.create_topic()
    bench.produce(events(1000), partition=in_first)
    bench.load()
    recreate(bench)
    bench.produce(events(new_records, first=1000), partition=in_first)
    with pytest.raises(IncarnationChangedError, match=r"topic id was .*, is .*accept-topic"):
        bench.load()
    assert bench.count() == 1000
    with bench.session() as session:
        session.moves.accept_topic(session.inspector.fetch_snapshot(bench.stream.topic))
    assert bench.load().counts.rows == new_records
    assert bench.count() == 1000 + new_records
    assert bench.query("SELECT DISTINCT incarnation FROM {schema}.state") == [(2,)]
    assert bench.findings() == []


def test_a_topic_recreated_between_plan_and_write_is_noticed(bench: Bench) -> None:
    """No record was loaded before, so that only the topic's id can tell."""
    bench.create_topic()
    bench.produce(events(10), partition=in_first)
    with bench.session() as session:
        open_writer = session.loader._ports.open_writer

        def recreate_first(target: Any) -> Any:
            recreate(bench)
            bench.produce(events(50, first=500), partition=in_first)
            return open_writer(target)

        object.__setattr__(session.loader._ports, "open_writer", recreate_first)
        with pytest.raises(IncarnationChangedError):
            load_in(session)
    assert bench.count() == 0
    assert bench.positions()[0] == 0


def test_another_cluster_under_the_same_name_stops_the_stream(
    bench: Bench, own_kafka: KafkaServer
) -> None:
    bench.create_topic()
    bench.produce(events(10))
    bench.load()
    elsewhere = Bench(
        bench.name,
        bench.stream,
        type(bench.endpoints)(
            KafkaSettings(bootstrap_servers=own_kafka.bootstrap_servers),
            bench.endpoints.postgres,
            "test",
            "test",
        ),
    )
    elsewhere.create_topic()
    elsewhere.produce(events(100))
    with pytest.raises(IncarnationChangedError, match=r"cluster id was .*, is "):
        elsewhere.load()
    assert bench.count() == 10


def test_a_rewritten_log_is_told_by_the_last_loaded_record(
    bench: Bench, kafka: KafkaSettings, postgres: PostgresSettings, bench_maker: BenchMaker
) -> None:
    """Same topic id, another record at the tail: a restored or truncated broker."""
    bench.create_topic()
    bench.produce(events(10), partition=in_first)
    bench.load()
    pipeline = bench.endpoints.postgres.schema_name
    bench.query(
        f"UPDATE {pipeline}.state SET tail_digest = '\\x00112233445566778899aabbccddeeff'"
        " WHERE partition = 0"
    )
    bench.produce(events(5, first=10), partition=in_first)
    with pytest.raises(LogRewrittenError, match=r"\[0\]@9 is not the record"):
        bench.load()
    assert bench.count() == 10


# -- operator moves -------------------------------------------------------------------------------


def test_a_reset_backwards_deletes_the_rows_it_loads_again(bench: Bench) -> None:
    bench.create_topic()
    bench.produce([*events(50), b"broken"], partition=in_first)
    bench.load()
    with bench.session() as session:
        target = session.catalog.fetch_target()
        session.moves.reset({0: 20}, target, allow_duplicates=False)
    assert bench.count() == 20
    report = bench.load()
    assert (report.counts.rows, report.counts.dead) == (30, 1)
    bench.assert_exactly_once()


def test_a_reset_that_would_double_rows_is_refused(bench: Bench) -> None:
    bench = bench.with_stream(metadata={})
    bench.create_topic()
    bench.produce(events(50), partition=in_first)
    bench.load()
    with bench.session() as session:
        target = session.catalog.fetch_target()
        with pytest.raises(ConfigurationError, match="second time"):
            session.moves.reset({0: 20}, target, allow_duplicates=False)
    assert bench.positions()[0] == 50


def test_a_reset_over_rows_that_cannot_be_told_from_others_is_refused(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(50), partition=in_first)
    bench.with_stream(metadata={}).load()
    bench.query("ALTER TABLE {table} ADD kafka_partition integer, ADD kafka_offset bigint")
    bench.produce(events(50, first=50), partition=in_first)
    bench.load()
    with bench.session() as session:
        target = session.catalog.fetch_target()
        with pytest.raises(ConfigurationError, match="rows without partition and offset"):
            session.moves.reset({0: 0}, target, allow_duplicates=False)
    assert bench.count() == 100


def test_a_reset_takes_no_row_of_another_topic_away(bench: Bench) -> None:
    bench.create_topic()
    bench.produce(events(50), partition=in_first)
    bench.load()
    successor = bench.with_stream(topic=f"{bench.stream.topic}.v2")
    successor.create_topic()
    successor.produce(events(50), partition=in_first)
    successor.load()
    with successor.session() as session:
        target = session.catalog.fetch_target()
        assert target is not None
        with pytest.raises(ConfigurationError, match=f"rows of topic {bench.stream.topic}"):
            session.moves.reset({0: 0}, target, allow_duplicates=False)
        verification = session.inspection.verify(target)
    assert bench.count() == 100
    assert (verification.findings, "duplicates" in verification.unchecked) == ((), True)
