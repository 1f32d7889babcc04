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
from kafka_pg_pipeline.adapters.postgres.positions import PAUSES_SINCE, PostgresPositions
from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.domain.offsets import Position, TopicSnapshot
from kafka_pg_pipeline.domain.planning import count_blocked
from kafka_pg_pipeline.domain.status import StreamFailure
from kafka_pg_pipeline.errors import (
    KafkaUnavailableError,
    PipelineError,
    PostgresUnavailableError,
    TopicUnavailableError,
)
from kafka_pg_pipeline.ports import TopicInspector
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


class Watch:
    """Looks at streams over connections that live as long as the watch."""

    def __init__(
        self,
        primary: Primary,
        inspectors: Mapping[str, TopicInspector],
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
        for name in random.sample(names, len(names)):
            yield self.look(name, streams[name])

    def look(self, name: str, stream: StreamSettings) -> StreamLook:
        """Look at one stream; never raises a PipelineError.

        A server that did not answer once is not asked again, or fifty streams would wait for it
        fifty times. A topic without a leader holds up nobody but itself.
        """
        if self._down:
            return StreamLook(name, trouble=self._down)
        if self._clock() > self._deadline:
            return StreamLook(name, trouble="not looked at, the time of this look is over")
        try:
            paused = self._fetch_pause(name, stream)
            positions = self._fetch_positions(name, stream)
            snapshot = self._inspectors[stream.isolation].fetch_snapshot(stream.topic)
        except TopicUnavailableError as error:
            return StreamLook(name, trouble=str(error))
        except (KafkaUnavailableError, PostgresUnavailableError) as error:
            self._down = str(error)
            return StreamLook(name, trouble=str(error))
        except PipelineError as error:
            return StreamLook(name, trouble=str(error))
        return replace(judge(name, stream, snapshot, positions), paused=paused)

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

    def _fetch_positions(self, name: str, stream: StreamSettings) -> tuple[Position, ...]:
        if not self._fetch_has_state():
            return ()
        positions = PostgresPositions(self._primary, stream=name, topic=stream.topic)
        return positions.fetch_positions()

    def _fetch_pause(self, name: str, stream: StreamSettings) -> str | None:
        if PAUSES_SINCE in self._fetch_pending():
            return None
        positions = PostgresPositions(self._primary, stream=name, topic=stream.topic)
        pause = positions.fetch_pause()
        return None if pause is None else pause.tell(name)

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
