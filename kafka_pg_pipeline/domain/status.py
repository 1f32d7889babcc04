"""Where a stream stands: positions against the log, and its last batches."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StoredPartition:
    """What PostgreSQL knows of one partition."""

    partition: int
    incarnation: int
    epoch: int
    next_offset: int
    tail_timestamp: int | None
    updated_at: datetime
    cluster_id: str | None
    topic_id: str | None
    dead_letters: int
    open_gap_offsets: int


@dataclass(frozen=True, slots=True)
class CommittedBatch:
    """One batch of the ledger, its partitions together."""

    batch_id: str
    committed_at: datetime
    run_id: str
    partitions: int
    rows: int
    dead: int
    absent: int
    record_bytes: int


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition's lag: in offsets, and in ``seconds`` as the age of its oldest unread record.

    ``readable`` may be loaded now; ``blocked`` lies behind an open transaction. ``seconds`` is
    None where nothing is readable: then there is no lag.
    """

    partition: int
    next_offset: int | None
    end_offset: int
    readable: int
    blocked: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class StreamFailure:
    """Runs of a stream that failed in a row; error, message and run are those of the last one."""

    stream: str
    failures: int
    error: str
    message: str
    run_id: str
    seconds_ago: float
