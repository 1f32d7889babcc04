"""How topics are polled, and when a poll that finds nothing means a stuck client."""

from collections.abc import Callable

# A poll that finds nothing costs this much before positions are looked at: trailing control
# records move the position without returning a record.
POLL_SECONDS = 0.1
POLL_RECORDS = 5_000
# A position that stands still this long before the end means a stuck client (delivery.md 4.2).
STALL_SECONDS = 20.0


class StallWatch:
    """Watches over polls that should move on, from the moment it is made."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._moved = clock()

    def is_stalled(self, *, moved: bool) -> bool:
        """To be told after each poll whether anything moved: whether nothing has for too long."""
        if moved:
            self._moved = self._clock()
        return self._clock() - self._moved > STALL_SECONDS
