"""A quick look at all streams: which have records past their position? Changes nothing.

Made for the sensor: one connection to each server for all streams, within one deadline, whatever
state the servers are in.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace

from kafka_pg_pipeline.adapters.kafka.inspector import KafkaInspector
from kafka_pg_pipeline.adapters.postgres.connection import Primary
from kafka_pg_pipeline.adapters.postgres.failures import FAILURES_SINCE, PostgresFailures
from kafka_pg_pipeline.adapters.postgres.inspection import PostgresInspection
from kafka_pg_pipeline.adapters.postgres.migrations import fetch_pending
from kafka_pg_pipeline.adapters.postgres.positions import PAUSES_SINCE
from kafka_pg_pipeline.adapters.postgres.standings import PostgresStandings
from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.domain.offsets import Position, TopicSnapshot
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.domain.planning import count_blocked
from kafka_pg_pipeline.domain.status import StreamFailure
from kafka_pg_pipeline.errors import (
    AuthenticationError,
    KafkaUnavailableError,
    PipelineError,
    TopicUnavailableError,
)
from kafka_pg_pipeline.settings.models import PostgresSettings, StreamSettings

# A tick of the sensor must end within 20 s (delivery.md 5.1). A look may take 10 s of servers that
# are slow: 4 s for PostgreSQL's answer and 6 s for Kafka's; a PostgreSQL that froze takes 9 s. So
# none begins later than this.
LAST_LOOK_SECONDS = 8.0
_KAFKA_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class StreamLook:
    """What one look at a stream saw; ``trouble`` says why there was nothing to see.

    ``paused`` says who has paused the stream, if anybody has.

    ``position`` is the sum over the partitions. ``readable`` counts offsets past it that may be
    loaded now, ``backlog`` the same by partition, ``blocked`` those behind an open transaction.
    ``concern`` is what needs a run though nothing is readable.
    """

    stream: str
    position: int = 0
    readable: int = 0
    blocked: int = 0
    partitions: int = 0
    backlog: Mapping[int, int] = field(default_factory=dict)
    concern: str | None = None
    trouble: str | None = None
    paused: str | None = None

    @property
    def wants_run(self) -> bool:
        """True where a run would move something, or would say what is wrong."""
        if self.trouble or self.paused:
            return False
        return self.readable > 0 or self.concern is not None

    def __str__(self) -> str:
        if said := self.paused or self.trouble:
            return f"{self.stream}: {said}"
        parts = [self.concern] if self.concern else []
        if self.readable:
            parts.append(f"{self.readable} records to load past {self.position}")
        if self.blocked:
            parts.append(f"{self.blocked} records blocked by an open transaction")
        if not parts:
            parts.append(f"up to date at {self.position}")
        plural = "" if self.partitions == 1 else "s"
        return f"{self.stream}: {', '.join(parts)} ({self.partitions} partition{plural})"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen of all streams at once; ``snapshots`` by isolation and topic, as far as any."""

    pauses: Mapping[str, Pause] = field(default_factory=dict)
    positions: Mapping[str, tuple[Position, ...]] = field(default_factory=dict)
    snapshots: Mapping[tuple[str, str], TopicSnapshot] = field(default_factory=dict)


class Watch:
    """Looks at streams over connections that live as long as the watch."""

    def __init__(
        self,
        primary: Primary,
        inspectors: Mapping[str, KafkaInspector],
        clock: Callable[[], float],
    ) -> None:
        self._primary = primary
        self._inspectors = inspectors
        self._clock = clock
        self._deadline = clock() + LAST_LOOK_SECONDS
        self._pending: frozenset[int] | None = None
        self._down: str | None = None

    def look_at_all(self, streams: Mapping[str, StreamSettings]) -> Iterator[StreamLook]:
        """Look at every stream, in another order each time.

        Where the time does not suffice for all, it is not always the same ones that miss out.
        """
        names = list(streams)
        seen = self._look_ahead(streams)
        for name in random.sample(names, len(names)):
            yield self._look(name, streams[name], seen)

    def _look_ahead(self, streams: Mapping[str, StreamSettings]) -> "_Seen":
        """What can be had for all streams at once: a server far away is asked a few times only."""
        try:
            # The positions first: an end that was seen before them could lie before them, too.
            seen = _Seen(self._fetch_pauses(streams), self._fetch_positions(streams))
        except PipelineError as error:
            self._down = str(error)
            return _Seen()
        try:
            return replace(seen, snapshots=self._fetch_snapshots(streams))
        except TopicUnavailableError:
            return seen  # which topic that is, looking at each will tell
        except (KafkaUnavailableError, AuthenticationError) as error:
            self._down = str(error)
            return seen
        except PipelineError:
            return seen

    def _fetch_snapshots(
        self, streams: Mapping[str, StreamSettings]
    ) -> Mapping[tuple[str, str], TopicSnapshot]:
        """By isolation and topic."""
        found: dict[tuple[str, str], TopicSnapshot] = {}
        for isolation, inspector in self._inspectors.items():
            topics = {s.topic for s in streams.values() if s.isolation == isolation}
            if topics:
                seen = inspector.fetch_snapshots(sorted(topics))
                found |= {(isolation, topic): snapshot for topic, snapshot in seen.items()}
        return found

    def _look(self, name: str, stream: StreamSettings, seen: "_Seen") -> StreamLook:
        """Look at one stream; never raises a PipelineError.

        A server that did not answer once is not asked again, or fifty streams would wait for it
        fifty times. A topic without a leader holds up nobody but itself.
        """
        if self._down:
            return StreamLook(name, trouble=self._down)
        if self._clock() > self._deadline:
            return StreamLook(name, trouble="not looked at, the time of this look is over")
        try:
            snapshot = seen.snapshots.get((stream.isolation, stream.topic))
            if snapshot is None:
                snapshot = self._inspectors[stream.isolation].fetch_snapshot(stream.topic)
        except TopicUnavailableError as error:
            return StreamLook(name, trouble=str(error))
        except KafkaUnavailableError as error:
            self._down = str(error)
            return StreamLook(name, trouble=str(error))
        except PipelineError as error:
            return StreamLook(name, trouble=str(error))
        pause = seen.pauses.get(name)
        paused = None if pause is None else pause.tell(name)
        return replace(judge(name, stream, snapshot, seen.positions[name]), paused=paused)

    def fetch_seconds_since_commit(
        self, name: str, stream: StreamSettings, run_id: str
    ) -> float | None:
        """Seconds since a run last committed a batch of the stream; None where it never did.

        Raises:
            PipelineError: PostgreSQL could not say.
        """
        if not self._fetch_has_state():
            return None
        inspection = PostgresInspection(
            self._primary, stream=name, topic=stream.topic, mode=stream.write_mode
        )
        return inspection.fetch_seconds_since_commit(run_id)

    def fetch_failures(self, names: Sequence[str]) -> Mapping[str, StreamFailure]:
        """Failures in a row of those streams whose last run failed.

        Raises:
            PipelineError: PostgreSQL could not say.
        """
        if FAILURES_SINCE in self._fetch_pending():
            return {}
        return PostgresFailures(self._primary).fetch(names)

    def _fetch_positions(
        self, streams: Mapping[str, StreamSettings]
    ) -> Mapping[str, tuple[Position, ...]]:
        if not self._fetch_has_state():
            return dict.fromkeys(streams, ())
        topics = {name: stream.topic for name, stream in streams.items()}
        return PostgresStandings(self._primary).fetch_positions(topics)

    def _fetch_pauses(self, streams: Mapping[str, StreamSettings]) -> Mapping[str, Pause]:
        if PAUSES_SINCE in self._fetch_pending():
            return {}
        return PostgresStandings(self._primary).fetch_pauses(list(streams))

    def _fetch_has_state(self) -> bool:
        return 1 not in self._fetch_pending()

    def _fetch_pending(self) -> frozenset[int]:
        """Versions of the migrations that are missing: whoever only looks applies none."""
        if self._pending is None:
            pending = fetch_pending(self._primary)
            self._pending = frozenset(migration.version for migration in pending)
        return self._pending


@contextmanager
def open_watch(
    endpoints: Endpoints, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Watch]:
    """A watch over all streams of these servers; opens nothing before the first look."""
    with ExitStack() as stack:
        primary = Primary(_impatient(endpoints.postgres), application_name="kafka-pg sensor")
        stack.callback(primary.close)
        inspectors = {
            isolation: stack.enter_context(
                closing(
                    KafkaInspector(
                        endpoints.kafka,
                        isolation=isolation,
                        client_id="kafka-pg-sensor",
                        deadline_seconds=_KAFKA_SECONDS,
                    )
                )
            )
            for isolation in ("read_committed", "read_uncommitted")
        }
        yield Watch(primary, inspectors, clock)


def _impatient(postgres: PostgresSettings) -> PostgresSettings:
    return postgres.model_copy(
        update={
            "connect_timeout_seconds": 4,
            "lock_timeout_seconds": 2.0,
            "statement_timeout_seconds": 4.0,
        }
    )


def judge(
    name: str, stream: StreamSettings, snapshot: TopicSnapshot, positions: tuple[Position, ...]
) -> StreamLook:
    """What the log offers past the positions, and what else a run should see to."""
    next_offsets = {position.partition: position.next_offset for position in positions}
    starts_at_end = not positions and stream.start == "latest"
    position = 0
    backlog = {}
    for bounds in snapshot.partitions:
        usual = bounds.end_offset if starts_at_end else bounds.begin_offset
        start = next_offsets.get(bounds.partition, usual)
        position += start
        backlog[bounds.partition] = max(0, bounds.end_offset - start)
    return StreamLook(
        stream=name,
        position=position,
        readable=sum(backlog.values()),
        blocked=count_blocked(snapshot),
        partitions=len(snapshot.partitions),
        backlog=backlog,
        concern=_find_concern(stream, snapshot, positions),
    )


def _find_concern(
    stream: StreamSettings, snapshot: TopicSnapshot, positions: tuple[Position, ...]
) -> str | None:
    """What a run has to note or to report, however much there is to read."""
    if not positions:
        # The end is where the first run finds it: without one, every record would be too old.
        return "its start at the end is not noted yet" if stream.start == "latest" else None
    if any(position.identity != snapshot.identity for position in positions):
        return "the topic is not the one that was loaded before"
    for position in positions:
        bounds = snapshot.bounds(position.partition)
        if bounds is None or bounds.high_watermark < position.next_offset:
            return "the log ends before the position"
    return None
