"""Following: records land as they arrive, in few commits, and in none where none arrive."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from confluent_kafka import Producer

from kafka_pg_pipeline.assembly.following import PACE_SECONDS, Following
from kafka_pg_pipeline.assembly.loading import Limits, Loaded
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.settings.models import DeadLetterSettings
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker


@dataclass
class Heard:
    """What was told of each stream."""

    rounds: list[Loaded] = field(default_factory=list)
    pauses: list[str] = field(default_factory=list)
    failures: list[tuple[str, PipelineError]] = field(default_factory=list)

    def loaded(self, loaded: Loaded) -> None:
        self.rounds.append(loaded)

    def paused(self, stream: str, pause: str) -> None:
        self.pauses.append(f"{stream}: {pause}")

    def failed(self, stream: str, error: PipelineError) -> None:
        self.failures.append((stream, error))


def follow(*benches: Bench, stop: threading.Event, heard: Heard, seconds: float = 60) -> Following:
    return Following(
        benches[0].endpoints,
        {bench.name: bench.stream for bench in benches},
        limits=Limits(max_seconds=seconds),
        stop=stop,
        listener=heard,
        new_run_id=lambda: "test",
    )


@contextmanager
def following(*benches: Bench, heard: Heard) -> Iterator[Following]:
    """Follows in a thread while the block runs; the stop is heard within a second."""
    stop = threading.Event()
    made = follow(*benches, stop=stop, heard=heard)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def wait_for(rows: int, bench: Bench, seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while bench.count() < rows:
        assert time.monotonic() < give_up, f"{bench.count()} of {rows} rows"
        time.sleep(0.05)


def produce_slowly(bench: Bench, count: int, every_seconds: float) -> None:
    producer = Producer({"bootstrap.servers": bench.bootstrap_servers, "linger.ms": 0})
    for number in range(count):
        producer.produce(bench.stream.topic, b'{"id": %d}' % number, partition=number % 3)
        producer.flush(10)
        time.sleep(every_seconds)


def test_records_land_as_they_arrive_in_few_commits_and_none_when_idle(bench: Bench) -> None:
    bench.create_topic()
    bench.query("CREATE TABLE {table} (id integer, kafka_partition integer, kafka_offset bigint)")
    heard = Heard()
    with following(bench, heard=heard):
        started = time.monotonic()
        produce_slowly(bench, 100, every_seconds=0.02)
        wait_for(100, bench)
        rounds = (time.monotonic() - started) / PACE_SECONDS + 2
        [(commits,)] = bench.query("SELECT count(DISTINCT batch_id) FROM {schema}.ledger")
        assert 2 <= commits <= rounds
        time.sleep(2)
        assert bench.query("SELECT count(DISTINCT batch_id) FROM {schema}.ledger") == [(commits,)]
    assert sum(loaded.report.counts.rows for loaded in heard.rounds) == 100
    bench.assert_exactly_once()


def test_one_stream_without_its_topic_is_left_out_and_the_others_go_on(
    bench: Bench, bench_maker: BenchMaker
) -> None:
    missing = bench_maker.make(bench.endpoints.kafka, bench.endpoints.postgres)
    missing = missing.with_postgres(schema_name=bench.endpoints.postgres.schema_name)
    bench.create_topic()
    heard = Heard()
    with following(missing, bench, heard=heard) as made:
        bench.produce([{"id": 1}])
        wait_for(1, bench_with_table(bench))
        bench.produce([{"id": 2}])
        wait_for(2, bench)
    assert [name for name, _ in heard.failures] == [missing.name]
    assert list(made.errors) == [missing.name]
    assert set(made.positions) == {bench.name}


def bench_with_table(bench: Bench) -> Bench:
    """Waits until the first round has made the table."""
    give_up = time.monotonic() + 60
    while bench.query("SELECT to_regclass(%s)", bench.stream.table) == [(None,)]:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    return bench


def test_a_reset_and_a_pause_of_an_idle_stream_are_noticed(bench: Bench, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("kafka_pg_pipeline.assembly.following._WHOLE_LOOK_SECONDS", 0.5)
    bench.create_topic(partitions=1)
    bench.produce([{"id": number} for number in range(10)], partition=lambda _: 0)
    heard = Heard()
    with following(bench, heard=heard):
        wait_for(10, bench_with_table(bench))
        with bench.session() as session:
            target = session.catalog.fetch_target()
            session.moves.reset({0: 6}, target, allow_duplicates=True)
        wait_for(14, bench)
        with bench.session() as session:
            session.moves.pause("for a while")
        give_up = time.monotonic() + 60
        while not heard.pauses:
            assert time.monotonic() < give_up
            time.sleep(0.05)
    assert "for a while" in heard.pauses[0]


def test_the_budget_of_dead_letters_is_one_for_all_rounds(bench: Bench) -> None:
    bench = bench.with_stream(
        dead_letters=DeadLetterSettings(max_records=5, max_run_records=6, max_share=1.0)
    )
    bench.create_topic()
    bench.produce([{"id": 1}])
    heard = Heard()
    with following(bench, heard=heard):
        wait_for(1, bench_with_table(bench))
        give_up = time.monotonic() + 60
        while not heard.failures:
            assert time.monotonic() < give_up
            bench.produce([b"broken"] * 3)
            time.sleep(2 * PACE_SECONDS)
    [(name, error)] = heard.failures
    assert (name, type(error).__name__) == (bench.name, "DeadLetterBudgetError")
    assert bench.query("SELECT count(*) FROM {schema}.dead_letter") in ([(3,)], [(6,)])


def test_it_ends_by_itself_after_its_time(bench: Bench) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    heard = Heard()
    follow(bench, stop=threading.Event(), heard=heard, seconds=1).run()
    assert bench.count() == 1
    assert len(heard.rounds) == 1
