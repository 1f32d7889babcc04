r"""Rows to lines for COPY, many at once.

A JSON array without its brackets is a line of COPY's CSV format, as long as a backslash stands
only before a quote and before another; msgspec writes it several times as fast as Python formats
a line. Texts with line ends, tabs and the like are written as lines of the TEXT format.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from kafka_pg_pipeline.domain.copy_text import CopyLines, CsvLines, TextLines, write_item
from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.verdicts import Unfit

_encode_lines = msgspec.json.Encoder().encode_lines


def write_lines(rows: Sequence[tuple[Any, ...]]) -> CopyLines:
    """Lines of rows that are not empty, of texts, numbers, booleans and None.

    Raises:
        Unfit: a text is one that PostgreSQL cannot hold.
    """
    try:
        arrays = _encode_lines(rows)
    except UnicodeEncodeError:
        raise Unfit(Reason.LONE_SURROGATE) from None
    if b"\\" in arrays and _needs_other_escapes(arrays):
        return _write_text(rows)
    # No string holds a line end, so that each bracket beside one is a row's own.
    return CsvLines([arrays[1:-2].replace(b"]\n[", b"\n") + b"\n"], len(rows))


def _needs_other_escapes(arrays: bytes) -> bool:
    return b"\\" in arrays.replace(b"\\\\", b"").replace(b'\\"', b"")


def _write_text(rows: Sequence[tuple[Any, ...]]) -> TextLines:
    lines = ["\t".join(map(write_item, row)) for row in rows]
    if any("\0" in line for line in lines):
        raise Unfit(Reason.NUL_CHARACTER)
    return TextLines(lines)
