"""Operators who act while a load is running."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from kafka_pg_pipeline.domain.batches import WriteResult
from kafka_pg_pipeline.ports import ProgressListener
from kafka_pg_pipeline_tests.fix_streams import Bench
from kafka_pg_pipeline_tests.waiting import wait_until

OPERATOR = "operator"
_WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    f" AND application_name LIKE '%%{OPERATOR}'"
)


@contextmanager
def acting_beside(bench: Bench, act: Callable[[], object]) -> Iterator[ProgressListener]:
    """A listener that lets somebody ``act`` behind the first batch, in sessions called OPERATOR.

    The load goes on when that was done, or waits for the lock of the batch that lands already. That
    one comes first then; and the next one, should it win the race for the lock.
    """
    with ThreadPoolExecutor(1) as executor:
        acting: list[Future[object]] = []

        def listener(_: WriteResult) -> None:
            if not acting:
                acting.append(executor.submit(act))
                wait_until(lambda: acting[0].done() or bench.query(_WAITING) != [(0,)])

        yield listener
        acting[0].result()
