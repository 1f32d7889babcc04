"""Numbers of one stream at one moment, for those who plot them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamTotals:
    """The ledger's sums since the stream's first batch; ``last_commit`` in seconds since 1970."""

    rows: int = 0
    dead: int = 0
    record_bytes: int = 0
    last_commit: float | None = None

    def __add__(self, other: "StreamTotals") -> "StreamTotals":
        moments = [t for t in (self.last_commit, other.last_commit) if t is not None]
        return StreamTotals(
            self.rows + other.rows,
            self.dead + other.dead,
            self.record_bytes + other.record_bytes,
            max(moments, default=None),
        )


@dataclass(frozen=True, slots=True)
class StreamAccount:
    """What PostgreSQL says of a stream; ``failures`` counts failed runs in a row."""

    totals: StreamTotals = StreamTotals()
    unresolved_letters: int = 0
    is_paused: bool = False
    failures: int = 0


@dataclass(frozen=True, slots=True)
class StreamMeasure:
    """A stream's account and its lag; what could not be asked is None.

    ``position`` is the sum of the next offsets of all partitions.
    """

    stream: str
    topic: str
    table: str
    position: int | None
    readable: int | None
    blocked: int | None
    account: StreamAccount | None

    @property
    def is_up(self) -> bool:
        """True where both servers answered for this stream: a position was read from each."""
        return self.position is not None
