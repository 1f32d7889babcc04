"""Many records at once."""

from itertools import accumulate

import pytest

from kafka_pg_pipeline.domain.record_runs import JoinedRecords, ListedRecords
from kafka_pg_pipeline_tests.encoding import FakeRecord

RECORDS = [FakeRecord(b"%d" % number, offset=number) for number in range(7)]


def joined(*sizes: int) -> JoinedRecords:
    ends = list(accumulate(sizes))
    return JoinedRecords(
        ListedRecords(RECORDS[end - size : end]) for size, end in zip(sizes, ends, strict=True)
    )


@pytest.mark.parametrize(
    "run", [ListedRecords(RECORDS), joined(7), joined(3, 0, 1, 3), joined(0, 1, 6, 0)]
)
def test_a_run_is_the_sequence_of_its_records(run):
    assert len(run) == 7
    assert list(run) == RECORDS
    assert [run[index] for index in range(7)] == RECORDS
    assert run[-1] == RECORDS[-1]
    assert list(run[2:5]) == RECORDS[2:5]
    assert run[2:5].column("offset") == [2, 3, 4]
    assert run.column("value") == [record.value for record in RECORDS]
    with pytest.raises(IndexError):
        run[7]


@pytest.mark.parametrize("start", range(8))
@pytest.mark.parametrize("end", range(8))
def test_a_part_of_joined_runs_is_the_part_of_their_records(start, end):
    run = joined(3, 0, 1, 3)
    assert list(run[start:end]) == RECORDS[start:end]
    again = JoinedRecords([run[:start], run[start:]])
    assert list(again) == RECORDS
    assert again[start:end].column("offset") == list(range(7))[start:end]


def test_an_empty_run_has_no_record():
    assert list(JoinedRecords([])) == JoinedRecords([]).column("value") == []
