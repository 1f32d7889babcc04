"""Verdicts of the checks: what passes, how bad a failure is, and what a person reads at night."""

from datetime import datetime, timezone
from typing import Any

import pytest

from kafka_pg_pipeline.domain.checks import (
    INVARIANTS,
    Backlog,
    Check,
    CheckVerdict,
    GapAccount,
    LetterAccount,
    Limits,
    Severity,
    judge_freshness,
    judge_gap,
    judge_invariants,
    judge_lag,
    judge_letters,
    not_seen,
    unknown_backlog,
)
from kafka_pg_pipeline.domain.findings import Finding, Verification
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.domain.status import StreamFailure
from kafka_pg_pipeline.sql import load_queries

LIMITS = Limits(lag_records=100, lag_seconds=900, dead_letter_share=0.01)
PAUSE = Pause("bad prices", "ada", datetime(2026, 1, 31, 2, 11, 45, tzinfo=timezone.utc))
FAILURE = StreamFailure("orders", 3, "TargetError", "the table is gone", "run", 5.0)


def lag(readable: int, **more: Any) -> CheckVerdict:
    backlog = Backlog(**{"readable": readable, "blocked": 0, "seconds": 5.0, **more})
    return judge_lag("orders", Severity.ERROR, LIMITS, backlog)


def freshness(seconds: float | None, readable: int = 1, **more: Any) -> CheckVerdict:
    backlog = Backlog(**{"readable": readable, "blocked": 0, "seconds": seconds, **more})
    return judge_freshness("orders", Severity.ERROR, LIMITS, backlog)


def letters(unresolved: int, recent: int, records: int) -> CheckVerdict:
    account = LetterAccount(unresolved, recent, records, hours=24)
    return judge_letters("orders", Severity.WARN, LIMITS, account)


def tiling(*names: str, unchecked: tuple[str, ...] = ()) -> CheckVerdict:
    found = tuple(Finding(name, "shop.orders", 0, 7, "a hole") for name in names)
    verification = Verification((), unchecked, found)
    return judge_invariants(Check.TILING, "orders", Severity.WARN, verification)


def test_each_invariant_of_verify_belongs_to_one_check() -> None:
    known = [*load_queries("verify"), *load_queries("verify_table")]
    assert sorted(name for names in INVARIANTS.values() for name in names) == sorted(known)
    table = INVARIANTS[Check.TABLE_MATCHES_LEDGER]
    assert sorted(table) == sorted(load_queries("verify_table"))


def test_a_limit_may_be_reached_and_not_passed() -> None:
    assert lag(100).passed
    assert not lag(101).passed
    assert freshness(900).passed
    assert not freshness(900.1).passed
    assert letters(1, 1, 100).passed
    assert not letters(2, 2, 100).passed


def test_who_has_nothing_to_load_is_fresh_and_who_cannot_tell_is_not_called_stale() -> None:
    assert freshness(None, readable=0).text == "every record that may be loaded has landed"
    assert freshness(None, readable=3).passed
    assert (
        freshness(None, readable=3).text == "3 records to load; what waits longest carries no time"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (900, "15 min"),
        (3_599, "59 min 59 s"),
        (5_400, "1 h 30 min"),
        (86_400 * 3 + 7_300, "3 d 2 h"),
    ],
)
def test_an_age_is_told_in_its_largest_units(seconds: float, words: str) -> None:
    assert f" is {words} old, " in freshness(seconds).text


def test_a_pause_is_told_first_and_is_never_worse_than_a_warning() -> None:
    behind = lag(5_000, pause=PAUSE, failure=FAILURE, problem="the log is gone")
    assert (behind.passed, behind.severity) == (False, Severity.WARN)
    assert behind.text == (
        "5,000 records to load, the limit is 100; paused since 2026-01-31 02:11:45Z by ada: "
        "bad prices; `kafka-pg resume orders` lets it go on"
    )
    assert behind.cure == "kafka-pg resume orders"
    within = lag(3, pause=PAUSE)
    assert within.passed
    assert "paused since" in within.text
    assert within.cure is None


def test_what_keeps_a_stream_back_is_told_with_its_lag() -> None:
    assert lag(101, failure=FAILURE).text.endswith("; its last 3 runs failed: the table is gone")
    assert lag(101, failure=FAILURE).cure == "kafka-pg status orders"
    assert lag(101, problem="no such table").text.endswith("; it cannot go on: no such table")
    assert lag(101).cure == "kafka-pg lag orders"
    assert lag(1, blocked=1).text.endswith("; 1 more record behind an open transaction")
    assert lag(1, failure=FAILURE).text == "1 record to load, the limit is 100"


def test_a_failure_is_as_bad_as_the_file_says_and_what_was_not_seen_is_an_error() -> None:
    assert lag(101).severity is Severity.ERROR
    assert letters(5, 5, 5).severity is Severity.WARN
    assert tiling("tiling").severity is Severity.WARN
    assert judge_gap("orders", Severity.WARN, GapAccount(1, 0)).severity is Severity.WARN
    unseen = not_seen(Check.LAG, "Kafka is down")
    assert (unseen.passed, unseen.seen, unseen.severity) == (False, False, Severity.ERROR)
    told = unknown_backlog(Check.LAG, "orders", Severity.WARN, "another topic")
    assert (told.passed, told.seen, told.severity) == (False, True, Severity.WARN)


def test_a_gap_is_lost_records_or_a_log_that_is_another_one() -> None:
    assert judge_gap("orders", Severity.ERROR, GapAccount(0, 0)).passed
    for account in (GapAccount(3, 0), GapAccount(0, 3), GapAccount(3, 0, "RETENTION_GAP …")):
        verdict = judge_gap("orders", Severity.ERROR, account)
        assert not verdict.passed
        assert verdict.cure == "kafka-pg accept-gap orders"
    changed = judge_gap("orders", Severity.ERROR, GapAccount(0, 0, "another topic"))
    assert (changed.passed, changed.text) == (False, "another topic")
    assert changed.cure == "kafka-pg status orders"


def test_a_check_tells_its_own_findings_alone() -> None:
    assert tiling("equation", "twice").passed
    both = tiling("end_of_ledger", "tiling", "equation")
    assert both.text == (
        "end_of_ledger: shop.orders[0]@7: a hole; and 1 more finding. `kafka-pg verify orders` "
        "tells all, the runbook what to do"
    )
    assert both.numbers == {"kafka/findings": 2}
    assert len(both.findings) == 2
    assert tiling(unchecked=("tiling",)).text.endswith("; not checked: tiling")
    assert tiling(unchecked=INVARIANTS[Check.TILING]).text.startswith("not checked: ")


def test_the_share_is_of_the_latest_records_and_letters_alone_are_all_of_them() -> None:
    assert letters(0, 0, 0).passed
    assert letters(500, 0, 10).passed
    assert letters(500, 0, 10).text.endswith("; with older ones there are 500")
    assert letters(500, 0, 10).cure == "kafka-pg dead-letters list orders"
    assert letters(0, 0, 10).cure is None
    assert letters(4, 4, 0).numbers["kafka/dead_letter_share"] == 1
