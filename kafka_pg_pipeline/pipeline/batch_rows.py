"""How many records a batch may have: what PostgreSQL writes in a few seconds."""

# However slow a table is, a batch of fewer would mostly be the cost of its transaction.
LEAST = 500
# How much larger than the last one a batch may be, where that was full and written quickly.
_GROWTH = 2


class BatchRows:
    """Adapts the number of records to what writing them costs.

    A merge into a large table, or one with triggers, may take longer for each row than another
    does for a hundred: a batch of a fixed size would hold its locks for minutes there, or meet
    the statement's timeout each time anew. The first batch has ``most`` records.
    """

    def __init__(self, most: int, write_seconds: float) -> None:
        self._most = most
        self._least = min(LEAST, most)
        self._seconds = write_seconds
        self.number = most

    def note(self, records: int, seconds: float) -> None:
        """Learn from a batch that was written, or that the server gave up on."""
        share = self._seconds / max(seconds, self._seconds / _GROWTH)
        affordable = int(records * share)
        if seconds > self._seconds:
            self.number = max(self._least, min(self.number, affordable))
        elif records >= self.number:
            self.number = min(self._most, max(self.number, affordable), self.number * _GROWTH)
