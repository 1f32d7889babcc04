from hypothesis import given
from hypothesis import strategies as st

from kafka_pg_pipeline.pipeline.batch_rows import LEAST, BatchRows


def test_a_batch_that_took_too_long_makes_the_next_one_smaller_in_proportion() -> None:
    rows = BatchRows(50_000, write_seconds=5.0)
    rows.note(50_000, seconds=20.0)
    assert rows.number == 12_500


def test_batches_grow_again_step_by_step_once_writing_is_quick() -> None:
    rows = BatchRows(50_000, write_seconds=5.0)
    rows.note(50_000, seconds=50.0)
    seen = []
    for _ in range(5):
        seen.append(rows.number)
        rows.note(rows.number, seconds=0.1)
    assert seen == [5_000, 10_000, 20_000, 40_000, 50_000]


def test_a_small_batch_that_was_quick_does_not_make_the_next_one_smaller() -> None:
    rows = BatchRows(50_000, write_seconds=5.0)
    rows.note(3, seconds=0.01)
    assert rows.number == 50_000


@given(
    most=st.integers(1, 10**7),
    written=st.lists(st.tuples(st.integers(0, 10**7), st.floats(0, 10**4))),
)
def test_no_batch_is_larger_than_the_file_says_or_smaller_than_is_of_use(
    most: int, written: list[tuple[int, float]]
) -> None:
    rows = BatchRows(most, write_seconds=5.0)
    for records, seconds in written:
        rows.note(records, seconds)
        assert min(most, LEAST) <= rows.number <= most
