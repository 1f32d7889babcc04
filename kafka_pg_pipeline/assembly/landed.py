"""What a load left behind, for whoever shows it: the topic, the table's columns, a few rows."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from kafka_pg_pipeline.assembly.session import StreamSession
from kafka_pg_pipeline.domain.offsets import Position, TopicSnapshot
from kafka_pg_pipeline.domain.planning import count_available, count_blocked
from kafka_pg_pipeline.domain.reports import LoadReport
from kafka_pg_pipeline.domain.tables import Column
from kafka_pg_pipeline.errors import PipelineError

_PREVIEW_ROWS = 5


@dataclass(frozen=True)
class TopicState:
    """A topic at its last look, against where the stream stands after the load.

    ``records`` are the offsets that the topic holds, ``readable`` those of them past the stream's
    position, ``blocked`` those behind an open transaction. ``lag_seconds`` is how far the last
    loaded record of the partition that lags most lies back; 0 where nothing is readable, None
    where it is not known.
    """

    topic: str
    partitions: int
    records: int
    end_offset: int
    readable: int
    blocked: int
    lag_seconds: float | None


@dataclass(frozen=True)
class Landed:
    """A load's report, and what was seen after it; nothing was seen where a server did not answer.

    ``rows`` are some of those that landed last, as text by column, where the stream allows it.
    """

    report: LoadReport
    topic: TopicState | None = None
    columns: tuple[Column, ...] = ()
    rows: tuple[Mapping[str, str | None], ...] = ()


def look_after(
    session: StreamSession,
    report: LoadReport,
    snapshot: TopicSnapshot,
    *,
    clock: Callable[[], float] = time.time,
) -> Landed:
    """Look at what was loaded; never fails a load that went well.

    ``snapshot`` is the look at the topic that the load was planned by.
    """
    topic: TopicState | None = None
    columns: tuple[Column, ...] = ()
    rows: tuple[Mapping[str, str | None], ...] = ()
    with suppress(PipelineError):
        topic = _state_of(snapshot, session.positions.fetch_positions(), clock)
        target = session.catalog.fetch_target()
        if target is not None:
            columns = target.columns
            if session.stream.asset.preview and report.counts.rows:
                rows = session.inspection.fetch_last_rows(target, _PREVIEW_ROWS)
    return Landed(report, topic, columns, rows)


def _state_of(
    snapshot: TopicSnapshot, positions: tuple[Position, ...], clock: Callable[[], float]
) -> TopicState:
    readable = count_available(positions, snapshot)
    ends = {bounds.partition: bounds.end_offset for bounds in snapshot.partitions}
    tails = [
        position.tail.timestamp
        for position in positions
        if position.tail is not None and ends.get(position.partition, 0) > position.next_offset
    ]
    known = [timestamp for timestamp in tails if timestamp >= 0]
    lag_seconds = max(0.0, clock() - min(known) / 1000) if known else None
    return TopicState(
        topic=snapshot.topic,
        partitions=len(snapshot.partitions),
        records=sum(b.high_watermark - b.begin_offset for b in snapshot.partitions),
        end_offset=sum(ends.values()),
        readable=readable,
        blocked=count_blocked(snapshot),
        lag_seconds=lag_seconds if readable else 0.0,
    )
