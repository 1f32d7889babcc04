"""COPY's text format: one line a row, tab between columns, backslash escapes.

Source: PostgreSQL documentation, COPY, "Text Format".
"""

NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def escape(text: str | None) -> str:
    """A column's text as it stands in a COPY line; None is SQL NULL."""
    return NULL if text is None else text.translate(_ESCAPES)
