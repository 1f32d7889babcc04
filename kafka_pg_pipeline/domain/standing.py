"""Where a stream stands."""

from dataclasses import dataclass

from kafka_pg_pipeline.domain.offsets import Position
from kafka_pg_pipeline.domain.pauses import Pause


@dataclass(frozen=True, slots=True)
class Standing:
    """A stream's positions of one moment, ascending by partition, and its pause, if it has one.

    A pause that is set later raises their epoch.
    """

    positions: tuple[Position, ...]
    pause: Pause | None
