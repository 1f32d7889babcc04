"""One log line for each committed batch: words for people, the same as fields for machines."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from kafka_pg_pipeline.domain.batches import BatchCounts, WriteResult


class BatchLog:
    """Told of a run's committed batches, one after the other; holds no record's content.

    A batch's ``seconds`` are those since the one before it, or since this was made.
    """

    def __init__(
        self,
        *,
        stream: str,
        topic: str,
        run_id: str,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names = {"stream": stream, "topic": topic, "run_id": run_id}
        self._log = log
        self._clock = clock
        self._last = clock()

    def __call__(self, result: WriteResult) -> None:
        """Log a committed batch."""
        now = self._clock()
        seconds, self._last = round(now - self._last, 3), now
        counts = sum((entry.counts for entry in result.entries), BatchCounts())
        self._log.info(
            "%s: %s%s committed, %d rows, %d dead, %d absent, %.2f s",
            self._names["stream"],
            self._names["topic"],
            " ".join(str(entry.offsets) for entry in result.entries),
            counts.rows,
            counts.dead,
            counts.absent,
            seconds,
            extra={**self._names, **_fields(result), **asdict(counts), "seconds": seconds},
        )


def _fields(result: WriteResult) -> dict[str, Any]:
    return {
        "batch_id": str(result.entries[0].batch_id) if result.entries else None,
        "ranges": [asdict(entry.offsets) for entry in result.entries],
        "record_bytes": sum(entry.record_bytes for entry in result.entries),
    }
