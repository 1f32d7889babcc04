"""What happens to the log between a record that is read and PostgreSQL's refusal of its row."""

import pytest

from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.settings.models import BatchSettings, KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.faults.conftest import MakeLoaders
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.topics import delete_before, recreate

pytestmark = pytest.mark.faults


def fill_with_one_bad(bench: Bench) -> Bench:
    """300 records in three partitions, of which the table refuses 150, of partition 0."""
    bench = bench.with_stream(batch=BatchSettings(max_rows=100))
    bench.create_topic()
    bench.query(
        "CREATE TABLE {table} (id integer CHECK (id <> 150),"
        " kafka_partition integer, kafka_offset bigint)"
    )
    bench.produce([{"id": number} for number in range(300)])
    return bench


def test_a_loader_killed_while_it_reads_again_leaves_nothing_half_done(
    bench: Bench, make_loaders: MakeLoaders
) -> None:
    bench = fill_with_one_bad(bench)
    loaders = make_loaders(bench)
    loaders.start("before_reread:kill").wait_killed()
    assert bench.findings() == []
    loaders.load()
    assert bench.count() == 299
    bench.assert_exactly_once()


def test_records_that_retention_removes_before_they_are_read_again_are_one_gap(
    bench: Bench, make_loaders: MakeLoaders
) -> None:
    """The batch is planned anew, and its log is shorter: that is data lost, and told as such."""
    bench = fill_with_one_bad(bench)
    loaders = make_loaders(bench)
    loader, gate = loaders.hold("before_reread@1")
    delete_before(bench, partition=0, offset=90)
    gate.open()
    assert "RETENTION_GAP" in loader.fail()
    going_on = make_loaders(bench.with_stream(on_data_loss="continue"))
    going_on.load()
    [(first, behind)] = bench.query("SELECT start_offset, end_offset FROM {schema}.gap")
    assert (behind, bench.query("SELECT count(*) FROM {schema}.dead_letter")) == (90, [(0,)])
    assert bench.count() == 300 - (behind - first)
    landed = bench.query("SELECT kafka_partition, kafka_offset FROM {table}")
    assert len(set(landed)) == len(landed)


def test_a_topic_made_anew_before_a_record_is_read_again_gives_no_dead_letter(
    bench: Bench, make_loaders: MakeLoaders
) -> None:
    bench = fill_with_one_bad(bench)
    loaders = make_loaders(bench)
    loader, gate = loaders.hold("before_reread@1")
    recreate(bench)
    bench.produce([{"id": 1000 + number} for number in range(300)])
    gate.open()
    assert "is not the topic that was loaded before" in loader.fail()
    assert bench.query("SELECT count(*) FROM {schema}.dead_letter") == [(0,)]
    assert bench.query("SELECT count(*) FROM {table} WHERE id >= 1000") == [(0,)]


def test_older_records_that_retention_removes_meanwhile_land_all_the_same(
    bench: Bench, make_loaders: MakeLoaders
) -> None:
    """They are lines already: only the rejected record has to be there."""
    bench = fill_with_one_bad(bench)  # 150 is 50 of partition 0
    bench = bench.with_stream(batch=BatchSettings(max_rows=1000))
    loaders = make_loaders(bench)
    loader, gate = loaders.hold("before_reread@1")
    delete_before(bench, partition=0, offset=40)
    gate.open()
    report = loader.finish()
    assert (report["rows"], report["dead_letters"]) == (299, 1)


def test_a_rival_that_commits_before_a_record_is_read_again_fences(
    bench: Bench, make_loaders: MakeLoaders
) -> None:
    bench = fill_with_one_bad(bench)
    loaders = make_loaders(bench)
    slow, gate = loaders.hold("before_reread@1")
    assert loaders.load()["dead_letters"] == 1
    gate.open()
    slow.finish()
    assert "another loader moved first" in slow.said()
    bench.assert_exactly_once()


def test_a_broker_that_dies_before_a_record_is_read_again_loses_none(
    own_kafka: KafkaServer,
    own_kafka_settings: KafkaSettings,
    postgres: PostgresSettings,
    bench_maker: BenchMaker,
    make_loaders: MakeLoaders,
) -> None:
    kafka = own_kafka_settings.model_copy(update={"request_timeout_seconds": 4})
    bench = fill_with_one_bad(bench_maker.make(kafka, postgres))
    loaders = make_loaders(bench)
    loader, gate = loaders.hold("before_reread@1")
    own_kafka.kill()
    gate.open()
    own_kafka.start()
    # The client may outlast it by itself; what it gives up must not end the run at once.
    assert loader.wait() == 0 or "trying again" in loader.said(), loader.said()
    loaders.load()
    assert bench.count() == 299
    bench.assert_exactly_once()
