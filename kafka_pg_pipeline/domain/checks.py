"""Checks of a stream: numbers and limits in, a verdict with its text and its cure out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from kafka_pg_pipeline.domain.findings import Finding, Verification
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.domain.status import StreamFailure


class Check(str, Enum):
    """What is asked of a stream; the values are the names that Dagster shows."""

    NO_GAP = "no_gap"
    TILING = "tiling"
    COMPLETENESS = "completeness"
    LAG = "lag"
    FRESHNESS = "freshness"
    DEAD_LETTER_SHARE = "dead_letter_share"
    TABLE_MATCHES_LEDGER = "table_matches_ledger"


class Severity(str, Enum):
    """How bad a failed check is; a stream does not have the checks that are off."""

    ERROR = "error"
    WARN = "warn"
    OFF = "off"


# Which of the protocol's invariants (delivery.md 7.2) each of these checks stands for.
INVARIANTS: Mapping[Check, tuple[str, ...]] = {
    Check.TILING: ("tiling", "end_of_ledger"),
    Check.COMPLETENESS: ("equation", "dead_letters", "gaps"),
    Check.TABLE_MATCHES_LEDGER: ("row_counts", "duplicates", "twice", "replayed"),
}
_HOLDS: Mapping[Check, str] = {
    Check.TILING: "the ledger's intervals follow each other and end where the stream stands",
    Check.COMPLETENESS: "every offset that was passed is accounted for",
    Check.TABLE_MATCHES_LEDGER: "the table holds what the ledger says",
}

Number = int | float


@dataclass(frozen=True, slots=True)
class Limits:
    """What is still good: offsets and seconds behind, and rejected records by records read."""

    lag_records: int
    lag_seconds: float
    dead_letter_share: float


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """What one check of one stream found.

    ``severity`` is that of a failure. ``cure`` is the command that resolves it, ``numbers`` are
    plotted over time under their names. ``seen`` is False where nothing could be looked at: the
    check has failed then, and says nothing of the data.
    """

    check: Check
    passed: bool
    text: str
    severity: Severity = Severity.ERROR
    cure: str | None = None
    numbers: Mapping[str, Number] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    seen: bool = True


@dataclass(frozen=True, slots=True)
class GapAccount:
    """Records that the topic lost before they were loaded.

    ``lost`` offsets lie between the positions and the log's present beginning, ``open`` ones are
    noted as gaps that nobody has accepted. ``problem`` says why the log is not the one that was
    loaded before, or cannot be gone on with.
    """

    lost: int
    open: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a stream has not loaded, and what keeps it from doing so.

    ``readable`` offsets may be loaded now, ``blocked`` ones lie behind an open transaction;
    ``seconds`` is the age of the oldest readable record, None where there is none or it carries no
    time.
    """

    readable: int
    blocked: int
    seconds: float | None
    pause: Pause | None = None
    failure: StreamFailure | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class LetterAccount:
    """Dead letters that nobody has resolved, and those of them of the last ``hours``.

    ``recent_records`` are the records that were read in these hours.
    """

    unresolved: int
    recent: int
    recent_records: int
    hours: int


def not_seen(check: Check, reason: str) -> CheckVerdict:
    """The verdict where a server, or a right, was missing: an error whatever the file says."""
    return CheckVerdict(check, passed=False, text=f"could not be looked at: {reason}", seen=False)


def nothing_loaded(check: Check) -> CheckVerdict:
    """The verdict on a stream that has not loaded anything yet."""
    return CheckVerdict(check, passed=True, text="nothing was loaded yet")


def judge_gap(stream: str, severity: Severity, account: GapAccount) -> CheckVerdict:
    """Whether every record that the topic had was loaded, or can still be."""
    numbers = {"kafka/lost_offsets": account.lost, "kafka/open_gap_offsets": account.open}
    lost = account.lost + account.open
    if account.problem is None and not lost:
        text = "no record was lost between what was loaded and what the topic holds"
        return CheckVerdict(Check.NO_GAP, passed=True, text=text, numbers=numbers)
    text = account.problem or (
        f"{_count(lost, 'offset')} gone from the topic before they were loaded, and nobody has "
        "accepted that"
    )
    return CheckVerdict(
        Check.NO_GAP,
        passed=False,
        text=text,
        severity=severity,
        cure=f"kafka-pg accept-gap {stream}" if lost else f"kafka-pg status {stream}",
        numbers=numbers,
    )


def judge_invariants(
    check: Check, stream: str, severity: Severity, verification: Verification
) -> CheckVerdict:
    """Whether those invariants hold that the check stands for."""
    names = INVARIANTS[check]
    found = tuple(f for f in verification.findings if f.invariant in names)
    unchecked = [name for name in names if name in verification.unchecked]
    numbers = {"kafka/findings": len(found)}
    if found:
        return CheckVerdict(
            check,
            passed=False,
            text=f"{_tell(found)}. `kafka-pg verify {stream}` tells all, the runbook what to do",
            severity=severity,
            cure=f"kafka-pg verify {stream}",
            numbers=numbers,
            findings=found,
        )
    if len(unchecked) == len(names):
        text = "not checked: the table's rows do not tell which records they are of"
    else:
        text = _HOLDS[check]
        text += f"; not checked: {', '.join(unchecked)}" if unchecked else ""
    return CheckVerdict(check, passed=True, text=text, numbers=numbers)


def table_gone(stream: str, severity: Severity, reason: str) -> CheckVerdict:
    """The verdict on a table that does not exist, though rows were loaded into it."""
    check = Check.TABLE_MATCHES_LEDGER
    cure = f"kafka-pg status {stream}"
    return CheckVerdict(check, passed=False, text=reason, severity=severity, cure=cure)


def judge_lag(stream: str, severity: Severity, limits: Limits, backlog: Backlog) -> CheckVerdict:
    """Whether few enough records wait to be loaded."""
    limit = limits.lag_records
    numbers = {"kafka/lag": backlog.readable, "kafka/blocked": backlog.blocked}
    text = f"{_count(backlog.readable, 'record')} to load, the limit is {limit:,}"
    is_good = backlog.readable <= limit
    return _judge_backlog(Check.LAG, stream, severity, backlog, text, numbers, is_good=is_good)


def judge_freshness(
    stream: str, severity: Severity, limits: Limits, backlog: Backlog
) -> CheckVerdict:
    """Whether no record has waited too long; where none waits, the table is fresh."""
    limit = limits.lag_seconds
    seconds = backlog.seconds or 0.0
    numbers: dict[str, Number] = {"kafka/lag_seconds": round(seconds, 1)}
    if not backlog.readable:
        text = "every record that may be loaded has landed"
    elif backlog.seconds is None:
        text = f"{_count(backlog.readable, 'record')} to load; what waits longest carries no time"
    else:
        text = (
            f"the oldest record to load is {_duration(seconds)} old, the limit is "
            f"{_duration(limit)}"
        )
    return _judge_backlog(
        Check.FRESHNESS, stream, severity, backlog, text, numbers, is_good=seconds <= limit
    )


def unknown_backlog(check: Check, stream: str, severity: Severity, reason: str) -> CheckVerdict:
    """The verdict on lag and freshness where the log does not tell how far behind the stream is."""
    return CheckVerdict(
        check,
        passed=False,
        text=f"how far behind the stream is cannot be told: {reason}",
        severity=severity,
        cure=f"kafka-pg status {stream}",
    )


def judge_letters(
    stream: str, severity: Severity, limits: Limits, account: LetterAccount
) -> CheckVerdict:
    """Whether few enough of the latest records were rejected; those that were resolved are not."""
    share = account.recent / max(account.recent_records, account.recent, 1)
    text = (
        f"{account.recent:,} of {_count(account.recent_records, 'record')} of the last "
        f"{account.hours} hours are dead letters that nobody has resolved ({share:.2%}, the limit "
        f"is {limits.dead_letter_share:.2%})"
    )
    if account.unresolved > account.recent:
        text += f"; with older ones there are {account.unresolved:,}"
    return CheckVerdict(
        Check.DEAD_LETTER_SHARE,
        passed=share <= limits.dead_letter_share,
        text=text,
        severity=severity,
        cure=f"kafka-pg dead-letters list {stream}" if account.unresolved else None,
        numbers={
            "kafka/dead_letter_share": round(share, 6),
            "kafka/unresolved_dead_letters": account.unresolved,
        },
    )


def _judge_backlog(
    check: Check,
    stream: str,
    severity: Severity,
    backlog: Backlog,
    text: str,
    numbers: Mapping[str, Number],
    *,
    is_good: bool,
) -> CheckVerdict:
    """A stream that somebody has paused is behind on purpose: never worse than a warning."""
    said = [text]
    if backlog.pause is not None:
        said.append(backlog.pause.tell(stream))
    elif not is_good and backlog.failure is not None:
        said.append(_tell_failure(backlog.failure))
    elif not is_good and backlog.problem is not None:
        said.append(f"it cannot go on: {backlog.problem}")
    if backlog.blocked:
        said.append(f"{_count(backlog.blocked, 'more record')} behind an open transaction")
    behind = f"kafka-pg lag {stream}" if backlog.failure is None else f"kafka-pg status {stream}"
    return CheckVerdict(
        check,
        passed=is_good,
        text="; ".join(said),
        severity=severity if backlog.pause is None else Severity.WARN,
        cure=None if is_good else f"kafka-pg resume {stream}" if backlog.pause else behind,
        numbers=numbers,
    )


def _tell(findings: Sequence[Finding]) -> str:
    rest = len(findings) - 1
    return f"{findings[0]}" + (f"; and {_count(rest, 'more finding')}" if rest else "")


def _tell_failure(failure: StreamFailure) -> str:
    times = "its last run" if failure.failures == 1 else f"its last {failure.failures} runs"
    return f"{times} failed: {failure.message}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _duration(seconds: float) -> str:
    """The largest two units, rounded down, as ``1 h 4 min``."""
    whole = int(seconds)
    units = ((whole // 86_400, "d"), (whole // 3_600 % 24, "h"), (whole // 60 % 60, "min"))
    parts = [f"{number} {unit}" for number, unit in (*units, (whole % 60, "s")) if number]
    return " ".join(parts[:2]) or "0 s"
