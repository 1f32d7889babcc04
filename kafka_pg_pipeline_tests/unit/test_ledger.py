"""Ledger lines: what became of each offset, or nothing is written."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_pg_pipeline.domain.batches import BatchCounts, LedgerEntry
from kafka_pg_pipeline.domain.ledger import append_entries
from kafka_pg_pipeline.domain.offsets import OffsetRange
from kafka_pg_pipeline.domain.reports import PartitionTotals, add_entries
from kafka_pg_pipeline.errors import InvariantError
from kafka_pg_pipeline_tests.batches import batch_of, letter_of, slice_of


def test_each_partition_gets_a_line_of_its_own() -> None:
    batch = batch_of(
        slice_of(10, 20, visible=7),
        slice_of(0, 5, visible=5, partition=3),
        lines=10,
        dead_letters=(letter_of(12), letter_of(1, partition=3)),
    )
    first, second = append_entries(batch)
    assert (first.offsets, first.counts) == (
        OffsetRange(0, 10, 20),
        BatchCounts(rows=6, dead=1, absent=3),
    )
    assert (second.offsets, second.counts) == (
        OffsetRange(3, 0, 5),
        BatchCounts(rows=4, dead=1),
    )


def test_offsets_without_records_are_absent() -> None:
    (entry,) = append_entries(batch_of(slice_of(0, 101, visible=0), lines=0))
    assert entry.counts == BatchCounts(absent=101)


@pytest.mark.parametrize("lines", [6, 8])
def test_rows_that_are_not_the_records_read_are_refused(lines: int) -> None:
    with pytest.raises(InvariantError, match=f"{lines} rows to write, 7 expected"):
        append_entries(batch_of(slice_of(10, 20, visible=7), lines=lines))


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)).filter(any),
        min_size=1,
        max_size=6,
    )
)
def test_the_counts_of_a_line_are_its_length(pieces: list[tuple[int, int, int]]) -> None:
    slices = [
        slice_of(7, 7 + rows + dead + absent, visible=rows + dead, partition=partition)
        for partition, (rows, dead, absent) in enumerate(pieces)
    ]
    letters = tuple(
        letter_of(7 + number, partition=partition)
        for partition, (_, dead, _) in enumerate(pieces)
        for number in range(dead)
    )
    lines = sum(rows for rows, _, _ in pieces)
    entries = append_entries(batch_of(*slices, lines=lines, dead_letters=letters))
    assert [entry.counts for entry in entries] == [
        BatchCounts(rows=rows, dead=dead, absent=absent) for rows, dead, absent in pieces
    ]
    assert all(entry.counts.total == len(entry.offsets) for entry in entries)


def test_counts_add_up_field_by_field() -> None:
    counts = BatchCounts(1, 2, 3, 4, 5, 6, 7)
    assert counts + counts == BatchCounts(2, 4, 6, 8, 10, 12, 14)
    assert counts.total == 28


def entry_of(partition: int, start: int, end: int) -> LedgerEntry:
    return LedgerEntry(
        UUID(int=1), OffsetRange(partition, start, end), BatchCounts(rows=end - start), 10
    )


def test_the_lines_of_a_partition_are_totalled() -> None:
    first = add_entries((), [entry_of(1, 0, 5), entry_of(0, 3, 4)])
    assert add_entries(first, [entry_of(1, 5, 9)]) == (
        PartitionTotals(OffsetRange(0, 3, 4), BatchCounts(rows=1), 10),
        PartitionTotals(OffsetRange(1, 0, 9), BatchCounts(rows=9), 20),
    )
