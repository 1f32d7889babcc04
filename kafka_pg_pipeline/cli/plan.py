"""``kafka-pg plan``: what the next run would read and change."""

from typing import Any

import click

from kafka_pg_pipeline.assembly.preview import RunPreview, preview_run
from kafka_pg_pipeline.cli.arguments import streams_argument
from kafka_pg_pipeline.cli.configuration import open_pipeline
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.lag import show_pause
from kafka_pg_pipeline.cli.output import count_of, print_line, print_table, to_plain
from kafka_pg_pipeline.cli.streams import show_each


@click.command(name="plan")
@streams_argument
@shared_options
@json_option
@click.pass_obj
def plan_command(invocation: Invocation, streams: tuple[str, ...], *, as_json: bool) -> int:
    """Show what the next run would read and change; changes nothing.

    Ranges per partition, statements it would run in PostgreSQL, and, from a sample of the unread
    records, what would be rejected and which JSON fields no column takes.
    """
    return show_each(
        invocation,
        open_pipeline(invocation),
        streams,
        fetch=preview_run,
        show=_show,
        plain=_plain,
        as_json=as_json,
    )


def _show(preview: RunPreview) -> None:
    print_line(f"{preview.stream}: {preview.topic} -> {preview.table}", style="bold")
    if preview.ranges:
        print_table(
            ("partition", "from offset", "to offset", "offsets"),
            [
                (piece.partition, piece.start_offset, piece.end_offset, len(piece))
                for piece in preview.ranges
            ],
            numbers=("partition", "from offset", "to offset", "offsets"),
        )
    show_pause(preview.stream, preview.pause)
    print_line(_summarise(preview))
    for name, number in preview.rejected.items():
        print_line(
            f"would be rejected ({name}): {number:,} of {count_of(preview.sample, 'record')} "
            "looked at",
            style="yellow",
        )
    if preview.stop is not None:
        print_line(f"the run would stop: {preview.stop}", style="red")
    for name, number in preview.untaken.items():
        print_line(
            f"field {name!r} has no column: in {number:,} of "
            f"{count_of(preview.sample, 'record')} looked at",
            style="yellow",
        )
    if preview.statements:
        print_line("would run first:", style="bold")
        print_line("\n".join(preview.statements))


def _summarise(preview: RunPreview) -> str:
    blocked = (
        f"; {count_of(preview.blocked, 'offset')} behind an open transaction"
        if preview.blocked
        else ""
    )
    if not preview.ranges:
        return f"nothing to read{blocked}"
    partitions = count_of(len(preview.ranges), "partition")
    return f"would read {count_of(preview.records, 'offset')} of {partitions}{blocked}"


def _plain(preview: RunPreview) -> Any:
    return {**to_plain(preview), "records": preview.records}
