"""How results look: tables and units on standard output, progress and notes on standard error."""

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from kafka_pg_pipeline.cli.logs import write_line

# A pipe has no width; a table in one must not be cut to that of a terminal.
_PIPE_WIDTH = 400
_KIBIBYTE = 1024
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
NONE = "-"


def make_console(*, stderr: bool = False) -> Console:
    """A console for standard output, or for progress and notes on standard error."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else _PIPE_WIDTH
    return Console(stderr=stderr, highlight=False, width=width, soft_wrap=False)


def note(text: str) -> None:
    """One line for people, on standard error."""
    write_line(text)


def print_line(text: str = "", *, style: str = "") -> None:
    """One line on standard output, wrapped by the terminal alone."""
    make_console().print(Text(text, style=style), soft_wrap=True)


def print_json(value: Any) -> None:
    """The machine's output: one JSON document."""
    click.echo(json.dumps(to_plain(value), indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """One JSON document on one line, at once."""
    click.echo(json.dumps(to_plain(value), ensure_ascii=False))


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Sequence[str] = (),
    fold: Sequence[str] = (),
) -> None:
    """An aligned table; ``numbers`` are set right, ``fold`` may take several lines.

    Where it is wider than the terminal, its lines are wrapped there: a number that is cut short is
    another number.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for name in columns:
        table.add_column(
            name,
            justify="right" if name in numbers else "left",
            overflow="fold" if name in fold else "ellipsis",
            no_wrap=name not in fold,
        )
    for row in rows:
        table.add_row(*map(_as_text, row))
    console = make_console()
    if not fold:
        options = console.options.update(max_width=_PIPE_WIDTH)
        console.width = max(console.width, Measurement.get(console, options, table).maximum)
    console.print(table)


def _as_text(cell: object) -> Text:
    return cell if isinstance(cell, Text) else Text(format_cell(cell))


def format_cell(value: object) -> str:
    """A cell's text: numbers with separators, nothing as a dash."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return format_time(value)
    return str(value)


def format_time(moment: datetime) -> str:
    """UTC to the second."""
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}Z"


def format_milliseconds(timestamp: int | None) -> str:
    """A record's timestamp in UTC; the number itself where no calendar holds it."""
    if timestamp is None or timestamp < 0:
        return NONE
    try:
        moment = datetime.fromtimestamp(timestamp / 1000, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return str(timestamp)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{timestamp % 1000:03d}Z"


def format_bytes(count: int) -> str:
    """Bytes in the largest unit that leaves a number above one."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < _KIBIBYTE:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= _KIBIBYTE
    return f"{amount:.1f} TiB"


def format_seconds(seconds: float | None) -> str:
    """A duration, in at most two units."""
    if seconds is None:
        return NONE
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def count_of(number: int, noun: str) -> str:
    """A number with its noun: ``1 row``, ``1,200 rows``."""
    plural = f"{noun[:-2]}ches" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def format_rate(per_second: float) -> str:
    """Rows a second."""
    return f"{per_second:,.0f} rows/s"


def to_plain(value: Any) -> Any:
    """What ``json`` can write: dataclasses, enums, times and paths turned into plain values."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(asdict(value))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in value]
    return value


class Steps:
    """Tells the steps of a longer command, each on one line of standard error."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        """One step, with the seconds since the command began."""
        write_line(f"{time.monotonic() - self._started:5.1f} s  {text}")
