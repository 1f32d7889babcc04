"""``kafka-pg produce``: puts records on a stream's topic."""

import time
from pathlib import Path

import click
from rich.progress import Progress, TextColumn

from kafka_pg_pipeline.adapters.kafka.producer import ProduceReport
from kafka_pg_pipeline.assembly.produce import produce_to_stream
from kafka_pg_pipeline.cli.arguments import stream_argument
from kafka_pg_pipeline.cli.configuration import open_pipeline
from kafka_pg_pipeline.cli.failures import FAILED, INTERRUPTED, SUCCESS
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.output import (
    count_of,
    format_seconds,
    make_console,
    note,
    print_json,
    print_line,
    to_plain,
)

_NAMED_FAILURES = 5


@click.command(name="produce")
@stream_argument
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="JSONL file: each line becomes one record as it stands.",
)
@click.option(
    "--key-separator",
    metavar="TEXT",
    help="What stands between key and value in a line; a key alone is a tombstone.",
)
@click.option("--count", type=click.IntRange(min=1), help="Generated events, or lines at most.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Records a second at most."
)
@shared_options
@json_option
@click.pass_obj
def produce_command(
    invocation: Invocation,
    stream: str,
    file: Path | None,
    key_separator: str | None,
    count: int | None,
    rate: float | None,
    *,
    as_json: bool,
) -> int:
    """Put records on a stream's topic, acknowledged by all replicas.

    Events are generated only for a stream that has a `source:` in the file. Any other takes
    records from --file alone.
    """
    pipeline = open_pipeline(invocation)
    chosen = pipeline.select([stream])[stream]
    started = time.monotonic()
    counter = _Counter()
    try:
        with counter.shown():
            report = produce_to_stream(
                stream,
                chosen,
                pipeline.endpoints,
                count=count,
                file=file,
                key_separator=key_separator,
                rate=rate,
                listener=counter,
            )
    except KeyboardInterrupt:
        note(
            f"{stream}: interrupted after {count_of(counter.acknowledged, 'acknowledged record')}; "
            f"those in flight may be on {chosen.topic} too"
        )
        return INTERRUPTED
    seconds = time.monotonic() - started
    if as_json:
        print_json({"stream": stream, "topic": chosen.topic, **to_plain(report)})
    else:
        _show(stream, chosen.topic, report, seconds)
    return FAILED if report.failed else SUCCESS


class _Counter:
    """How many records were acknowledged so far; shown on a terminal."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self._bar = Progress(
            TextColumn("producing: {task.completed:,.0f} acknowledged"),
            console=make_console(stderr=True),
            transient=True,
            disable=not make_console(stderr=True).is_terminal,
        )
        self._task = self._bar.add_task("", total=None)

    def shown(self) -> Progress:
        """Show the count while the body runs."""
        return self._bar

    def __call__(self, acknowledged: int) -> None:
        """Take note of the count."""
        self.acknowledged = acknowledged
        self._bar.update(self._task, completed=acknowledged)


def _show(stream: str, topic: str, report: ProduceReport, seconds: float) -> None:
    parts = ", ".join(
        f"[{partition}] {number:,}" for partition, number in report.per_partition.items()
    )
    print_line(
        f"{stream}: {count_of(report.acknowledged, 'record')} acknowledged on {topic} in "
        f"{format_seconds(seconds)}{f' ({parts})' if parts else ''}"
    )
    for failure in report.failures[:_NAMED_FAILURES]:
        print_line(f"record {failure.index + 1} was not taken: {failure.reason}", style="red")
    if report.failed > _NAMED_FAILURES:
        print_line(f"{report.failed:,} were not taken in all", style="red")
