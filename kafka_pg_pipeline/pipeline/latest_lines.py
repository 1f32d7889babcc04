"""The latest line of each key in a batch whose lines do not all fill the same columns.

A line that leaves a column out leaves the row's value as it is. Where that value comes from an
older line of the same batch, of which the merge takes the latest alone, the line must bring it
along: what a row becomes would depend on where batches are cut otherwise.
"""

from collections.abc import Iterable
from typing import Any


class LatestLines:
    """By key what the lines so far make of a row; keys are compared as they are written."""

    def __init__(self, key: tuple[str, ...]) -> None:
        self._key = key
        self._rows: dict[tuple[str, ...], dict[str, Any]] = {}

    def put_lines(self, names: tuple[str, ...], lines: Iterable[str]) -> None:
        """Note lines that fill these columns, in their order."""
        for line in lines:
            row = dict(zip(names, line.split("\t"), strict=True))
            self._rows[self._key_of(row)] = row

    def complete(
        self, names: tuple[str, ...], items: tuple[Any, ...]
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """A line with what it leaves out and an older one of its key has; notes the whole."""
        row = dict(zip(names, items, strict=True))
        key = self._key_of(row)
        older = self._rows.get(key, {})
        brought = {name: item for name, item in older.items() if name not in row}
        self._rows[key] = row | brought
        return (*names, *brought), (*items, *brought.values())

    def forget(self, names: tuple[str, ...], items: tuple[Any, ...]) -> None:
        """The row of that key is gone, and a later line finds nothing of it."""
        self._rows.pop(self._key_of(dict(zip(names, items, strict=True))), None)

    def _key_of(self, row: dict[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in self._key)
