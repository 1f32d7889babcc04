"""What a purge took away."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """One stream's purge, the windows of its backfills included.

    ``merged_lines`` is by how many lines the ledger became shorter: no count and no interval is
    lost by that. ``removed_letters`` are resolved dead letters, with their records' content.
    """

    stream: str
    merged_lines: int = 0
    removed_letters: int = 0

    def __add__(self, other: "PurgeReport") -> "PurgeReport":
        return PurgeReport(
            self.stream,
            self.merged_lines + other.merged_lines,
            self.removed_letters + other.removed_letters,
        )
