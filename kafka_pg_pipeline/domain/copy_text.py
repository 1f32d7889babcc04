"""COPY's text format: one line a row, tab between columns, backslash escapes.

Source: PostgreSQL documentation, COPY, "Text Format".
"""

from collections.abc import Sequence

NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def escape(text: str | None) -> str:
    """A column's text as it stands in a COPY line; None is SQL NULL."""
    return NULL if text is None else text.translate(_ESCAPES)


def copy_payload(lines: Sequence[str]) -> bytes:
    """What COPY FROM STDIN is fed for these lines; nothing where there are none."""
    return ("\n".join(lines) + "\n").encode() if lines else b""
