r"""What COPY FROM STDIN is fed: lines in one of two of its formats.

TEXT has a tab between columns, ``\N`` for NULL, and backslash escapes. CSV has a comma, ``null``
for NULL, and strings in quotes, in which a backslash stands before a quote and before a backslash:
that is a JSON array without its brackets, as long as no string needs any other escape.

Source: PostgreSQL documentation, COPY, "Text Format" and "CSV Format".
"""

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import cached_property
from itertools import chain
from typing import Any, overload

NULL = "\\N"


class CopyFormat(Enum):
    """How lines are written; what COPY has to be told is the writer's business."""

    TEXT = "text"
    CSV = "csv"


def escape(text: str | None) -> str:
    """A column's text as it stands in a line of TEXT; None is SQL NULL."""
    if text is None:
        return NULL
    # The usual text has nothing to escape, and finding that out is cheap.
    if text.isprintable() and "\\" not in text:
        return text
    # In a large text, several times as fast as str.translate.
    text = text.replace("\\", "\\\\").replace("\t", "\\t")
    return text.replace("\n", "\\n").replace("\r", "\\r")


def write_item(item: Any) -> str:
    """A column's item as it stands in a line of TEXT: a text, a number, a boolean or None."""
    if item is None or isinstance(item, str):
        return escape(item)
    return str(item)


class CopyLines(Sequence[str]):
    """Lines for one list of columns; each by itself reads as TEXT, whatever the format is."""

    format: CopyFormat

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "CopyLines": ...
    def __getitem__(self, index: int | slice) -> "str | CopyLines":
        if isinstance(index, slice):
            return self.pick(range(*index.indices(len(self))))
        return next(iter(self.pick([index])))

    @abstractmethod
    def pick(self, indexes: Iterable[int]) -> "CopyLines":
        """These lines, in the same format."""

    @abstractmethod
    def prefix(self, *columns: Iterable[int]) -> "CopyLines":
        """The lines with columns of numbers before them."""

    @abstractmethod
    def payload(self) -> bytes:
        """What COPY is fed for the lines; nothing where there are none."""


class TextLines(CopyLines):
    """Lines of TEXT."""

    format = CopyFormat.TEXT

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = tuple(lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def pick(self, indexes: Iterable[int]) -> "TextLines":
        """These lines, in the same format."""
        return TextLines(map(self._lines.__getitem__, indexes))

    def prefix(self, *columns: Iterable[int]) -> "TextLines":
        """The lines with columns of numbers before them."""
        write = ("%d\t" * len(columns) + "%s").__mod__
        return TextLines(map(write, zip(*columns, self._lines, strict=True)))

    def payload(self) -> bytes:
        """What COPY is fed for the lines; nothing where there are none."""
        return ("\n".join(self._lines) + "\n").encode() if self._lines else b""


class CsvLines(CopyLines):
    r"""Lines of CSV, kept as they are sent: pieces of many lines, each line ended by ``\n``."""

    format = CopyFormat.CSV

    def __init__(self, pieces: Iterable[bytes], number: int) -> None:
        self._pieces = tuple(pieces)
        self._number = number

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[str]:
        return map(_csv_to_text, self._split)

    def pick(self, indexes: Iterable[int]) -> "CsvLines":
        """These lines, in the same format."""
        chosen = list(map(self._split.__getitem__, indexes))
        return CsvLines([_join(chosen)], len(chosen))

    def prefix(self, *columns: Iterable[int]) -> "CsvLines":
        """The lines with columns of numbers before them."""
        write = (b"%d," * len(columns) + b"%b").__mod__
        rows = list(map(write, zip(*columns, self._split, strict=True)))
        return CsvLines([_join(rows)], len(rows))

    def payload(self) -> bytes:
        """What COPY is fed for the lines; nothing where there are none."""
        return b"".join(self._pieces)

    @cached_property
    def _split(self) -> list[bytes]:
        return list(chain.from_iterable(piece.split(b"\n")[:-1] for piece in self._pieces))


def join_lines(parts: Sequence[CopyLines]) -> CopyLines:
    """Lines after lines, all of one format."""
    if parts[0].format is CopyFormat.CSV:
        return CsvLines((part.payload() for part in parts), sum(map(len, parts)))
    return TextLines(chain.from_iterable(parts))


def _join(lines: Sequence[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n" if lines else b""


def _csv_to_text(line: bytes) -> str:
    # Numbers as numbers: a key must look alike, whichever way a line of it was written.
    return "\t".join(map(write_item, json.loads(b"[%b]" % line)))
