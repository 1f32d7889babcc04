"""Records that are forgotten once they are lines, and where they stand."""

import gc
from collections.abc import Iterable, Mapping
from types import SimpleNamespace

import pytest

from kafka_pg_pipeline.domain.record_runs import JoinedRecords, ListedRecords, RecordRun
from kafka_pg_pipeline.errors import KafkaUnavailableError
from kafka_pg_pipeline.pipeline.encode import RowEncoder
from kafka_pg_pipeline.pipeline.encode_record import RunContext
from kafka_pg_pipeline.pipeline.reread import Rereading
from kafka_pg_pipeline_tests.encoding import FakeRecord, column, table_of


class Log:
    """Records of partitions, handed out two of each at a time, and how it was opened."""

    def __init__(self, *records: FakeRecord, end: int = 100) -> None:
        self.opened: list[dict[int, int]] = []
        self._records = records
        self._end = end

    def open(self, _: str, starts: Mapping[int, int]) -> SimpleNamespace:
        self.opened.append(dict(starts))
        positions = dict(starts)
        reading = set(starts)

        def poll(**_: object) -> dict[int, RecordRun]:
            runs: dict[int, RecordRun] = {}
            for partition in reading:
                at = positions[partition]
                left = [r for r in self._records if r.partition == partition and r.offset >= at]
                positions[partition] = left[1].offset + 1 if left[1:] else self._end
                runs[partition] = ListedRecords(left[:2])
            return runs

        return SimpleNamespace(
            poll=poll,
            position=positions.__getitem__,
            finish=reading.remove,
            close=lambda: None,
        )


def records_at(offsets: Iterable[int], partition: int = 3, mark: str = "") -> list[FakeRecord]:
    value = b'{"id":%d' + mark.encode() + b"}"
    return [FakeRecord(value % at, offset=at, partition=partition) for at in offsets]


def run_at(offsets: Iterable[int], partition: int = 3) -> ListedRecords:
    return ListedRecords(records_at(offsets, partition))


HOLES = pytest.mark.parametrize("offsets", [[5, 6, 7, 8, 9], [5, 8, 9, 12, 30]])


@HOLES
def test_forgotten_records_know_where_they_stand_without_being_read(offsets: list[int]) -> None:
    log = Log(*records_at(offsets))
    run = Rereading("t", log.open).forget(run_at(offsets))
    assert len(run) == 5
    assert run.column("offset") == offsets
    assert run.column("partition") == [3] * 5
    assert run[1:3].column("offset") == offsets[1:3]
    assert log.opened == []


@HOLES
def test_what_is_wanted_is_read_at_once_from_the_first_of_it(offsets: list[int]) -> None:
    log = Log(*records_at([1, *offsets]), *records_at([2, 3, 4], partition=4))
    source = Rereading("t", log.open)
    first, second = source.forget(run_at(offsets[:2])), source.forget(run_at(offsets[2:]))
    other = source.forget(run_at([2, 3, 4], partition=4))
    joined = JoinedRecords([first, second, other])
    joined.expect([1, 3, 6])
    assert [joined[index] for index in (1, 3, 6)] == [
        *records_at([offsets[1], offsets[3]]),
        *records_at([3], partition=4),
    ]
    assert log.opened == [{3: offsets[1], 4: 3}]


def test_a_record_that_was_not_expected_is_read_all_the_same() -> None:
    log = Log(*records_at(range(5, 10)))
    run = Rereading("t", log.open).forget(run_at(range(5, 10)))
    assert run[3] == run[-2] == run_at([8])[0]
    assert run.column("value") == run_at(range(5, 10)).column("value")
    assert log.opened == [{3: 8}, {3: 5}]


def test_what_was_found_is_not_read_again_for_a_second_search() -> None:
    log = Log(*records_at([5, 6, 7]))
    run = Rereading("t", log.open).forget(run_at([5, 6, 7]))
    assert [run[1], run[1]] == records_at([6, 6])
    assert len(log.opened) == 1


@pytest.mark.parametrize("gone", [6, 7])
def test_a_record_that_is_gone_is_named_with_its_offset(gone: int) -> None:
    log = Log(*(record for record in records_at([5, 6, 7]) if record.offset != gone))
    run = Rereading("t", log.open).forget(run_at([5, 6, 7]))
    with pytest.raises(
        KafkaUnavailableError, match=rf"t\[3\]@{gone} was read a moment ago.*nothing"
    ):
        run[1]


def test_older_records_that_are_gone_are_not_missed() -> None:
    run = Rereading("t", Log(*records_at([7, 8])).open).forget(run_at([5, 6, 7, 8]))
    assert run[2] == run_at([7])[0]


@pytest.mark.parametrize("rewritten_from", [5, 6, 7])
def test_of_a_log_that_was_rewritten_meanwhile_nothing_is_taken(rewritten_from: int) -> None:
    """From some offset on: the last record tells, whichever is asked for."""
    now = [*records_at(range(5, rewritten_from)), *records_at(range(rewritten_from, 8), mark=" ")]
    run = Rereading("t", Log(*now).open).forget(run_at([5, 6, 7]))
    for _ in range(2):  # nor the second time, from what was read the first time
        with pytest.raises(KafkaUnavailableError, match=r"t\[3\]@7 .* another"):
            run[0]


def test_a_client_that_stands_still_is_given_up() -> None:
    stuck = SimpleNamespace(poll=lambda **_: {}, position=lambda _: 5, close=lambda: None)
    times = iter(range(0, 1000, 7))
    source = Rereading("t", lambda *_: stuck, clock=lambda: float(next(times)))
    run = source.forget(run_at([5]))
    with pytest.raises(KafkaUnavailableError, match=r"t\[3\] did not arrive for 20 s"):
        run[0]


def test_records_are_not_in_memory_once_they_are_lines() -> None:
    encoder = RowEncoder(table_of([column("id", "int8")]), RunContext("t"))
    forgetting = encoder.start_batch(Rereading("t", Log().open).forget)
    keeping = encoder.start_batch()

    def count_alive() -> int:
        return sum(type(it) is FakeRecord and it.partition == 77 for it in gc.get_objects())

    forgetting.add(run_at(range(600), partition=77))
    assert count_alive() < 256  # those of the block that the encoder has at hand
    [chunk] = forgetting.chunks()
    assert len(chunk.records) == len(chunk.lines) == 600
    keeping.add(run_at(range(600), partition=77))
    assert count_alive() >= 600
