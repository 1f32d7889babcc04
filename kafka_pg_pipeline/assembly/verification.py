"""Verifies a stream with its windows: each one's books, and the rows of all of them together."""

from kafka_pg_pipeline.assembly.overview import fetch_windows
from kafka_pg_pipeline.assembly.session import StreamSession
from kafka_pg_pipeline.domain.findings import Verification
from kafka_pg_pipeline.domain.offsets import OffsetRange
from kafka_pg_pipeline.domain.tables import TableName, TargetTable

# Behind any offset that Kafka may give.
_END = 2**63 - 1


def verify_stream(session: StreamSession) -> Verification:
    """Check the invariants of the stream and of all windows that were loaded.

    Raises:
        PipelineError: PostgreSQL could not say.
    """
    found = session.inspection.verify(session.catalog.fetch_target())
    targets: dict[str, TargetTable | None] = {}
    windows = fetch_windows(session)
    for window in windows:
        if window.table not in targets:
            catalog = session.open_catalog(TableName.parse(window.table))
            targets[window.table] = catalog.fetch_target()
        found += session.inspection.verify_window(window.name, targets[window.table])
    # Rows of a topic that was created again do not say which of the two they are of.
    is_first = bool(windows) and session.backfills.fetch_incarnation() == 1
    for target in targets.values():
        if target is not None and is_first:
            found += session.inspection.verify_windows(target, _offsets_of(session, target))
    return found


def _offsets_of(session: StreamSession, target: TargetTable) -> tuple[OffsetRange, ...]:
    """Where only windows have loaded rows of the table."""
    if target.name != TableName.parse(session.stream.table):
        partitions = session.backfills.fetch_partitions()
        return tuple(OffsetRange(partition, 0, _END) for partition in partitions)
    uncovered = session.backfills.fetch_uncovered(incarnation=1)
    return tuple(piece for pieces in uncovered.values() for piece in pieces)
