"""``kafka-pg status``: a stream's account."""

from typing import Any

import click
from rich.text import Text

from kafka_pg_pipeline.assembly.overview import StreamOverview, fetch_overview
from kafka_pg_pipeline.cli.arguments import streams_argument
from kafka_pg_pipeline.cli.configuration import open_pipeline
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.lag import plain_lag, show_dead_letters, show_pause
from kafka_pg_pipeline.cli.output import (
    count_of,
    format_bytes,
    format_milliseconds,
    format_seconds,
    print_line,
    print_table,
    to_plain,
)
from kafka_pg_pipeline.cli.streams import show_each
from kafka_pg_pipeline.domain.status import CommittedBatch, PartitionLag, StreamFailure

_RUN_ID = 12


@click.command(name="status")
@streams_argument
@shared_options
@json_option
@click.pass_obj
def status_command(invocation: Invocation, streams: tuple[str, ...], *, as_json: bool) -> int:
    """Show position, end, lag, dead letters, gaps and the last batches.

    Exit 1 when a stream stands still until somebody decides, or its topic cannot be asked.
    """
    return show_each(
        invocation,
        open_pipeline(invocation),
        streams,
        fetch=fetch_overview,
        show=show_overview,
        plain=plain_overview,
        problem=lambda overview: overview.problem,
        as_json=as_json,
    )


def show_overview(overview: StreamOverview) -> None:
    """Partitions, totals and the last batches."""
    table = overview.table if overview.table_exists else f"{overview.table} (not created yet)"
    print_line(f"{overview.stream}: {overview.topic} -> {table}", style="bold")
    _show_partitions(overview)
    show_pause(overview.stream, overview.pause)
    if overview.problem is not None:
        print_line(f"cannot go on: {overview.problem}", style="red")
    elif overview.lag is not None:
        print_line(_summarise(overview))
    if overview.failure is not None and overview.problem is None:
        print_line(_describe_failure(overview.failure), style="yellow")
    show_dead_letters(overview.stream, sum(part.dead_letters for part in overview.stored))
    _show_windows(overview)
    if overview.batches:
        show_batches(overview.batches)


def show_batches(batches: tuple[CommittedBatch, ...]) -> None:
    """The newest batches of the ledger."""
    print_line()
    print_table(
        ("batch", "committed", "rows", "dead", "absent", "bytes", "partitions", "run"),
        [
            (
                batch.batch_id[:8],
                batch.committed_at,
                batch.rows,
                batch.dead,
                batch.absent,
                format_bytes(batch.record_bytes),
                batch.partitions,
                batch.run_id[:_RUN_ID],
            )
            for batch in batches
        ],
        numbers=("rows", "dead", "absent", "bytes", "partitions"),
    )


def _show_partitions(overview: StreamOverview) -> None:
    stored = {partition.partition: partition for partition in overview.stored}
    lags = {lag.partition: lag for lag in overview.lag.partitions} if overview.lag else {}
    rows: list[tuple[object, ...]] = []
    for number in sorted({*stored, *lags}):
        known, lag = stored.get(number), lags.get(number)
        rows.append(
            (
                str(number),
                known.next_offset if known else Text("new", style="dim"),
                lag.end_offset if lag else None,
                lag.readable if lag else None,
                _lag_in_time(lag),
                lag.blocked if lag else None,
                known.dead_letters if known else 0,
                known.open_gap_offsets if known else 0,
                format_milliseconds(known.tail_timestamp) if known else None,
            )
        )
    columns = (
        "partition",
        "position",
        "end",
        "lag",
        "in time",
        "blocked",
        "dead",
        "gaps",
        "last record",
    )
    if rows:
        print_table(columns, rows, numbers=columns)


def _show_windows(overview: StreamOverview) -> None:
    """How many there are; fifty lines of them would hide the stream."""
    windows = overview.windows
    if not windows:
        return
    unfinished = sum(window.completed_at is None for window in windows)
    letters = sum(window.dead_letters for window in windows)
    lost = sum(window.lost_offsets for window in windows)
    text = f"{count_of(len(windows), 'window')} backfilled"
    text += f", {unfinished:,} unfinished" if unfinished else ""
    text += f", {count_of(letters, 'dead letter')}" if letters else ""
    text += f", {count_of(lost, 'offset')} lost" if lost else ""
    style = "yellow" if unfinished or letters or lost else ""
    print_line(f"{text}: `kafka-pg backfill {overview.stream} --list`", style=style)


def _lag_in_time(lag: PartitionLag | None) -> str | None:
    if lag is None:
        return None
    return format_seconds(lag.seconds if lag.readable else 0.0)


def _summarise(overview: StreamOverview) -> str:
    lag = overview.lag
    assert lag is not None  # noqa: S101 - the caller looked
    if not lag.readable:
        text = "up to date"
    else:
        text = f"{count_of(lag.readable, 'offset')} behind"
        text += f", {format_seconds(lag.seconds)}" if lag.seconds is not None else ""
    if lag.blocked:
        text += f"; {count_of(lag.blocked, 'offset')} behind an open transaction"
    return text


def _describe_failure(failure: StreamFailure) -> str:
    ago = format_seconds(failure.seconds_ago)
    runs = "the last run" if failure.failures == 1 else f"the last {failure.failures:,} runs"
    return f"{runs} failed, {ago} ago (run {failure.run_id[:_RUN_ID]}): {failure.message}"


def plain_overview(overview: StreamOverview) -> Any:
    """The overview for JSON."""
    return {
        **to_plain({**vars(overview), "problem": None, "lag": None}),
        "lag": plain_lag(overview.lag) if overview.lag else None,
        "problem": str(overview.problem) if overview.problem else None,
    }
