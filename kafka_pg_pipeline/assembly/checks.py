"""Looks at streams for their checks: one session a stream, each server asked as little as it may.

Changes nothing. What cannot be looked at is told by the checks that would have looked there; the
others go on.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.assembly.overview import (
    fetch_failure,
    fetch_positions,
    find_problem,
    measure_lag,
)
from kafka_pg_pipeline.assembly.session import StreamSession, open_session
from kafka_pg_pipeline.domain import checks as rules
from kafka_pg_pipeline.domain.checks import Backlog, Check, CheckVerdict, GapAccount, Severity
from kafka_pg_pipeline.domain.offsets import TopicSnapshot, was_loaded
from kafka_pg_pipeline.domain.tables import MetadataField
from kafka_pg_pipeline.errors import (
    IncarnationChangedError,
    KafkaUnavailableError,
    LogShorterError,
    PipelineError,
    PostgresUnavailableError,
    RetentionGapError,
    TopicUnavailableError,
    UndecodableBatchError,
)
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.pipeline.target import describe_loss
from kafka_pg_pipeline.settings.models import StreamSettings

_RECENT_HOURS = 24
# What says that records were lost; any other problem keeps the stream from going on.
_LOSSES = (RetentionGapError, IncarnationChangedError, LogShorterError)
# By these the rows of a table tell which records they are of.
_COORDINATES = (MetadataField.PARTITION, MetadataField.OFFSET)

Severities = Mapping[Check, Severity]


def list_checks(stream: StreamSettings) -> tuple[Check, ...]:
    """The checks that a stream has: those that are not off, and can tell something."""
    severities = stream.checks.severities
    tells = all(field in stream.metadata for field in _COORDINATES)
    return tuple(check for check in severities if tells or check is not Check.TABLE_MATCHES_LEDGER)


class Examiner:
    """Looks at one stream after the other; a server that did not answer is not asked again."""

    def __init__(self, endpoints: Endpoints, *, run_id: str) -> None:
        self._endpoints = endpoints
        self._run_id = run_id
        self._down: dict[type[PipelineError], PipelineError] = {}

    def examine(
        self, name: str, stream: StreamSettings, wanted: Collection[Check]
    ) -> tuple[CheckVerdict, ...]:
        """A verdict for each wanted check of the stream; never raises a PipelineError."""
        if not wanted:
            return ()
        try:
            self._insist_on(PostgresUnavailableError)
            with open_session(
                name, stream, self._endpoints, run_id=self._run_id, read_only=True
            ) as session:
                session.insist_on_current_tables()
                return tuple(
                    verdict for part in _PARTS for verdict in self._look(part, session, wanted)
                )
        except PipelineError as error:
            self._note(error)
            return tuple(rules.not_seen(check, str(error)) for check in wanted)

    def _look(
        self, part: "_Part", session: StreamSession, wanted: Collection[Check]
    ) -> tuple[CheckVerdict, ...]:
        chosen = [check for check in part.checks if check in wanted]
        if not chosen:
            return ()
        try:
            self._insist_on(PostgresUnavailableError)
            if part.asks_kafka:
                self._insist_on(KafkaUnavailableError)
            return tuple(v for v in part.judge(session) if v.check in chosen)
        except PipelineError as error:
            self._note(error)
            return tuple(rules.not_seen(check, str(error)) for check in chosen)

    def _insist_on(self, server: type[PipelineError]) -> None:
        if server in self._down:
            raise self._down[server]

    def _note(self, error: PipelineError) -> None:
        """Remember a server that is down; a topic without a leader is none."""
        if isinstance(error, TopicUnavailableError):
            return
        for server in (KafkaUnavailableError, PostgresUnavailableError):
            if isinstance(error, server):
                self._down[server] = error


def _severity(session: StreamSession, check: Check) -> Severity:
    return session.stream.checks.severities.get(check, Severity.OFF)


def _judge_log(session: StreamSession) -> Iterator[CheckVerdict]:
    """What only Kafka tells: is anything lost, and how much waits for how long?"""
    snapshot = freeze_plan(session.name, session.stream, session.inspector).snapshot
    problem = find_problem(session, snapshot)
    loss = str(problem) if isinstance(problem, _LOSSES) else None
    yield rules.judge_gap(
        session.name, _severity(session, Check.NO_GAP), _count_gaps(session, snapshot, loss)
    )
    limits = session.stream.checks.limits
    lag, freshness = _severity(session, Check.LAG), _severity(session, Check.FRESHNESS)
    try:
        if isinstance(problem, IncarnationChangedError):
            raise problem
        backlog = _fetch_backlog(session, snapshot, problem)
    except (IncarnationChangedError, UndecodableBatchError) as error:
        yield rules.unknown_backlog(Check.LAG, session.name, lag, str(error))
        yield rules.unknown_backlog(Check.FRESHNESS, session.name, freshness, str(error))
        return
    yield rules.judge_lag(session.name, lag, limits, backlog)
    yield rules.judge_freshness(session.name, freshness, limits, backlog)


def _count_gaps(session: StreamSession, snapshot: TopicSnapshot, loss: str | None) -> GapAccount:
    lost = 0
    for position in fetch_positions(session):
        bounds = snapshot.bounds(position.partition)
        if bounds is not None and position.identity == snapshot.identity:
            lost += max(0, bounds.begin_offset - position.next_offset)
    stored = session.inspection.fetch_partitions() if session.has_state else ()
    return GapAccount(lost, sum(partition.open_gap_offsets for partition in stored), loss)


def _fetch_backlog(
    session: StreamSession, snapshot: TopicSnapshot, problem: PipelineError | None
) -> Backlog:
    lag = measure_lag(session, snapshot)
    return Backlog(
        readable=lag.readable,
        blocked=lag.blocked,
        seconds=lag.seconds,
        pause=session.fetch_pause(),
        failure=fetch_failure(session),
        problem=str(problem) if problem else None,
    )


def _judge_ledger(session: StreamSession) -> Iterator[CheckVerdict]:
    checks = (Check.TILING, Check.COMPLETENESS)
    if not session.has_state:
        yield from map(rules.nothing_loaded, checks)
        return
    verification = session.inspection.verify_ledger()
    for check in checks:
        yield rules.judge_invariants(check, session.name, _severity(session, check), verification)


def _judge_letters(session: StreamSession) -> Iterator[CheckVerdict]:
    if not session.has_state:
        yield rules.nothing_loaded(Check.DEAD_LETTER_SHARE)
        return
    account = session.inspection.count_letters(_RECENT_HOURS)
    severity = _severity(session, Check.DEAD_LETTER_SHARE)
    yield rules.judge_letters(session.name, severity, session.stream.checks.limits, account)


def _judge_table(session: StreamSession) -> Iterator[CheckVerdict]:
    check = Check.TABLE_MATCHES_LEDGER
    target = session.catalog.fetch_target()
    if target is not None and session.has_state:
        verification = session.inspection.verify_table(target)
        yield rules.judge_invariants(check, session.name, _severity(session, check), verification)
    elif was_loaded(fetch_positions(session)):
        yield rules.table_gone(
            session.name, _severity(session, check), describe_loss(session.name, session.stream)
        )
    else:
        yield rules.nothing_loaded(check)


@dataclass(frozen=True)
class _Part:
    """Checks that are judged by one look; ``judge`` gives a verdict on each of them."""

    checks: tuple[Check, ...]
    judge: Callable[[StreamSession], Iterator[CheckVerdict]]
    asks_kafka: bool = False


_PARTS = (
    _Part((Check.NO_GAP, Check.LAG, Check.FRESHNESS), _judge_log, asks_kafka=True),
    _Part((Check.TILING, Check.COMPLETENESS), _judge_ledger),
    _Part((Check.DEAD_LETTER_SHARE,), _judge_letters),
    _Part((Check.TABLE_MATCHES_LEDGER,), _judge_table),
)
