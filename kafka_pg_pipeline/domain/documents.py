r"""What a decoder makes of a record's bytes, whatever their format: a JSON document and a change.

All formats meet here, so that what a value means to a column is written down once, for JSON.
JSON holds what PostgreSQL's types need if it is written with care: a number keeps every digit; NaN
and the infinities are the strings PostgreSQL knows them by; bytes are a string ``\x`` and
hexadecimal digits, as bytea shows itself; a moment, a date and a time are ISO 8601 strings.
"""

from enum import Enum
from typing import NamedTuple


class Change(str, Enum):
    """What a record says of the row with its key.

    WRITE: this is the row now. DELETE: there is no such row any more. TRUNCATE: there are no rows
    any more.
    """

    WRITE = "write"
    DELETE = "delete"
    TRUNCATE = "truncate"


class Decoded(NamedTuple):
    """``document`` is a JSON text in UTF-8, None where the record has none (a tombstone).

    A DELETE may have a document: the row as it was, or at least its key. ``unchanged`` names fields
    that are not in the document since the row keeps the values that it has.
    """

    document: bytes | None
    change: Change = Change.WRITE
    unchanged: frozenset[str] = frozenset()
