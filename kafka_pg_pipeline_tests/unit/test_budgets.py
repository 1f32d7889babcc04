"""How many rejected records a batch and a run may hold."""

from dataclasses import replace

import pytest

from kafka_pg_pipeline.domain.batches import EncodedBatch
from kafka_pg_pipeline.domain.budgets import DeadLetterBudget
from kafka_pg_pipeline.errors import DeadLetterBudgetError
from kafka_pg_pipeline_tests.batches import batch_of, letter_of, slice_of


def rejected(dead: int, visible: int, *, before: int = 0) -> EncodedBatch:
    letters = tuple(letter_of(number) for number in range(dead))
    piece = slice_of(0, visible, visible=visible)
    batch = batch_of(piece, lines=visible - dead, dead_letters=letters)
    return replace(batch, rejected_before=before)


def budget_of(max_records: int, max_share: float, max_run_records: int = 1000) -> DeadLetterBudget:
    return DeadLetterBudget(max_records, max_share, max_run_records)


@pytest.mark.parametrize(
    ("dead", "visible", "fits"),
    [
        (0, 0, True),
        (5, 5, True),  # a share says nothing of so few records
        (10, 99, True),
        (11, 99, False),
        (10, 100, True),
        (11, 100, False),
        (3, 30, True),
        (20, 200, False),  # the number counts, however small the share
    ],
)
def test_a_number_and_a_share_are_allowed(dead: int, visible: int, fits: bool) -> None:
    budget = budget_of(max_records=10, max_share=0.1)
    batch = rejected(dead, visible)
    if fits:
        budget.check(batch)
    else:
        with pytest.raises(DeadLetterBudgetError):
            budget.check(batch)


def test_the_share_is_of_all_partitions_together() -> None:
    letters = tuple(letter_of(number) for number in range(15))
    batch = batch_of(
        slice_of(0, 50, visible=50),
        slice_of(0, 100, visible=100, partition=1),
        lines=135,
        dead_letters=letters,
    )
    assert budget_of(max_records=1000, max_share=0.1).allowance(batch) == 15


def test_what_is_left_is_never_below_zero() -> None:
    batch = rejected(0, 50)
    budget = budget_of(max_records=10, max_share=0.1)
    assert [budget.left(batch, used) for used in (0, 4, 10, 11)] == [10, 6, 0, 0]


def test_a_budget_of_nothing_allows_nothing() -> None:
    batch = rejected(1, 5)
    with pytest.raises(DeadLetterBudgetError):
        budget_of(max_records=0, max_share=1.0).check(batch)


def test_the_message_names_the_first_record_and_no_content() -> None:
    batch = batch_of(
        slice_of(0, 5, visible=5),
        lines=3,
        dead_letters=(letter_of(4), letter_of(2, column="amount")),
    )
    with pytest.raises(DeadLetterBudgetError) as caught:
        budget_of(max_records=1, max_share=1.0).check(batch)
    message = str(caught.value)
    assert message.startswith("2 or more records of one batch were rejected, 1 are allowed")
    assert "partition 0 offset 2 (wrong_type, column 'amount')" in message
    assert "{}" not in message


@pytest.mark.parametrize(
    ("before", "dead", "fits"),
    [(0, 10, True), (5, 5, True), (5, 6, False), (10, 0, True), (10, 1, False), (12, 0, True)],
)
def test_a_run_has_a_budget_of_its_own(before: int, dead: int, fits: bool) -> None:
    budget = budget_of(max_records=100, max_share=1.0, max_run_records=10)
    batch = rejected(dead, 50, before=before)
    if fits:
        budget.check(batch)
    else:
        with pytest.raises(DeadLetterBudgetError, match="of one run were rejected, 10 are allowed"):
            budget.check(batch)


def test_what_is_left_of_a_run_is_left_for_a_batch() -> None:
    budget = budget_of(max_records=100, max_share=1.0, max_run_records=10)
    assert [budget.left(rejected(0, 50, before=n), used=2) for n in (0, 3, 9, 12)] == [8, 5, 0, 0]


def test_the_message_on_a_run_says_what_stays() -> None:
    budget = budget_of(max_records=100, max_share=1.0, max_run_records=10)
    with pytest.raises(DeadLetterBudgetError) as caught:
        budget.check(rejected(3, 50, before=8))
    message = str(caught.value)
    assert message.startswith("11 or more records of one run were rejected, 10 are allowed")
    assert "which was not written, is partition 0 offset 0 (wrong_type)" in message
    assert "earlier batches stay, with 8 dead letters" in message
