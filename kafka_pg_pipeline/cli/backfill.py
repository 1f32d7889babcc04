"""``kafka-pg backfill``: windows of a stream's time, loaded apart from its live position."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from kafka_pg_pipeline.assembly.backfill import (
    Backfill,
    BackfillOptions,
    WindowPreview,
    open_backfill,
)
from kafka_pg_pipeline.assembly.overview import fetch_windows
from kafka_pg_pipeline.cli.arguments import stream_argument
from kafka_pg_pipeline.cli.configuration import Pipeline, open_pipeline
from kafka_pg_pipeline.cli.failures import INTERRUPTED, SUCCESS
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.lag import show_pause
from kafka_pg_pipeline.cli.load import describe_report, plain_report
from kafka_pg_pipeline.cli.output import (
    note,
    print_json,
    print_line,
    print_table,
    to_plain,
)
from kafka_pg_pipeline.cli.progress import shown_progress
from kafka_pg_pipeline.cli.stopping import StopRequest
from kafka_pg_pipeline.cli.streams import looking, new_run_id
from kafka_pg_pipeline.domain.reports import LoadReport
from kafka_pg_pipeline.domain.tables import TableName
from kafka_pg_pipeline.domain.windows import Every, Window, WindowStatus, split_time
from kafka_pg_pipeline.domain.written_times import parse_moment
from kafka_pg_pipeline.errors import ConfigurationError, PipelineError
from kafka_pg_pipeline.settings.models import StreamSettings
from kafka_pg_pipeline.settings.values import TableText

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_NO_TIME = "neither a day (2026-01-31) nor a time with its zone (2026-01-31T12:00:00Z)"


@click.command(name="backfill")
@stream_argument
@click.option("--from", "start", metavar="TIME", help="First time to load; a day begins in UTC.")
@click.option("--to", "end", metavar="TIME", help="First time behind them that is not loaded.")
@click.option("--into", metavar="TABLE", help="Load into this table, not into the stream's own.")
@click.option(
    "--every",
    type=click.Choice(["hour", "day"]),
    help="Cut the time at full hours or midnights, in UTC; else the file's `every`.",
)
@click.option(
    "--lateness",
    "lateness_seconds",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Look no further than the first record that is so much later than the window.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="In upsert, even where older records take the place of newer ones of their key.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show the windows and what they read; change nothing."
)
@click.option(
    "--forget",
    is_flag=True,
    help="Load nothing: let the windows begin anew, after their table was dropped or emptied.",
)
@click.option("--list", "as_list", is_flag=True, help="List the windows that there are.")
@shared_options
@json_option
@click.pass_obj
def backfill_command(
    invocation: Invocation,
    stream: str,
    start: str | None,
    end: str | None,
    into: str | None,
    every: Every | None,
    lateness_seconds: float | None,
    *,
    overwrite: bool,
    dry_run: bool,
    forget: bool,
    as_list: bool,
    as_json: bool,
) -> int:
    """Load the records of a time that is past, each exactly once; the live position stays.

    All records with FROM ≤ timestamp < TO, wherever they lie in the topic. Repeated, or after a
    kill, it goes on where it ended, and what was loaded is not loaded again.
    """
    pipeline = open_pipeline(invocation)
    settings = pipeline.select([stream])[stream]
    if as_list:
        _list(pipeline, stream, settings, as_json=as_json)
        return SUCCESS
    if start is None or end is None:
        raise click.UsageError("say --from and --to, or --list")
    usual = settings.backfill
    options = BackfillOptions(
        _check_table(pipeline, stream, into or (usual.into if usual else None)),
        usual.lateness_seconds if usual and lateness_seconds is None else lateness_seconds,
        overwrite or (usual.overwrite if usual else False),
    )
    pieces = split_time(
        _parse_time("from", start),
        _parse_time("to", end),
        every or (usual.every if usual else None),
    )
    with open_backfill(
        stream,
        settings,
        pipeline.endpoints,
        options,
        run_id=new_run_id(),
        read_only=dry_run and not forget,
    ) as backfill:
        windows = [backfill.name_window(*piece) for piece in pieces]
        if forget:
            _forget(backfill, stream, windows, dry_run=dry_run, as_json=as_json)
            return SUCCESS
        if dry_run:
            _preview(backfill, stream, windows, as_json=as_json)
            return SUCCESS
        return _load(backfill, windows, as_json=as_json)


def _load(backfill: Backfill, windows: Sequence[Window], *, as_json: bool) -> int:
    documents: list[Any] = []
    stop = StopRequest(note)
    try:
        with stop.listening():
            for window in windows:
                if stop.is_set():
                    break
                report = stop.run(partial(_load_window, backfill, window, stop))
                documents.append(plain_report(report))
                if not as_json:
                    print_line(describe_report(report))
    except PipelineError:
        if documents:
            note(f"{len(documents)} of {len(windows)} windows were loaded before that")
        raise
    finally:
        if as_json:
            print_json({"windows": documents})
    if stop.is_set():
        note("stopped; the same command goes on from there")
        return INTERRUPTED
    return SUCCESS


def _load_window(backfill: Backfill, window: Window, stop: StopRequest) -> LoadReport:
    return backfill.load(window, stop=stop, show=shown_progress)


def _forget(
    backfill: Backfill,
    stream: str,
    windows: Sequence[Window],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    forgotten = [w.name for w in windows if backfill.forget(w, rehearsal=dry_run)]
    if as_json:
        print_json({"stream": stream, "dry_run": dry_run, "forgotten": forgotten})
        return
    for name in forgotten:
        print_line(f"{name}: {'would begin' if dry_run else 'begins'} anew when it is loaded next")
    if not forgotten:
        print_line(f"{stream}: there are no such windows, and nothing was changed")


def _preview(backfill: Backfill, stream: str, windows: Sequence[Window], *, as_json: bool) -> None:
    previews = [backfill.preview(window) for window in windows]
    if as_json:
        documents = [{**to_plain(preview), "offsets": preview.offsets} for preview in previews]
        print_json({"stream": stream, "dry_run": True, "windows": documents})
        return
    columns = ("window", "table", "state", "offsets to look through")
    print_table(
        columns,
        [(p.name, p.table, _describe_state(p), p.offsets) for p in previews],
        numbers=columns[-1:],
        fold=columns[:1],
    )
    show_pause(stream, previews[0].pause)
    print_line("nothing was changed, this was a dry run")


def _describe_state(preview: WindowPreview) -> str:
    return "new" if preview.status is None else _state_of(preview.status)


def _state_of(status: WindowStatus) -> str:
    return "unfinished" if status.completed_at is None else "complete"


def _list(pipeline: Pipeline, name: str, stream: StreamSettings, *, as_json: bool) -> None:
    with looking(pipeline, name, stream) as session:
        found = fetch_windows(session)
    if as_json:
        documents = [{**to_plain(status), "state": _state_of(status)} for status in found]
        print_json({"stream": name, "windows": documents})
        return
    if not found:
        print_line(f"{name}: nothing was backfilled")
        return
    columns = ("window", "table", "state", "completed", "rows", "dead", "lost")
    print_table(
        columns,
        [
            (
                status.name,
                status.table,
                _state_of(status),
                status.completed_at,
                status.rows,
                status.dead_letters,
                status.lost_offsets,
            )
            for status in found
        ],
        numbers=columns[4:],
        fold=columns[:1],
    )


def _check_table(pipeline: Pipeline, stream: str, into: str | None) -> str | None:
    """The table as it was named, unless another stream fills it.

    Raises:
        ConfigurationError: it is no table's name, or another stream's.
    """
    if into is None:
        return None
    try:
        parse: Callable[[str], str] = TypeAdapter(TableText).validate_python
        table = TableName.parse(parse(into))
    except ValidationError as error:
        raise ConfigurationError(f"into: {into!r}: {error.errors()[0]['msg']}") from None
    for name, other in pipeline.loaded.settings.streams.items():
        if name != stream and TableName.parse(other.table) == table:
            raise ConfigurationError(f"into: stream {name} fills {table}; name another table")
    return into


def _parse_time(name: str, text: str) -> datetime:
    """A day stands for its midnight in UTC."""
    written = f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text
    return parse_moment(name, written, otherwise=_NO_TIME)
