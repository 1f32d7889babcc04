"""How rows meet the table."""

from dataclasses import dataclass
from enum import Enum


class Mode(str, Enum):
    """What becomes of a record whose key has a row.

    APPEND asks no key: each record is a row. INSERT_IGNORE leaves the row as it is. UPSERT makes
    it what the record says.
    """

    APPEND = "append"
    INSERT_IGNORE = "insert-ignore"
    UPSERT = "upsert"


@dataclass(frozen=True, slots=True)
class WriteMode:
    """The mode, with what it needs.

    ``key`` names the columns that tell one row from another; none in APPEND. ``deletes`` says
    that a tombstone or a delete removes its row; else these have no effect. ``newest_wins`` says
    that a row gives way to a record with a higher offset only, so that a replay changes nothing.
    """

    mode: Mode = Mode.APPEND
    key: tuple[str, ...] = ()
    deletes: bool = True
    newest_wins: bool = False


APPEND = WriteMode()
