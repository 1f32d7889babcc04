"""Runs the loader for one stream up to now, or for several streams again and again."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace

from kafka_pg_pipeline.assembly.outcomes import noting_outcome
from kafka_pg_pipeline.assembly.overview import fetch_next_offsets
from kafka_pg_pipeline.assembly.session import StreamSession, open_session
from kafka_pg_pipeline.cli.configuration import Pipeline, use_configuration
from kafka_pg_pipeline.cli.failures import tell_failure
from kafka_pg_pipeline.cli.output import note
from kafka_pg_pipeline.cli.progress import LoadProgress
from kafka_pg_pipeline.cli.stopping import StopRequest
from kafka_pg_pipeline.cli.streams import new_run_id
from kafka_pg_pipeline.domain.planning import LoadPlan
from kafka_pg_pipeline.domain.reports import LoadReport
from kafka_pg_pipeline.errors import AuthenticationError, PipelineError, TransientError
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.settings.models import StreamSettings

IDLE_SECONDS = 1.0
# With several streams no one of them keeps the others waiting longer than this.
_TURN_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 30.0

ShowProgress = Callable[[str, int], AbstractContextManager[LoadProgress]]


@dataclass(frozen=True)
class Limits:
    """What one stream may take in all; None is no limit."""

    max_records: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class Loaded:
    """One stream's run, and where the stream stands after it (partition → next offset)."""

    report: LoadReport
    positions: Mapping[int, int]


def load_stream(
    pipeline: Pipeline,
    name: str,
    stream: StreamSettings,
    *,
    limits: Limits,
    stop: StopRequest,
    show: ShowProgress,
) -> Loaded:
    """Load one stream up to its present end.

    Raises:
        PipelineError: what stopped it; what was committed stays.

    """
    with open_session(name, stream, pipeline.endpoints, run_id=new_run_id()) as session:
        return load_session(session, limits=limits, stop=stop, show=show)


def load_session(
    session: StreamSession, *, limits: Limits, stop: StopRequest, show: ShowProgress
) -> Loaded:
    """As ``load_stream``, on a session that is open already."""
    with noting_outcome(session):
        plan = freeze_plan(
            session.name,
            session.stream,
            session.inspector,
            max_records=limits.max_records,
            max_seconds=limits.max_seconds,
        )
        with show(session.name, count_planned(session, plan)) as progress:
            report = session.loader.load(plan, stop=stop, listener=progress)
    positions = {p.partition: p.next_offset for p in session.positions.fetch_positions()}
    return Loaded(report, positions)


def count_planned(session: StreamSession, plan: LoadPlan) -> int:
    """Offsets between the position and the frozen end, within the run's limit."""
    next_offsets = fetch_next_offsets(session, plan.snapshot)
    available = sum(
        max(0, bounds.end_offset - next_offsets.get(bounds.partition, bounds.end_offset))
        for bounds in plan.snapshot.partitions
    )
    return available if plan.max_records is None else min(available, plan.max_records)


@dataclass
class _Turn:
    """One stream of a run without end; ``error`` is what took it out of the run."""

    name: str
    stream: StreamSettings
    records_left: int | None
    session: ExitStack = field(default_factory=ExitStack)
    opened: StreamSession | None = None
    faults: int = 0
    next_try: float = 0.0
    told: str = ""
    error: PipelineError | None = None

    @property
    def is_over(self) -> bool:
        return self.error is not None or self.records_left == 0

    def close(self) -> None:
        self.session.close()
        self.session, self.opened = ExitStack(), None


class EndlessLoad:
    """Loads streams in turn until it is stopped, or no stream is left to load.

    A passing fault lets a stream pause for a while; one that needs a person takes it out of the
    run, and the others go on.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        streams: Mapping[str, StreamSettings],
        *,
        limits: Limits,
        stop: StopRequest,
        show: ShowProgress,
        listener: Callable[[Loaded], None],
        debug: bool,
    ) -> None:
        self._pipeline = pipeline
        self._turns = [_Turn(name, stream, limits.max_records) for name, stream in streams.items()]
        self._deadline = (
            None if limits.max_seconds is None else time.monotonic() + limits.max_seconds
        )
        self._stop = stop
        self._show = show
        self._listener = listener
        self._debug = debug
        self._next_renewal = 0.0
        self.positions: dict[str, Mapping[int, int]] = {}

    def run(self) -> list[PipelineError]:
        """Load until the end; return what took streams out of the run."""
        try:
            while self._active() and not self._is_over():
                rows = sum(self._take(turn) for turn in self._active() if not self._is_over())
                if not rows:
                    self._stop.wait(self._within_deadline(IDLE_SECONDS))
        finally:
            for turn in self._turns:
                turn.close()
        return [turn.error for turn in self._turns if turn.error is not None]

    def _active(self) -> list[_Turn]:
        return [turn for turn in self._turns if not turn.is_over]

    def _is_over(self) -> bool:
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return late or self._stop.is_set()

    def _within_deadline(self, seconds: float) -> float:
        if self._deadline is None:
            return seconds
        return max(0.0, min(seconds, self._deadline - time.monotonic()))

    def _take(self, turn: _Turn) -> int:
        """One stream's turn; returns the offsets it covered."""
        if time.monotonic() < turn.next_try:
            return 0
        try:
            loaded = self._load(turn)
        except PipelineError as error:
            self._face(turn, error)
            return 0
        pause = loaded.report.pause
        paused = "" if pause is None else pause.tell(turn.name)
        if paused != turn.told and paused:
            note(f"{turn.name}: {paused}")
        turn.faults, turn.told = 0, paused
        self.positions[turn.name] = loaded.positions
        covered = loaded.report.covered
        if turn.records_left is not None:
            visible = covered - loaded.report.counts.absent
            turn.records_left = max(0, turn.records_left - visible)
        if covered:
            self._listener(loaded)
        return covered

    def _load(self, turn: _Turn) -> Loaded:
        if turn.opened is None:
            turn.opened = turn.session.enter_context(
                open_session(turn.name, turn.stream, self._pipeline.endpoints, run_id=new_run_id())
            )
        seconds = _TURN_SECONDS if len(self._turns) > 1 else None
        limits = Limits(turn.records_left, seconds)
        if self._deadline is not None:
            limits = replace(limits, max_seconds=self._within_deadline(seconds or float("inf")))
        return load_session(turn.opened, limits=limits, stop=self._stop, show=self._show)

    def _renew_endpoints(self, error: PipelineError) -> bool:
        """Ask Aiven again, where it named the servers; whether a login may work now."""
        if self._pipeline.endpoints.lookup is None or time.monotonic() < self._next_renewal:
            return False
        self._next_renewal = time.monotonic() + _LONGEST_PAUSE_SECONDS
        try:
            self._pipeline = use_configuration(self._pipeline.loaded)
        except PipelineError as failure:
            tell_failure(failure, debug=self._debug)
        return isinstance(error, AuthenticationError)

    def _face(self, turn: _Turn, error: PipelineError) -> None:
        turn.close()
        renewed = self._renew_endpoints(error)
        if renewed and not turn.faults:
            turn.faults += 1
            return
        if not isinstance(error, TransientError):
            turn.error = error
            tell_failure(error, debug=self._debug, stream=turn.name)
            return
        turn.faults += 1
        turn.next_try = time.monotonic() + min(_LONGEST_PAUSE_SECONDS, 2.0**turn.faults)
        if str(error) != turn.told:
            turn.told = str(error)
            tell_failure(error, debug=self._debug, stream=turn.name)
