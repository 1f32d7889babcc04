"""What a stream does where the records are not what the table expects."""

from enum import Enum


class Evolution(str, Enum):
    """What becomes of a field that the table has no column for.

    FREEZE: it goes to the rest column, or is counted. ADD: it gets a column. WIDEN: it does, and a
    column whose type a number does not fit gets a wider one. STRICT: the record is a dead letter.
    """

    FREEZE = "freeze"
    ADD = "add"
    WIDEN = "widen"
    STRICT = "strict"


class InvalidText(str, Enum):
    """What becomes of U+0000 and of half surrogate pairs, which PostgreSQL's text cannot hold.

    DEAD_LETTER: the record is one. STRIP: they are left out. REPLACE: U+FFFD stands for each.
    """

    DEAD_LETTER = "dead-letter"
    STRIP = "strip"
    REPLACE = "replace"
