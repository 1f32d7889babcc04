"""``kafka-pg load``: the loader without Dagster, with the same code and the same ledger."""

import signal
from collections.abc import Mapping
from functools import partial
from typing import Any

import click

from kafka_pg_pipeline.assembly.following import Following
from kafka_pg_pipeline.assembly.lanes import build_rule
from kafka_pg_pipeline.assembly.loading import Limits, Loaded, load_planned, plan_session
from kafka_pg_pipeline.assembly.session import open_session
from kafka_pg_pipeline.cli.arguments import streams_argument
from kafka_pg_pipeline.cli.configuration import Pipeline, open_pipeline
from kafka_pg_pipeline.cli.failures import INTERRUPTED, SUCCESS, exit_code_of, tell_failure
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.output import (
    count_of,
    format_bytes,
    format_rate,
    format_seconds,
    note,
    print_json,
    print_json_line,
    print_line,
    to_plain,
)
from kafka_pg_pipeline.cli.progress import shown_progress
from kafka_pg_pipeline.cli.stopping import StopRequest
from kafka_pg_pipeline.cli.streams import new_run_id
from kafka_pg_pipeline.domain.reports import LoadReport, Outcome
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.settings.models import StreamSettings

_OUTCOMES = {
    Outcome.END_OF_STREAM: "up to date",
    Outcome.LIMIT_REACHED: "limit reached",
    Outcome.STOPPED: "stopped",
    Outcome.FENCED: "left to another loader",
    Outcome.PAUSED: "paused",
}
# By reader, what one lane loads before several would pay for their start (docs/performance.md).
_START_UP_RECORDS = {"kafka-python": 800_000, "confluent": 1_600_000}


class LanesType(click.ParamType):  # type: ignore[type-arg]
    """A number of lanes, or auto, which is None."""

    name = "auto|N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """Read what was typed."""
        return None if value == "auto" else click.IntRange(1, 64).convert(value, param, ctx)


@click.command(name="load")
@streams_argument
@click.option(
    "--until",
    type=click.Choice(["now", "forever"]),
    default="now",
    show_default=True,
    help="Where to stop: at the present end of the topic, or never.",
)
@click.option("--max-records", type=click.IntRange(min=1), help="Stop after so many, per stream.")
@click.option(
    "--max-seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after this time."
)
@click.option(
    "--lanes",
    type=LanesType(),
    default="auto",
    show_default=True,
    help="Processes that load a stream side by side, each some of its partitions. auto: up to the "
    "stream's `max_lanes`, where the backlog is worth it. One with --max-records, and with --until "
    "forever.",
)
@shared_options
@json_option
@click.pass_obj
def load_command(
    invocation: Invocation,
    streams: tuple[str, ...],
    until: str,
    max_records: int | None,
    max_seconds: float | None,
    lanes: int | None,
    *,
    as_json: bool,
) -> int:
    """Load what is new into PostgreSQL, each record exactly once.

    Ctrl-C or SIGTERM stop after the batch in flight and say where; once more ends at once, and
    nothing is lost by that. With --json and --until forever each load is one line.
    """
    if lanes is not None and lanes > 1 and (until == "forever" or max_records is not None):
        raise click.UsageError("--lanes goes neither with --until forever nor with --max-records")
    pipeline = open_pipeline(invocation)
    chosen = pipeline.select(streams)
    limits = Limits(max_records, max_seconds)
    stop = StopRequest(note)
    with stop.listening():
        if until == "forever":
            return _load_forever(invocation, pipeline, chosen, limits, stop, as_json=as_json)
        return _load_now(invocation, pipeline, chosen, limits, lanes, stop, as_json=as_json)


def _load_now(
    invocation: Invocation,
    pipeline: Pipeline,
    streams: Mapping[str, StreamSettings],
    limits: Limits,
    lanes: int | None,
    stop: StopRequest,
    *,
    as_json: bool,
) -> int:
    documents: list[Any] = []
    errors: list[PipelineError] = []
    for name, stream in streams.items():
        if stop.is_set():
            break
        try:
            loaded = stop.run(partial(_load_stream, pipeline, name, stream, limits, lanes, stop))
        except PipelineError as error:
            errors.append(error)
            tell_failure(error, debug=invocation.debug, stream=name)
            documents.append({"stream": name, "error": str(error)})
            continue
        documents.append(plain_loaded(loaded))
        if not as_json:
            show_report(loaded.report)
        if stop.is_set():
            _tell_positions(name, stream, loaded.positions)
    if as_json:
        print_json({"streams": documents})
    return INTERRUPTED if stop.is_set() else exit_code_of(errors)


def _load_stream(
    pipeline: Pipeline,
    name: str,
    stream: StreamSettings,
    limits: Limits,
    lanes: int | None,
    stop: StopRequest,
) -> Loaded:
    reader = pipeline.endpoints.kafka.reader
    rule = build_rule(stream, reader, _START_UP_RECORDS[reader], lanes)
    with open_session(name, stream, pipeline.endpoints, run_id=new_run_id()) as session:
        plan = plan_session(session, limits)
        return load_planned(session, plan, rule, pipeline.endpoints, stop=stop, show=shown_progress)


def _load_forever(
    invocation: Invocation,
    pipeline: Pipeline,
    streams: Mapping[str, StreamSettings],
    limits: Limits,
    stop: StopRequest,
    *,
    as_json: bool,
) -> int:
    following = Following(
        pipeline.endpoints,
        streams,
        limits=limits,
        stop=stop,
        listener=_Tell(invocation, as_json=as_json),
        new_run_id=new_run_id,
    )
    note(f"loading {', '.join(streams)} until Ctrl-C")
    stop.run(following.run)
    for name, positions in following.positions.items():
        _tell_positions(name, streams[name], positions)
    errors = list(following.errors.values())
    if stop.by is not None:
        # A service is stopped by SIGTERM: its ordinary end.
        return SUCCESS if stop.by is signal.SIGTERM and not errors else INTERRUPTED
    return exit_code_of(errors)


class _Tell:
    """Tells of each round that loaded something, and of what stands in the way."""

    def __init__(self, invocation: Invocation, *, as_json: bool) -> None:
        self._debug = invocation.debug
        self._as_json = as_json

    def loaded(self, loaded: Loaded) -> None:
        if self._as_json:
            print_json_line(plain_loaded(loaded))
        else:
            show_report(loaded.report)

    def paused(self, stream: str, pause: str) -> None:
        note(f"{stream}: {pause}")

    def failed(self, stream: str, error: PipelineError) -> None:
        tell_failure(error, debug=self._debug, stream=stream)


def show_report(report: LoadReport) -> None:
    """One line for people, one for each change of the table, and one for a pause."""
    if report.pause is None or report.batches:
        print_line(describe_report(report))
    for statement in report.changes:
        print_line(f"  {statement}")
    if report.pause is not None:
        print_line(f"{report.stream}: {report.pause.tell(report.stream)}", style="yellow")


def describe_report(report: LoadReport) -> str:
    """What a run has loaded, in one line."""
    counts = report.counts
    text = f"{report.stream}: {count_of(counts.rows, 'row')} into {report.table}"
    if report.batches:
        text += (
            f" in {format_seconds(report.seconds)} ({format_rate(report.rows_per_second)}, "
            f"{count_of(report.batches, 'batch')}, {format_bytes(report.record_bytes)})"
        )
    for number, what in (
        (counts.superseded, "superseded"),
        (counts.deleted, "deleted"),
        (counts.ignored, "without effect"),
        (counts.filtered, "filtered"),
    ):
        if number:
            text += f", {number:,} {what}"
    if counts.dead:
        text += f", {count_of(counts.dead, 'dead letter')}"
    if counts.absent:
        text += f", {count_of(counts.absent, 'offset')} without a record"
    if report.untaken_fields:
        text += f", {count_of(report.untaken_fields, 'field')} without a column"
    text += f"; {_OUTCOMES[report.outcome]}"
    if report.lag_after:
        text += f", {count_of(report.lag_after, 'offset')} left"
    return text


def plain_loaded(loaded: Loaded) -> Any:
    """A run's report for JSON, with the positions behind it."""
    return {
        **plain_report(loaded.report),
        "positions": {str(number): offset for number, offset in loaded.positions.items()},
    }


def plain_report(report: LoadReport) -> Any:
    """A run's report for JSON."""
    counts = report.counts
    return {
        "stream": report.stream,
        "topic": report.topic,
        "table": report.table,
        "outcome": report.outcome.value,
        "rows": counts.rows,
        "superseded": counts.superseded,
        "ignored": counts.ignored,
        "deleted": counts.deleted,
        "filtered": counts.filtered,
        "dead_letters": counts.dead,
        "absent": counts.absent,
        "untaken_fields": report.untaken_fields,
        "changes": list(report.changes),
        "batches": report.batches,
        "record_bytes": report.record_bytes,
        "seconds": round(report.seconds, 3),
        "rows_per_second": round(report.rows_per_second, 1),
        "lag_before": report.lag_before,
        "lag_after": report.lag_after,
        "ranges": [
            {
                "partition": total.offsets.partition,
                "start_offset": total.offsets.start_offset,
                "end_offset": total.offsets.end_offset,
            }
            for total in report.partitions
        ],
        "warnings": list(report.warnings),
        "pause": report.pause and to_plain(report.pause),
    }


def _tell_positions(name: str, stream: StreamSettings, positions: Mapping[int, int]) -> None:
    places = ", ".join(
        f"{stream.topic}[{partition}]@{offset}" for partition, offset in positions.items()
    )
    note(f"{name}: stopped at {places or 'its start'}; `kafka-pg load {name}` goes on from there")
