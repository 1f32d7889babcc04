"""``kafka-pg demo``: from nothing to rows, through the Dagster job."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from kafka_pg_pipeline.assembly.overview import fetch_positions
from kafka_pg_pipeline.cli.configuration import Pipeline, open_pipeline, read_configuration
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.local_servers import (
    build_environment,
    ensure_dagster_home,
    ensure_servers,
)
from kafka_pg_pipeline.cli.output import Steps, print_json, print_line, print_table
from kafka_pg_pipeline.cli.status import show_batches
from kafka_pg_pipeline.cli.streams import looking
from kafka_pg_pipeline.domain.status import CommittedBatch
from kafka_pg_pipeline.errors import ConfigurationError, PipelineError
from kafka_pg_pipeline.settings.file import LoadedSettings

JOB = "kafka_to_postgres"
_DEFINITIONS = "kafka_pg_pipeline.definitions"
_SHOWN_ROWS = 5
_SHOWN_BATCHES = 3


@dataclass(frozen=True)
class _Landed:
    """What the demo's table and ledger hold after the run."""

    rows: tuple[Mapping[str, str], ...]
    batches: tuple[CommittedBatch, ...]
    offsets: int


@click.command(name="demo")
@click.option("--count", type=click.IntRange(min=1), help="How many events to produce.")
@shared_options
@json_option
@click.pass_obj
def demo_command(invocation: Invocation, count: int | None, *, as_json: bool) -> None:
    """From nothing to rows: servers, topic, events, the Dagster job, then what landed.

    Starts the local servers where no others are named. A second demo loads only its new events.
    """
    tell = Steps()
    loaded = read_configuration(invocation)
    stream = choose_stream(loaded)
    ensure_servers(loaded, tell)
    pipeline = open_pipeline(invocation)
    tell(f"running the Dagster job {JOB}")
    run_id = run_job(loaded, stream, count)
    landed = _fetch_landed(pipeline, stream)
    new = [batch for batch in landed.batches if batch.run_id == run_id]
    tell(f"the job loaded {sum(batch.rows for batch in new):,} rows")
    if as_json:
        print_json(
            {
                "stream": stream,
                "run_id": run_id,
                "rows": sum(b.rows for b in new),
                "batches": landed.batches,
            }
        )
        return
    _show(pipeline, stream, landed)


def choose_stream(loaded: LoadedSettings) -> str:
    """The stream ``demo``, else the first that events may be generated for.

    Raises:
        ConfigurationError: the file has none.

    """
    streams = loaded.settings.streams
    with_source = [name for name, stream in streams.items() if stream.source is not None]
    if not with_source:
        raise ConfigurationError(
            "no stream of the file has a `source:`, so the demo would have nothing to produce: "
            "run it in a directory without pipeline.yaml, or give a stream a source"
        )
    return "demo" if "demo" in with_source else with_source[0]


def run_job(loaded: LoadedSettings, stream: str, count: int | None) -> str:
    """Execute the job in this process, recorded where `kafka-pg dev` shows it; return its run id.

    Raises:
        PipelineError: what stopped the job.

    """
    os.environ.update(build_environment(loaded, ensure_dagster_home()))
    import dagster

    logging.getLogger("dagster").setLevel(logging.ERROR)
    # By name, as Dagster's own commands load it: the command line and the definitions stand side
    # by side and neither is built on the other.
    definitions: Any = import_module(_DEFINITIONS)
    produce = {"stream": stream} if count is None else {"stream": stream, "count": count}
    config = {
        "ops": {"produce": {"config": produce}, "consume": {"config": {"stream": stream}}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    with dagster.DagsterInstance.get() as instance:
        job = definitions.defs.resolve_job_def(JOB)
        try:
            result = job.execute_in_process(run_config=config, instance=instance)
        except dagster.Failure as failure:
            raise PipelineError(failure.description or "the job failed") from failure
    return str(result.run_id)


def _fetch_landed(pipeline: Pipeline, stream: str) -> _Landed:
    with looking(pipeline, stream, pipeline.loaded.settings.streams[stream]) as session:
        target = session.catalog.fetch_target()
        return _Landed(
            rows=()
            if target is None
            else session.inspection.fetch_newest_rows(target, _SHOWN_ROWS),
            batches=session.inspection.fetch_last_batches(_SHOWN_BATCHES),
            offsets=sum(position.next_offset for position in fetch_positions(session)),
        )


def _show(pipeline: Pipeline, stream: str, landed: _Landed) -> None:
    chosen = pipeline.loaded.settings.streams[stream]
    print_line(f"\nthe newest rows of {chosen.table}", style="bold")
    columns = list(landed.rows[0]) if landed.rows else []
    print_table(columns, [list(row.values()) for row in landed.rows])
    print_line(
        f"\nthe ledger: {chosen.topic}, {landed.offsets:,} offsets loaded in all", style="bold"
    )
    show_batches(landed.batches)
    print_line("\nthe Dagster UI, with the schedule and the sensor:  kafka-pg dev")
