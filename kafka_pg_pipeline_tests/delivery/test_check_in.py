"""First positions and late plans: what was decided before somebody else moved must do no harm."""

import threading

import pytest

from kafka_pg_pipeline.errors import IncarnationChangedError
from kafka_pg_pipeline.pipeline.plan import freeze_plan, place_new_partitions
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.topics import recreate
from kafka_pg_pipeline_tests.waiting import wait_until


def grow(bench: Bench, partitions: int) -> None:
    """Add partitions and wait until the broker lists them."""
    bench.add_partitions(partitions)
    with bench.session() as session:
        wait_until(
            lambda: (
                len(session.inspector.fetch_snapshot(bench.stream.topic).partitions) == partitions
            )
        )


def test_partitions_that_a_rival_did_not_know_start_at_their_first_record(bench: Bench) -> None:
    """Both take the stream for new; what the first one does not know is no longer new."""
    bench = bench.with_stream(start="latest")
    bench.create_topic()
    bench.produce([{"id": number} for number in range(30)])
    with bench.session() as rival, bench.session() as session:
        early = rival.inspector.fetch_snapshot(bench.stream.topic)
        grow(bench, 6)
        bench.produce([{"id": 1}] * 60, partition=lambda index: 3 + index % 3)
        late = session.inspector.fetch_snapshot(bench.stream.topic)
        starts = place_new_partitions(bench.stream, late, (), session.inspector)
        assert starts[3] == 20
        rival.positions.check_in(
            early, place_new_partitions(bench.stream, early, (), rival.inspector)
        )
        positions = session.positions.check_in(late, starts).positions
    assert [position.next_offset for position in positions] == [10, 10, 10, 0, 0, 0]
    assert bench.load().counts.rows == 60


def test_partitions_of_a_topic_that_is_gone_do_not_join_its_successor(bench: Bench) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}])
    bench.load()
    grow(bench, 6)
    with bench.session() as session:
        old = session.inspector.fetch_snapshot(bench.stream.topic)
        recreate(bench, 3)
        session.moves.accept_topic(session.inspector.fetch_snapshot(bench.stream.topic))
        with pytest.raises(IncarnationChangedError):
            session.positions.check_in(old, {})
    assert bench.query("SELECT count(*), count(DISTINCT topic_id) FROM {schema}.state") == [(3, 1)]


def test_a_topic_recreated_before_the_first_load_is_loaded_as_it_is_now(bench: Bench) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}] * 30)
    with bench.session() as session:
        plan = freeze_plan(bench.name, bench.stream, session.inspector)
        recreate(bench, 3)
        bench.produce([{"id": 2}] * 60)
        assert session.loader.load(plan, stop=threading.Event()).counts.rows == 60
    bench.assert_exactly_once()


def test_a_plan_from_before_the_topic_was_accepted_anew_loads_the_new_topic(bench: Bench) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}] * 30)
    bench.load()
    with bench.session() as session:
        plan = freeze_plan(bench.name, bench.stream, session.inspector)
        recreate(bench, 3)
        bench.produce([{"id": 2}] * 60)
        session.moves.accept_topic(session.inspector.fetch_snapshot(bench.stream.topic))
        assert session.loader.load(plan, stop=threading.Event()).counts.rows == 60
    assert bench.count() == 90
    assert bench.findings() == []


def test_a_plan_from_before_the_topic_grew_is_carried_out(bench: Bench) -> None:
    bench.create_topic()
    bench.produce([{"id": 1}] * 30)
    with bench.session() as session:
        plan = freeze_plan(bench.name, bench.stream, session.inspector)
        grow(bench, 6)
        bench.produce([{"id": 2}] * 60, partition=lambda index: index % 6)
        bench.load()
        bench.produce([{"id": 3}] * 60, partition=lambda index: index % 6)
        session.loader.load(plan, stop=threading.Event())
    bench.load()
    assert bench.count() == 150
    bench.assert_exactly_once()
