"""Brokers killed, and logs that change under real loaders (fault matrix rows 18 and 20 to 22)."""

import time
from dataclasses import replace

import psutil
import pytest

from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.settings.models import BatchSettings, KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.faults.conftest import PLAIN, MakeLoaders, fill
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.topics import delete_before, open_transaction, recreate

pytestmark = pytest.mark.faults

FENCED = "another loader moved first"
OTHER_TOPIC = "is not the topic that was loaded before"


@pytest.fixture
def filled_bench(bench: Bench) -> Bench:
    return fill(bench, PLAIN)


# -- row 18: the broker dies ----------------------------------------------------------------------


@pytest.fixture
def bench_on_frail_broker(
    own_kafka_settings: KafkaSettings, postgres: PostgresSettings, bench_maker: BenchMaker
) -> Bench:
    kafka = own_kafka_settings.model_copy(update={"request_timeout_seconds": 4})
    return fill(bench_maker.make(kafka, postgres, batch=BatchSettings(max_rows=100)), PLAIN)


@pytest.mark.parametrize("turn", [1, 3])
def test_a_broker_killed_in_a_read_leaves_whole_batches_and_no_spin(
    bench_on_frail_broker: Bench, own_kafka: KafkaServer, make_loaders: MakeLoaders, turn: int
) -> None:
    """Row 18: the loader retries or gives up, but never burns a core for an absent broker."""
    bench = bench_on_frail_broker
    loaders = make_loaders(bench)
    gate = loaders.gate()
    loader = loaders.start(f"after_read@{turn}:{gate}")
    gate.wait_reached()
    own_kafka.kill()
    gate.open()
    process = psutil.Process(loader.process.pid)
    before = process.cpu_times()
    with pytest.raises(psutil.TimeoutExpired):
        process.wait(3)
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system < 1.5
    assert bench.count() % 100 == 0
    assert bench.findings() == []
    own_kafka.start()
    assert loader.wait() in (0, 1), loader.said()
    loaders.load()
    bench.assert_exactly_once()


def test_a_broker_that_stands_still_while_the_first_records_are_looked_at_loses_none(
    own_kafka: KafkaServer,
    own_kafka_settings: KafkaSettings,
    postgres: PostgresSettings,
    bench_maker: BenchMaker,
    make_loaders: MakeLoaders,
) -> None:
    """An empty look would be taken for a topic without records, and its table for one without
    columns, so that every record would become a dead letter."""
    bench = bench_maker.make(own_kafka_settings, postgres)
    bench.create_topic()
    bench.produce([{"id": number} for number in range(50)])
    loaders = make_loaders(bench)
    loader, gate = loaders.hold("before_sample@1")
    own_kafka.pause()
    gate.open()
    time.sleep(5)
    own_kafka.resume()
    report = loader.finish()
    assert (report["rows"], report["dead_letters"]) == (50, 0)
    bench.assert_exactly_once()


def test_without_a_broker_a_run_fails_and_moves_nothing(
    bench_on_frail_broker: Bench, own_kafka: KafkaServer, make_loaders: MakeLoaders
) -> None:
    """Row 18, between two runs."""
    bench = bench_on_frail_broker
    loaders = make_loaders(bench).impatient()
    before = bench.positions()
    own_kafka.kill()
    assert own_kafka.bootstrap_servers in loaders.start().fail()
    assert bench.positions() == before
    own_kafka.start()
    assert loaders.load()["rows"] == 1000
    bench.assert_exactly_once()


# -- row 20: retention ----------------------------------------------------------------------------


def test_retention_past_a_killed_loaders_position_is_a_failure_and_then_one_gap(
    bench: Bench, make_loaders: MakeLoaders
) -> None:
    """Row 20: nothing is loaded until the stream says continue, then every offset is told of."""
    bench = fill(bench.with_stream(batch=BatchSettings(max_rows=100)), PLAIN)
    make_loaders(bench).start("after_commit@2:kill").wait_killed()
    stored = bench.positions()
    rows = bench.count()
    assert 1000 < rows < 2000
    first_left = stored[0] + 50
    delete_before(bench, 0, first_left)
    for _ in range(2):
        said = make_loaders(bench).start().fail()
        assert f"RETENTION_GAP {bench.stream.topic}[0] [{stored[0]},{first_left}) (50 lost)" in said
        assert (bench.count(), bench.positions()) == (rows, stored)
    bench = bench.with_stream(on_data_loss="continue")
    report = make_loaders(bench).load()
    assert (report["rows"], report["absent"]) == (2000 - rows - 50, 50)
    assert bench.query("SELECT partition, start_offset, end_offset FROM {schema}.gap") == [
        (0, stored[0], first_left)
    ]
    landed = bench.query("SELECT kafka_partition, kafka_offset FROM {table}")
    assert len(landed) == len(set(landed)) == 1950
    assert set(bench.read_all()) <= set(landed)
    assert bench.findings() == []


# -- row 21: another topic under the same name ----------------------------------------------------


@pytest.mark.parametrize("new_records", [300, 6000], ids=["shorter", "longer"])
def test_a_recreated_topic_stops_every_loader_until_it_is_accepted(
    filled_bench: Bench, make_loaders: MakeLoaders, new_records: int
) -> None:
    """Row 21 (a) and (b)."""
    loaders = make_loaders(filled_bench)
    before = filled_bench.positions()
    recreate(filled_bench)
    filled_bench.produce([{"id": 10_000 + number} for number in range(new_records)])
    for _ in range(2):
        assert OTHER_TOPIC in loaders.start().fail()
    assert (filled_bench.count(), filled_bench.positions()) == (1000, before)
    accept_topic(filled_bench)
    assert loaders.load()["rows"] == new_records
    assert ids_of(filled_bench) == [*range(1000), *range(10_000, 10_000 + new_records)]
    assert filled_bench.findings() == []


def test_another_cluster_stops_every_loader_until_it_is_accepted(
    filled_bench: Bench, own_kafka_settings: KafkaSettings, make_loaders: MakeLoaders
) -> None:
    """Row 21 (c)."""
    endpoints = replace(filled_bench.endpoints, kafka=own_kafka_settings)
    elsewhere = replace(filled_bench, endpoints=endpoints)
    elsewhere.create_topic()
    elsewhere.produce([{"id": 10_000 + number} for number in range(3000)])
    loaders = make_loaders(elsewhere)
    assert "cluster id was" in loaders.start().fail()
    assert filled_bench.count() == 1000
    accept_topic(elsewhere)
    assert loaders.load()["rows"] == 3000
    assert ids_of(elsewhere) == [*range(1000), *range(10_000, 13_000)]
    assert elsewhere.findings() == []


def test_a_loader_that_slept_through_the_recreation_writes_nothing(
    filled_bench: Bench, make_loaders: MakeLoaders
) -> None:
    """Row 21 in a run: what it read is the old topic's, what it would read next is not."""
    loaders = make_loaders(filled_bench)
    zombie = loaders.start("after_read@1:stop")
    zombie.wait_frozen()
    recreate(filled_bench)
    filled_bench.produce([{"id": 10_000 + number} for number in range(6000)])
    zombie.thaw()
    assert OTHER_TOPIC in zombie.fail()
    assert ids_of(filled_bench) == list(range(1000))


def test_a_loader_that_slept_through_the_acceptance_is_fenced(
    filled_bench: Bench, make_loaders: MakeLoaders
) -> None:
    """It looked at the topic's identity before it slept: only the positions can stop it.

    Then it plans again, and the topic that was accepted meanwhile is as good as any.
    """
    loaders = make_loaders(filled_bench)
    zombie = loaders.start("before_lock@1:stop")
    zombie.wait_frozen()
    recreate(filled_bench)
    filled_bench.produce([{"id": 10_000 + number} for number in range(6000)])
    accept_topic(filled_bench)
    zombie.thaw()
    assert zombie.finish()["rows"] == 6000
    assert FENCED in zombie.said()
    assert ids_of(filled_bench) == [*range(1000), *range(10_000, 16_000)]
    assert loaders.load()["rows"] == 0
    assert filled_bench.findings() == []


# -- row 22: transactions -------------------------------------------------------------------------


def test_transactions_of_every_kind_survive_kills_with_absent_offsets_counted(
    filled_bench: Bench, make_loaders: MakeLoaders
) -> None:
    """Row 22: committed, aborted and open ones, and loaders killed on both sides of COMMIT."""
    loaders = make_loaders(filled_bench)
    with open_transaction(filled_bench, 40) as producer:
        producer.commit_transaction(30)
    with open_transaction(filled_bench, 60) as producer:
        producer.abort_transaction(30)
    with open_transaction(filled_bench, 25) as producer:
        loaders.start("after_landing:kill").wait_killed()
        loaders.start("after_commit:kill").wait_killed()
        assert filled_bench.count() == 2040
        report = loaders.load()  # nothing is waited for
        assert (report["rows"], report["lag_after"], report["outcome"]) == (0, 0, "end_of_stream")
        filled_bench.assert_exactly_once()
        producer.commit_transaction(30)
    report = loaders.load()
    assert (report["rows"], report["absent"]) == (25, 1)  # one marker
    [(absent,)] = filled_bench.query("SELECT sum(absent)::int FROM {schema}.ledger")
    assert absent == 1 + 60 + 1 + 1
    filled_bench.assert_exactly_once()


def test_an_aborted_transaction_that_was_open_is_passed_by_the_next_run(
    filled_bench: Bench, make_loaders: MakeLoaders
) -> None:
    loaders = make_loaders(filled_bench)
    with open_transaction(filled_bench, 30) as producer:
        assert loaders.load()["rows"] == 1000
        stuck = filled_bench.positions()[0]
        producer.abort_transaction(30)
    report = loaders.load()
    assert (report["rows"], report["absent"]) == (0, 31)
    assert filled_bench.positions()[0] == stuck + 31
    filled_bench.assert_exactly_once()


def accept_topic(bench: Bench) -> None:
    with bench.session() as session:
        session.moves.accept_topic(session.inspector.fetch_snapshot(bench.stream.topic))


def ids_of(bench: Bench) -> list[int]:
    return [row[0] for row in bench.query("SELECT id FROM {table} ORDER BY id")]
