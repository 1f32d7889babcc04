"""Records that are forgotten once they are lines, and where they stand."""

import gc
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from kafka_pg_pipeline.domain.record_runs import ListedRecords, RecordRun
from kafka_pg_pipeline.errors import IncarnationChangedError, KafkaUnavailableError
from kafka_pg_pipeline.pipeline.encode import RowEncoder
from kafka_pg_pipeline.pipeline.encode_record import RunContext
from kafka_pg_pipeline.pipeline.reread import Rereading
from kafka_pg_pipeline_tests.encoding import FakeRecord, column, table_of


class Log:
    """A partition's records, handed out two at a time, and how often it was opened."""

    def __init__(self, offsets: Sequence[int], end: int) -> None:
        self.opened: list[dict[int, int]] = []
        self._offsets = offsets
        self._end = end

    def open(self, _: str, starts: dict[int, int]) -> SimpleNamespace:
        self.opened.append(dict(starts))
        [(partition, start)] = starts.items()
        left = [offset for offset in self._offsets if offset >= start]
        at = [start]

        def poll(**_: object) -> dict[int, RecordRun]:
            some = left[:2]
            del left[:2]
            at[0] = some[-1] + 1 if some else self._end
            return {partition: records_at(some)} if some else {}

        return SimpleNamespace(poll=poll, position=lambda _: at[0], close=lambda: None)


def records_at(offsets: Sequence[int], partition: int = 3) -> ListedRecords:
    return ListedRecords(
        FakeRecord(b'{"id":%d}' % offset, offset=offset, partition=partition) for offset in offsets
    )


def rereading(log: Log) -> Rereading:
    return Rereading("t", log.open, lambda: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("offsets", [[5, 6, 7, 8, 9], [5, 8, 9, 12, 30]])
def test_forgotten_records_know_where_they_stand_without_being_read(offsets: list[int]) -> None:
    log = Log(offsets, end=31)
    run = rereading(log).forget(records_at(offsets))
    assert len(run) == 5
    assert run.column("offset") == offsets
    assert run.column("partition") == [3] * 5
    assert run[1:3].column("offset") == offsets[1:3]
    assert log.opened == []


@pytest.mark.parametrize("offsets", [[5, 6, 7, 8, 9], [5, 8, 9, 12, 30]])
def test_a_partition_is_read_once_for_all_of_its_forgotten_records(offsets: list[int]) -> None:
    log = Log([1, *offsets], end=31)
    source = rereading(log)
    first, second = source.forget(records_at(offsets[:2])), source.forget(records_at(offsets[2:]))
    assert list(second) == list(records_at(offsets[2:]))
    assert first[1] == records_at(offsets)[1]
    assert first.column("value") == records_at(offsets[:2]).column("value")
    assert log.opened == [{3: 5}]


def test_a_record_that_is_gone_is_named_with_its_offset() -> None:
    run = rereading(Log([5, 7], end=8)).forget(records_at([5, 6, 7]))
    assert run[2].offset == 7
    with pytest.raises(KafkaUnavailableError, match=r"t\[3\]@6 was read a moment ago.*nothing was"):
        run[1]


def test_what_another_topic_has_at_the_offset_is_not_taken() -> None:
    def refuse() -> None:
        raise IncarnationChangedError("another topic")

    source = Rereading("t", Log([5], end=6).open, refuse)  # type: ignore[arg-type]
    run = source.forget(records_at([5]))
    for _ in range(2):  # nor the second time, from what was read the first time
        with pytest.raises(IncarnationChangedError):
            run[0]


def test_a_client_that_stands_still_is_given_up() -> None:
    stuck = SimpleNamespace(poll=lambda **_: {}, position=lambda _: 5, close=lambda: None)
    times = iter(range(0, 1000, 7))
    source = Rereading("t", lambda *_: stuck, lambda: None, clock=lambda: float(next(times)))
    run = source.forget(records_at([5]))
    with pytest.raises(KafkaUnavailableError, match=r"t\[3\]@5 did not arrive for 20 s"):
        run[0]


def test_records_are_not_in_memory_once_they_are_lines() -> None:
    encoder = RowEncoder(table_of([column("id", "int8")]), RunContext("t"))
    forgetting = encoder.start_batch(rereading(Log([], end=0)).forget)
    keeping = encoder.start_batch()

    def count_alive() -> int:
        return sum(type(it) is FakeRecord and it.partition == 77 for it in gc.get_objects())

    forgetting.add(records_at(range(600), partition=77))
    assert count_alive() < 256  # those of the block that the encoder has at hand
    [chunk] = forgetting.chunks()
    assert len(chunk.records) == len(chunk.lines) == 600
    keeping.add(records_at(range(600), partition=77))
    assert count_alive() >= 600
