"""A stream that somebody has stopped on purpose."""

from dataclasses import dataclass
from datetime import datetime, timezone


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused a stream, when, and why, in their own words."""

    reason: str
    by: str
    since: datetime

    def __str__(self) -> str:
        since = self.since.astimezone(timezone.utc)
        return f"paused since {since:%Y-%m-%d %H:%M:%S}Z by {self.by}: {self.reason}"

    def tell(self, stream: str) -> str:
        """The whole sentence, with the command that ends the pause."""
        return f"{self}; `kafka-pg resume {stream}` lets it go on"
