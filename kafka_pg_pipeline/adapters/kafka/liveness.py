"""Decides when silence from the broker has to be looked into, and when it is a failure."""

from collections.abc import Callable

from kafka_pg_pipeline.errors import KafkaUnavailableError


class Liveness:
    """Time since a reader last moved; a third of the patience passes before anyone asks why.

    ``patience_seconds`` is how long a reader may stand still although there is more to read.
    """

    def __init__(self, patience_seconds: float, clock: Callable[[], float]) -> None:
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._check_after = clock() + patience_seconds / 3
        self._behind_since: float | None = None

    @property
    def check_timeout_seconds(self) -> float:
        """How long the question to the broker may take."""
        return self._patience_seconds * 2 / 3

    def record_progress(self) -> None:
        """The reader moved."""
        self._behind_since = None
        self._check_after = self._clock() + self._patience_seconds / 3

    def is_check_due(self) -> bool:
        """Whether the broker should be asked for the ends."""
        return self._clock() >= self._check_after

    def record_check(self, *, is_behind: bool) -> None:
        """The broker answered; ``is_behind`` says that there is more than was read.

        Raises:
            KafkaUnavailableError: The reader has been behind for too long without moving.
        """
        now = self._clock()
        self._check_after = now + self._patience_seconds / 3
        if not is_behind:
            self._behind_since = None
            return
        if self._behind_since is None:
            self._behind_since = now
        elif now - self._behind_since >= self._patience_seconds:
            raise KafkaUnavailableError(
                f"Kafka has more records, but none arrived for {self._patience_seconds:g} s; the "
                "next run opens a new connection"
            )
