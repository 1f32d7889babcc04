"""Where a stream stands: stored positions against what the log offers, lag, last batches.

Works on a read-only session and changes nothing.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from kafka_pg_pipeline.adapters.postgres.backfills import BACKFILLS_SINCE
from kafka_pg_pipeline.adapters.postgres.failures import FAILURES_SINCE
from kafka_pg_pipeline.assembly.session import StreamSession
from kafka_pg_pipeline.domain.offsets import OffsetRange, Position, TopicSnapshot, was_loaded
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.domain.planning import check_identity, covered, plan_partitions
from kafka_pg_pipeline.domain.status import (
    CommittedBatch,
    PartitionLag,
    StoredPartition,
    StreamFailure,
)
from kafka_pg_pipeline.domain.windows import WindowStatus
from kafka_pg_pipeline.errors import (
    IncarnationChangedError,
    PipelineError,
    TargetError,
    UndecodableBatchError,
)
from kafka_pg_pipeline.pipeline.plan import freeze_plan, place_new_partitions
from kafka_pg_pipeline.pipeline.sample import read_sample
from kafka_pg_pipeline.pipeline.target import describe_loss

_LAST_BATCHES = 5


@dataclass(frozen=True)
class StreamLag:
    """A stream's lag by partition; ``seconds`` is the age of its oldest readable record.

    ``dead_letters`` counts those of which nothing became yet. ``problem`` says why a run could not
    make the lag smaller.
    """

    stream: str
    topic: str
    partitions: tuple[PartitionLag, ...]
    dead_letters: int = 0
    problem: PipelineError | None = None
    pause: Pause | None = None

    @property
    def readable(self) -> int:
        """Offsets that a run could take now."""
        return sum(partition.readable for partition in self.partitions)

    @property
    def blocked(self) -> int:
        """Offsets behind an open transaction."""
        return sum(partition.blocked for partition in self.partitions)

    @property
    def seconds(self) -> float | None:
        """The largest lag in seconds; None where there is none, or it is not known."""
        known = [p.seconds for p in self.partitions if p.seconds is not None]
        return max(known, default=None)


@dataclass(frozen=True)
class StreamOverview:
    """A stream's account; ``problem`` says why its lag could not be had, or why it stands still.

    ``failure`` is that of its last run, where that failed; ``windows`` are those of its backfills.
    """

    stream: str
    topic: str
    table: str
    table_exists: bool
    stored: tuple[StoredPartition, ...]
    batches: tuple[CommittedBatch, ...]
    lag: StreamLag | None
    problem: PipelineError | None
    pause: Pause | None = None
    failure: StreamFailure | None = None
    windows: tuple[WindowStatus, ...] = ()


def fetch_positions(session: StreamSession) -> tuple[Position, ...]:
    """The stored positions; none where the pipeline has no tables yet."""
    return session.positions.fetch_positions() if session.has_state else ()


def fetch_next_offsets(session: StreamSession, snapshot: TopicSnapshot) -> Mapping[int, int]:
    """Where the next run would start in each partition, those not yet checked in included."""
    positions = fetch_positions(session)
    found = {position.partition: position.next_offset for position in positions}
    starts = place_new_partitions(session.stream, snapshot, positions, session.inspector)
    return {**found, **starts}


def fetch_backlog(session: StreamSession, snapshot: TopicSnapshot) -> Mapping[int, int]:
    """Offsets that the next run has before it, by partition."""
    next_offsets = fetch_next_offsets(session, snapshot)
    return {
        bounds.partition: max(0, bounds.end_offset - next_offsets[bounds.partition])
        for bounds in snapshot.partitions
    }


def fetch_ranges(session: StreamSession, snapshot: TopicSnapshot) -> tuple[OffsetRange, ...]:
    """What a run against these ends would cover, by partition.

    Raises:
        TerminalError: the topic is another one, ends too early or has lost unread records; or the
            table is gone, or is none that may be filled.

    """
    positions = fetch_positions(session)
    for position in positions:
        check_identity(position.identity, snapshot.identity, snapshot.topic, stream=session.name)
    starts = place_new_partitions(session.stream, snapshot, positions, session.inspector)
    arriving = tuple(
        Position(partition, snapshot.identity, incarnation=1, epoch=1, next_offset=offset)
        for partition, offset in starts.items()
    )
    plans = plan_partitions(
        (*positions, *arriving), snapshot, session.stream.on_data_loss, stream=session.name
    )
    if was_loaded(positions) and session.catalog.fetch_target() is None:
        raise TargetError(describe_loss(session.name, session.stream))
    return tuple(sorted(covered(plans), key=lambda piece: piece.partition))


def limit_snapshot(snapshot: TopicSnapshot, begin: Mapping[int, int]) -> TopicSnapshot:
    """The snapshot of the partitions named, each from the offset given or its first one left."""
    return replace(
        snapshot,
        partitions=tuple(
            replace(bounds, begin_offset=max(bounds.begin_offset, begin[bounds.partition]))
            for bounds in snapshot.partitions
            if bounds.partition in begin
        ),
    )


def fetch_lag(session: StreamSession, *, clock: Callable[[], float] = time.time) -> StreamLag:
    """Lag of every partition; reads one record of each partition that lags, for its age.

    Raises:
        IncarnationChangedError: the topic is another one, so that its offsets say nothing.
        KafkaUnavailableError, TopicMissingError, AuthenticationError: see ``TopicInspector``.

    """
    snapshot = freeze_plan(session.name, session.stream, session.inspector).snapshot
    problem = find_problem(session, snapshot)
    if isinstance(problem, IncarnationChangedError):
        raise problem
    lag = measure_lag(session, snapshot, clock=clock)
    return replace(
        lag,
        dead_letters=count_dead_letters(session),
        problem=problem,
        pause=session.fetch_pause(),
    )


def count_dead_letters(session: StreamSession) -> int:
    """Dead letters of which nothing became yet."""
    if not session.has_state:
        return 0
    return sum(partition.dead_letters for partition in session.inspection.fetch_partitions())


def find_problem(session: StreamSession, snapshot: TopicSnapshot) -> PipelineError | None:
    """What would stop the next run before it reads anything."""
    try:
        fetch_ranges(session, snapshot)
    except PipelineError as error:
        return error
    return None


def measure_lag(
    session: StreamSession, snapshot: TopicSnapshot, *, clock: Callable[[], float] = time.time
) -> StreamLag:
    """As ``fetch_lag``, against ends that are known already."""
    next_offsets = fetch_next_offsets(session, snapshot)
    ages = _fetch_ages(session, limit_snapshot(snapshot, next_offsets), clock)
    return StreamLag(
        session.name,
        session.stream.topic,
        tuple(
            PartitionLag(
                partition=bounds.partition,
                next_offset=next_offsets.get(bounds.partition),
                end_offset=bounds.end_offset,
                readable=max(
                    0, bounds.end_offset - next_offsets.get(bounds.partition, bounds.end_offset)
                ),
                blocked=bounds.high_watermark - bounds.end_offset,
                seconds=ages.get(bounds.partition),
            )
            for bounds in snapshot.partitions
        ),
    )


def fetch_overview(session: StreamSession) -> StreamOverview:
    """Everything that ``status`` shows; a stream whose topic cannot be read is shown all the same.

    Raises:
        PipelineError: PostgreSQL could not be asked.

    """
    stored = session.inspection.fetch_partitions() if session.has_state else ()
    batches = session.inspection.fetch_last_batches(_LAST_BATCHES) if session.has_state else ()
    lag: StreamLag | None = None
    problem: PipelineError | None = None
    try:
        snapshot = freeze_plan(session.name, session.stream, session.inspector).snapshot
        problem = find_problem(session, snapshot)
        if not isinstance(problem, IncarnationChangedError):
            lag = measure_lag(session, snapshot)
    except PipelineError as error:
        problem = error
    return StreamOverview(
        stream=session.name,
        topic=session.stream.topic,
        table=session.stream.table,
        table_exists=session.catalog.fetch_target() is not None,
        stored=stored,
        batches=batches,
        lag=lag,
        problem=problem,
        pause=session.fetch_pause(),
        failure=fetch_failure(session),
        windows=fetch_windows(session),
    )


def fetch_windows(session: StreamSession) -> tuple[WindowStatus, ...]:
    """All windows of a stream; none where the pipeline has no tables for them yet."""
    if not (session.has_state and session.has_applied(BACKFILLS_SINCE)):
        return ()
    return session.backfills.fetch_windows()


def fetch_failure(session: StreamSession) -> StreamFailure | None:
    """Why the stream's last run failed; None where it did not."""
    if not session.has_applied(FAILURES_SINCE):
        return None
    return session.failures.fetch([session.name]).get(session.name)


def is_same_topic(session: StreamSession, snapshot: TopicSnapshot) -> bool:
    """True where topic and cluster are those whose records were loaded before."""
    loaded = {position.identity for position in fetch_positions(session)}
    if not loaded and session.has_applied(BACKFILLS_SINCE):
        loaded = session.backfills.fetch_identities()
    return loaded <= {snapshot.identity}


def _fetch_ages(
    session: StreamSession, unread: TopicSnapshot, clock: Callable[[], float]
) -> dict[int, float]:
    """Seconds since the timestamp of the first readable record of each partition that lags.

    Raises:
        UndecodableBatchError: a partition's next batch is broken, so that a run cannot take it.

    """

    def insist(error: UndecodableBatchError) -> None:
        bounds = None if error.partition is None else unread.bounds(error.partition)
        if bounds is None or error.start_offset == bounds.begin_offset:
            raise error

    sample = read_sample(unread, session.open_reader, most=len(unread.partitions), on_broken=insist)
    now = clock()
    ages: dict[int, float] = {}
    for record in sample:
        if record.timestamp >= 0:
            ages.setdefault(record.partition, max(0.0, now - record.timestamp / 1000))
    return ages
