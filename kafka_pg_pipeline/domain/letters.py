"""Dead letters as they are stored: what identifies them, what they hold, what became of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from kafka_pg_pipeline.domain.records import Reason


class Resolution(str, Enum):
    """REPLAYED: its record is a row now. DISCARDED: somebody decided that it never will be."""

    REPLAYED = "replayed"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters of a stream are meant: those that meet all that is not None.

    ``since`` (included) and ``until`` (excluded) bound the time at which a letter was stored.
    """

    ids: tuple[int, ...] | None = None
    reason: Reason | None = None
    since: datetime | None = None
    until: datetime | None = None
    partition: int | None = None
    offset: int | None = None
    column: str | None = None

    @property
    def is_all(self) -> bool:
        """True where every letter is meant."""
        return self == LetterFilter()


@dataclass(frozen=True, slots=True)
class Letter:
    """What is known of a dead letter without its record's content.

    ``timestamp`` is the record's, in milliseconds; ``record_bytes`` counts key, value and headers.
    ``resolution`` is None as long as nothing became of it; ``resolved_by`` is a run's id.
    """

    id: int
    partition: int
    offset: int
    timestamp: int
    stored_at: datetime
    stage: str
    reason: str
    column: str | None
    sqlstate: str | None
    record_bytes: int
    resolution: Resolution | None
    resolved_at: datetime | None
    resolved_by: str | None
    copied_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """The record of the dead letter ``letter_id``, byte for byte; satisfies ``Record``."""

    letter_id: int
    partition: int
    incarnation: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class OpenedLetter:
    """A dead letter with its record's content."""

    letter: Letter
    record: StoredRecord


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Some of the letters that a filter means, newest first, and how many there are by reason."""

    letters: tuple[Letter, ...]
    by_reason: Mapping[str, int]

    @property
    def total(self) -> int:
        """All that the filter means."""
        return sum(self.by_reason.values())


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """How many letters, and bytes of their records, one transaction of a replay takes."""

    max_rows: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class ReplayCounts:
    """What became of letters in a replay.

    ``replayed`` wrote or deleted a row. ``ignored`` are resolved too, without an effect: by the
    stream's mode their record had none, or a newer one counts. ``rejected`` stay, by their present
    reason.
    """

    replayed: int = 0
    ignored: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "ReplayCounts") -> "ReplayCounts":
        rejected = Counter(self.rejected) + Counter(other.rejected)
        return ReplayCounts(
            self.replayed + other.replayed, self.ignored + other.ignored, dict(rejected)
        )

    @property
    def still_rejected(self) -> int:
        """Letters that stay."""
        return sum(self.rejected.values())


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay did, or would do where it is a dry run."""

    stream: str
    topic: str
    table: str
    run_id: str
    counts: ReplayCounts
    dry_run: bool
