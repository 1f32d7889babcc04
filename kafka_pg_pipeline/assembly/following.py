"""Follows streams: loads what arrives, in rounds, until it is told to stop.

A round takes each stream up to its end of that moment, so batches are as large as what arrived
since the last round: small when it is quiet, large when there is a backlog. Rounds begin a quarter
of a second apart at least, which bounds the commits of a stream; where nothing arrives they come
more rarely, and an idle stream costs one look at its topic's ends and no commit.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.assembly.loading import Limits, Loaded, load_session, plan_session
from kafka_pg_pipeline.assembly.session import StreamSession, open_session
from kafka_pg_pipeline.domain.offsets import TopicSnapshot
from kafka_pg_pipeline.errors import AuthenticationError, PipelineError, TransientError
from kafka_pg_pipeline.ports import StopSignal
from kafka_pg_pipeline.settings.models import StreamSettings

PACE_SECONDS = 0.25
IDLE_SECONDS = 1.0
# An idle stream is looked at through PostgreSQL this often, too: somebody may have paused it, or
# moved its position.
_WHOLE_LOOK_SECONDS = 10.0
# With several streams no one of them keeps the others waiting longer than this.
_TURN_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 30.0
# The budget of rejected records for a run counts those of so long, as a usual run lasts.
_BUDGET_SECONDS = 600.0


class Patience(StopSignal, Protocol):
    """A stop signal that can be waited for; ``threading.Event`` satisfies it."""

    def wait(self, timeout: float, /) -> bool:
        """Wait for the signal at most so many seconds; True where it came."""


class FollowListener(Protocol):
    """Told of what happens to each stream; must not raise."""

    def loaded(self, loaded: Loaded) -> None:
        """A round covered something."""

    def paused(self, stream: str, pause: str) -> None:
        """The stream is paused, since the last round or from the start."""

    def failed(self, stream: str, error: PipelineError) -> None:
        """A load failed: it is tried again if the fault can pass, else the stream is left out."""


@dataclass
class _Turn:
    """One stream that is followed; ``error`` is what took it out."""

    name: str
    stream: StreamSettings
    records_left: int | None
    session: ExitStack = field(default_factory=ExitStack)
    opened: StreamSession | None = None
    faults: int = 0
    next_try: float = 0.0
    next_whole_look: float = 0.0
    told: str = ""
    error: PipelineError | None = None
    positions: Mapping[int, int] | None = None
    rejected: deque[tuple[float, int]] = field(default_factory=deque)
    endpoints: Endpoints | None = None
    was_refused: bool = False

    @property
    def is_over(self) -> bool:
        return self.error is not None or self.records_left == 0

    def close(self) -> None:
        self.session.close()
        self.session, self.opened = ExitStack(), None

    def note(self, loaded: Loaded, now: float) -> None:
        self.faults, self.positions, self.was_refused = 0, loaded.positions, False
        self.rejected.append((now, loaded.report.counts.dead))
        if self.records_left is not None:
            visible = loaded.report.covered - loaded.report.counts.absent
            self.records_left = max(0, self.records_left - visible)

    def count_rejected(self, now: float) -> int:
        while self.rejected and self.rejected[0][0] < now - _BUDGET_SECONDS:
            self.rejected.popleft()
        return sum(dead for _, dead in self.rejected)


class Following:
    """Follows streams until a stop, a time limit, or no stream is left.

    A passing fault lets a stream wait for a while; one that needs a person takes it out, and the
    others go on. ``new_run_id`` is asked for each session that is opened.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        streams: Mapping[str, StreamSettings],
        *,
        limits: Limits,
        stop: Patience,
        listener: FollowListener,
        new_run_id: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoints = endpoints
        self._turns = [_Turn(name, stream, limits.max_records) for name, stream in streams.items()]
        self._clock = clock
        self._deadline = None if limits.max_seconds is None else clock() + limits.max_seconds
        self._stop = stop
        self._listener = listener
        self._new_run_id = new_run_id
        self._next_look_again = 0.0

    @property
    def positions(self) -> Mapping[str, Mapping[int, int]]:
        """Where the streams stand that were loaded from: partition → next offset."""
        return {turn.name: turn.positions for turn in self._turns if turn.positions is not None}

    @property
    def errors(self) -> Mapping[str, PipelineError]:
        """What took streams out, by their names."""
        return {turn.name: turn.error for turn in self._turns if turn.error is not None}

    def run(self) -> None:
        """Follow until the end."""
        wait = PACE_SECONDS
        try:
            while self._active() and not self._is_over():
                began = self._clock()
                covered = sum(self._take(turn) for turn in self._active() if not self._is_over())
                wait = PACE_SECONDS if covered else min(IDLE_SECONDS, 2 * wait)
                self._stop.wait(self._within_deadline(max(0.0, began + wait - self._clock())))
        finally:
            for turn in self._turns:
                turn.close()

    def _active(self) -> list[_Turn]:
        return [turn for turn in self._turns if not turn.is_over]

    def _is_over(self) -> bool:
        late = self._deadline is not None and self._clock() >= self._deadline
        return late or self._stop.is_set()

    def _within_deadline(self, seconds: float) -> float:
        if self._deadline is None:
            return seconds
        return max(0.0, min(seconds, self._deadline - self._clock()))

    def _take(self, turn: _Turn) -> int:
        """One stream's turn; returns the offsets it covered."""
        if self._clock() < turn.next_try:
            return 0
        try:
            session = self._open(turn)
            plan = plan_session(session, self._limits_of(turn))
            if self._is_idle(turn, plan.snapshot):
                return 0
            rejected = turn.count_rejected(self._clock())
            loaded = load_session(session, plan, stop=self._stop, rejected_before=rejected)
        except PipelineError as error:
            self._face(turn, error)
            return 0
        turn.next_whole_look = self._clock() + _WHOLE_LOOK_SECONDS
        turn.note(loaded, self._clock())
        pause = loaded.report.pause
        said = "" if pause is None else pause.tell(turn.name)
        if said and said != turn.told:
            self._listener.paused(turn.name, said)
        turn.told = said
        if loaded.report.covered:
            self._listener.loaded(loaded)
        return loaded.report.covered

    def _open(self, turn: _Turn) -> StreamSession:
        if turn.opened is None:
            turn.endpoints = self._endpoints
            turn.opened = turn.session.enter_context(
                open_session(turn.name, turn.stream, self._endpoints, run_id=self._new_run_id())
            )
            turn.positions = None
        return turn.opened

    def _is_idle(self, turn: _Turn, snapshot: TopicSnapshot) -> bool:
        """Whether the topic's ends are still where the last round left the stream."""
        if self._clock() >= turn.next_whole_look:
            return False
        ends = {bounds.partition: bounds.end_offset for bounds in snapshot.partitions}
        return ends == turn.positions

    def _limits_of(self, turn: _Turn) -> Limits:
        seconds = _TURN_SECONDS if len(self._turns) > 1 else None
        if self._deadline is not None:
            seconds = self._within_deadline(seconds or float("inf"))
        return Limits(turn.records_left, seconds)

    def _look_again(self, turn: _Turn, *, at_once: bool) -> None:
        """Ask again where the servers are, if it was Aiven that told what the stream went by."""
        look_again, now = self._endpoints.look_again, self._clock()
        is_new = turn.endpoints is not self._endpoints
        if look_again is None or is_new or (now < self._next_look_again and not at_once):
            return
        self._next_look_again = now + _LONGEST_PAUSE_SECONDS
        try:
            self._endpoints = look_again()
        except PipelineError:
            return  # what is known may be right still

    def _may_pass(self, turn: _Turn, error: PipelineError) -> bool:
        """Whether to try again; a login is, once, with what Aiven tells now."""
        is_login = isinstance(error, AuthenticationError) and self._endpoints.look_again is not None
        may_pass = isinstance(error, TransientError) or (is_login and not turn.was_refused)
        turn.was_refused = turn.was_refused or is_login
        if may_pass:
            self._look_again(turn, at_once=is_login)
        return may_pass

    def _face(self, turn: _Turn, error: PipelineError) -> None:
        turn.close()
        if not self._may_pass(turn, error):
            turn.error = error
            self._listener.failed(turn.name, error)
            return
        turn.faults += 1
        turn.next_try = self._clock() + min(_LONGEST_PAUSE_SECONDS, 2.0**turn.faults)
        if str(error) != turn.told:
            turn.told = str(error)
            self._listener.failed(turn.name, error)
