"""A quick look at all streams: which have records past their position? Changes nothing.

Made for the sensor: one connection to each server for all streams, within one deadline, whatever
state the servers are in.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from kafka_pg_pipeline.adapters.kafka.inspector import KafkaInspector
from kafka_pg_pipeline.adapters.postgres.connection import Primary
from kafka_pg_pipeline.adapters.postgres.inspection import PostgresInspection
from kafka_pg_pipeline.adapters.postgres.migrations import fetch_pending
from kafka_pg_pipeline.adapters.postgres.positions import PostgresPositions
from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.domain.offsets import Position, TopicSnapshot
from kafka_pg_pipeline.domain.planning import count_blocked
from kafka_pg_pipeline.errors import (
    KafkaUnavailableError,
    PipelineError,
    PostgresUnavailableError,
)
from kafka_pg_pipeline.settings.models import PostgresSettings, StreamSettings

# For all streams together; a sensor tick must end within 20 s (delivery.md 5.1).
LOOK_SECONDS = 16.0
_KAFKA_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class StreamLook:
    """What one look at a stream saw; ``trouble`` says why there was nothing to see.

    ``readable`` counts offsets past the position that may be loaded now, ``blocked`` those behind
    an open transaction.
    """

    stream: str
    readable: int = 0
    blocked: int = 0
    partitions: int = 0
    trouble: str | None = None

    def __str__(self) -> str:
        if self.trouble:
            return f"{self.stream}: {self.trouble}"
        parts = [f"{self.readable} records to load" if self.readable else "up to date"]
        if self.blocked:
            parts.append(f"{self.blocked} records blocked by an open transaction")
        return f"{self.stream}: {', '.join(parts)} ({self.partitions} partitions)"


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
        self._deadline = clock() + LOOK_SECONDS
        self._has_state: bool | None = None
        self._down: dict[type[PipelineError], str] = {}

    def look(self, name: str, stream: StreamSettings) -> StreamLook:
        """Look at one stream; never raises a PipelineError.

        A server that did not answer once is not asked again, or fifty streams would wait for it
        fifty times.
        """
        if self._down:
            return StreamLook(name, trouble=next(iter(self._down.values())))
        if self._clock() > self._deadline:
            return StreamLook(name, trouble="not looked at, the time of this look is over")
        try:
            positions = self._fetch_positions(name, stream)
            snapshot = self._inspectors[stream.isolation].fetch_snapshot(stream.topic)
        except (KafkaUnavailableError, PostgresUnavailableError) as error:
            self._down[type(error)] = str(error)
            return StreamLook(name, trouble=str(error))
        except PipelineError as error:
            return StreamLook(name, trouble=str(error))
        return StreamLook(
            stream=name,
            readable=_count_readable(stream, snapshot, positions),
            blocked=count_blocked(snapshot),
            partitions=len(snapshot.partitions),
        )

    def fetch_seconds_since_commit(
        self, name: str, stream: StreamSettings, run_id: str
    ) -> float | None:
        """Seconds since a run last committed a batch of the stream; None where it never did."""
        if not self._fetch_has_state():
            return None
        inspection = PostgresInspection(self._primary, stream=name, topic=stream.topic)
        return inspection.fetch_seconds_since_commit(run_id)

    def _fetch_positions(self, name: str, stream: StreamSettings) -> tuple[Position, ...]:
        if not self._fetch_has_state():
            return ()
        positions = PostgresPositions(self._primary, stream=name, topic=stream.topic)
        return positions.fetch_positions()

    def _fetch_has_state(self) -> bool:
        if self._has_state is None:
            pending = fetch_pending(self._primary)
            self._has_state = all(migration.version > 1 for migration in pending)
        return self._has_state


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


def _count_readable(
    stream: StreamSettings, snapshot: TopicSnapshot, positions: tuple[Position, ...]
) -> int:
    """Offsets that a run would cover; a run is also needed to see that a topic is another one."""
    next_offsets = {position.partition: position.next_offset for position in positions}
    is_new = not positions
    readable = 0
    for bounds in snapshot.partitions:
        start = next_offsets.get(bounds.partition, bounds.begin_offset)
        if is_new and stream.start == "latest":
            start = bounds.end_offset
        readable += max(0, bounds.end_offset - start)
    recreated = any(position.identity != snapshot.identity for position in positions)
    return max(readable, 1) if recreated else readable
