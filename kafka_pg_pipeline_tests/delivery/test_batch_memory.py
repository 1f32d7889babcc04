"""How many batches are in memory: none of them outlives its COMMIT."""

import gc
import threading

from kafka_pg_pipeline.domain.batches import EncodedBatch, WriteResult
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.settings.models import BatchSettings
from kafka_pg_pipeline_tests.fix_streams import Bench


def test_a_committed_batch_is_let_go_of_before_the_next_one_comes(bench: Bench) -> None:
    bench = bench.with_stream(batch=BatchSettings(max_rows=100))
    bench.create_topic(partitions=1)
    bench.produce([{"id": number} for number in range(500)], partition=lambda _: 0)
    alive: list[int] = []

    def find_batches() -> list[EncodedBatch]:
        return [thing for thing in gc.get_objects() if type(thing) is EncodedBatch]

    gc.collect()
    of_other_tests = len(find_batches())

    def count_batches(_: WriteResult) -> None:
        alive.append(len(find_batches()) - of_other_tests)

    with bench.session() as session:
        plan = freeze_plan(session.name, session.stream, session.inspector)
        session.loader.load(plan, stop=threading.Event(), listener=count_batches)
    assert len(alive) == 5
    assert max(alive) <= 2  # the one that is sent and the one that is made
    assert alive[-1] == 0
