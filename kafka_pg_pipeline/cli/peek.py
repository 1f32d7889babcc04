"""``kafka-pg peek``: records as they would land."""

import click
from rich.text import Text

from kafka_pg_pipeline.assembly.peek import Peek, PeekedRecord, peek_records
from kafka_pg_pipeline.cli.arguments import stream_argument
from kafka_pg_pipeline.cli.configuration import open_pipeline
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.output import (
    count_of,
    format_bytes,
    format_milliseconds,
    make_console,
    print_line,
    print_table,
)
from kafka_pg_pipeline.cli.streams import show_each

_MOST_WIDTH = 160
_GUTTER = 3
_MOST_CELL = 40


@click.command(name="peek")
@stream_argument
@click.option("-p", "--partition", type=click.IntRange(min=0), help="Only this partition.")
@click.option("-o", "-O", "--offset", type=click.IntRange(min=0), help="Start at this offset.")
@click.option(
    "-n",
    "--number",
    type=click.IntRange(1, 10_000),
    default=10,
    show_default=True,
    help="How many records.",
)
@shared_options
@json_option
@click.pass_obj
def peek_command(
    invocation: Invocation,
    stream: str,
    partition: int | None,
    offset: int | None,
    number: int,
    *,
    as_json: bool,
) -> int:
    """Show records as they would land; changes nothing.

    The next unread records, or the newest where none is unread, or those from an offset. This is
    record content: mind who looks over your shoulder.
    """
    return show_each(
        invocation,
        open_pipeline(invocation),
        (stream,),
        fetch=lambda session: peek_records(
            session, partition=partition, offset=offset, count=number
        ),
        show=_show,
        as_json=as_json,
    )


def _show(peek: Peek) -> None:
    what = "unread" if peek.unread else "already loaded or skipped"
    table = peek.table if peek.table_exists else f"{peek.table} (not created yet)"
    print_line(f"{peek.stream}: {peek.topic} -> {table}", style="bold")
    if not peek.records:
        print_line("no records there")
        return
    columns = _columns(peek)
    rows = [_row(record, columns) for record in peek.records]
    if _fits(("record", *columns), rows):
        print_table(("record", *columns), rows)
    else:
        _show_list(peek)
    print_line(f"{count_of(len(peek.records), 'record')}, {what}", style="dim")


def _columns(peek: Peek) -> list[str]:
    names: dict[str, None] = {}
    for record in peek.records:
        names.update(dict.fromkeys(record.row or ()))
    return list(names)


def _row(record: PeekedRecord, columns: list[str]) -> list[Text]:
    return [Text(f"[{record.partition}]@{record.offset}"), *_cells(record, columns)]


def _fits(columns: tuple[str, ...], rows: list[list[Text]]) -> bool:
    """Whether the table needs no more than the terminal has."""
    widths = [
        max([len(name), *(row[at].cell_len for row in rows if at < len(row))])
        for at, name in enumerate(columns)
    ]
    return sum(widths) + _GUTTER * len(widths) <= min(make_console().width, _MOST_WIDTH)


def _cells(record: PeekedRecord, columns: list[str]) -> list[Text]:
    if record.row is None:
        rejected = Text(f"rejected: {record.rejected}", style="yellow")
        return [rejected, *[Text("")] * (len(columns) - 1)] if columns else []
    return [
        _format_value(record.row[name]) if name in record.row else Text("default", style="dim")
        for name in columns
    ]


def _format_value(value: str | None) -> Text:
    if value is None:
        return Text("NULL", style="dim")
    visible = value.encode("unicode_escape").decode() if not value.isprintable() else value
    return Text(visible if len(visible) <= _MOST_CELL else f"{visible[: _MOST_CELL - 1]}…")


def _show_list(peek: Peek) -> None:
    """Wide rows, one column a line."""
    for record in peek.records:
        where = f"{peek.topic}[{record.partition}]@{record.offset}"
        when = format_milliseconds(record.timestamp)
        print_line(f"\n{where}  {when}  {format_bytes(record.size_bytes)}", style="bold")
        if record.row is None:
            print_line(f"  rejected: {record.rejected}", style="yellow")
            continue
        width = max(map(len, record.row), default=0)
        for name, value in record.row.items():
            print_line(f"  {name:<{width}}  {'NULL' if value is None else value}")
