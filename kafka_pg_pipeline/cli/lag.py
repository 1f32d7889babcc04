"""``kafka-pg lag``: how far a stream is behind."""

from dataclasses import replace
from typing import Any

import click

from kafka_pg_pipeline.assembly.overview import StreamLag, fetch_lag
from kafka_pg_pipeline.cli.arguments import streams_argument
from kafka_pg_pipeline.cli.configuration import open_pipeline
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.output import (
    count_of,
    format_seconds,
    print_line,
    print_table,
    to_plain,
)
from kafka_pg_pipeline.cli.streams import show_each
from kafka_pg_pipeline.domain.pauses import Pause


@click.command(name="lag")
@streams_argument
@shared_options
@json_option
@click.pass_obj
def lag_command(invocation: Invocation, streams: tuple[str, ...], *, as_json: bool) -> int:
    """Show the lag in records and seconds.

    `lag` may be loaded now, `blocked` lies behind an open transaction of a producer. The seconds
    are the age of the oldest record that may be loaded. Exit 1 when a stream stands still.
    """
    return show_each(
        invocation,
        open_pipeline(invocation),
        streams,
        fetch=fetch_lag,
        show=show_lag,
        plain=plain_lag,
        problem=lambda lag: lag.problem,
        as_json=as_json,
    )


def show_lag(lag: StreamLag) -> None:
    """A table by partition, with the total at its end."""
    print_line(f"{lag.stream}: {lag.topic}", style="bold")
    rows: list[tuple[object, ...]] = [
        (
            str(partition.partition),
            partition.next_offset,
            partition.end_offset,
            partition.readable,
            partition.blocked,
            format_seconds(partition.seconds if partition.readable else 0.0),
        )
        for partition in lag.partitions
    ]
    if len(rows) > 1:
        age = format_seconds(lag.seconds if lag.readable else 0.0)
        rows.append(("all", "", "", lag.readable, lag.blocked, age))
    columns = ("partition", "position", "end", "lag", "blocked", "lag in time")
    print_table(columns, rows, numbers=columns)
    show_dead_letters(lag.stream, lag.dead_letters)
    show_pause(lag.stream, lag.pause)
    if lag.problem is not None:
        print_line(f"cannot go on: {lag.problem}", style="red")


def show_pause(stream: str, pause: Pause | None) -> None:
    """Who paused the stream and why, if anybody has."""
    if pause is not None:
        print_line(pause.tell(stream), style="yellow")


def show_dead_letters(stream: str, count: int) -> None:
    """How many there are and where to look, if there are any."""
    if count:
        print_line(
            f"{count_of(count, 'dead letter')}: `kafka-pg dead-letters list {stream}` says why",
            style="yellow",
        )


def plain_lag(lag: StreamLag) -> Any:
    """The lag with its totals, for JSON."""
    return {
        **to_plain(replace(lag, problem=None)),
        "readable": lag.readable,
        "blocked": lag.blocked,
        "seconds": lag.seconds,
        "problem": str(lag.problem) if lag.problem else None,
    }
