"""When a run ends before its plan does: at a wish, after its time, or with its consumer."""

import time
from collections.abc import Callable

from kafka_pg_pipeline.ports import StopSignal


class StopRule:
    """Stops at a person's wish or when the run's time is over, whichever comes first."""

    def __init__(
        self,
        requested: StopSignal,
        max_seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requested = requested
        self._clock = clock
        self._deadline = None if max_seconds is None else clock() + max_seconds

    @property
    def requested(self) -> bool:
        """True where a person, or Dagster, asked for the stop."""
        return self._requested.is_set()

    def is_set(self) -> bool:
        """True where the run should end after the batch in flight."""
        late = self._deadline is not None and self._clock() >= self._deadline
        return late or self.requested


class UntilLeft:
    """Tells the reading thread to stop when its consumer leaves, for whatever reason."""

    def __init__(self, rule: StopRule) -> None:
        self._rule = rule
        self._left = False

    def __enter__(self) -> "UntilLeft":
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True

    def is_set(self) -> bool:
        """True where reading on would be for nothing."""
        return self._left or self._rule.is_set()
