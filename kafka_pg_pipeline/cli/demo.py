"""``kafka-pg demo``: from nothing to rows, through the Dagster job."""

import logging
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from kafka_pg_pipeline import errors
from kafka_pg_pipeline.assembly.overview import fetch_positions
from kafka_pg_pipeline.cli.configuration import (
    Pipeline,
    read_configuration,
    use_configuration,
)
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.local_servers import (
    LOCATION_TAGS,
    build_environment,
    ensure_dagster_home,
    ensure_servers,
)
from kafka_pg_pipeline.cli.output import Steps, print_json, print_line, print_table
from kafka_pg_pipeline.cli.status import show_batches
from kafka_pg_pipeline.cli.streams import looking
from kafka_pg_pipeline.domain.status import CommittedBatch
from kafka_pg_pipeline.domain.tables import Column, MetadataField
from kafka_pg_pipeline.errors import ConfigurationError, PipelineError
from kafka_pg_pipeline.settings.file import (
    DEMO_FILE,
    FILE_VARIABLE,
    LoadedSettings,
    load_settings,
)

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
    loaded = choose_configuration(invocation, tell)
    stream = choose_stream(loaded)
    ensure_servers(loaded, tell)
    pipeline = use_configuration(loaded)
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


def choose_configuration(invocation: Invocation, tell: Steps) -> LoadedSettings:
    """The file as every command finds it; the built-in demo where only chance named another.

    A ``pipeline.yaml`` that lies in the working directory and has nothing to produce is left
    aside, with its servers. A file that was named counts.
    """
    loaded = read_configuration(invocation)
    was_named = invocation.config or os.environ.get(FILE_VARIABLE)
    if was_named or loaded.path is None or find_sources(loaded):
        return loaded
    tell(f"no stream of {loaded.path.name} has a `source:`, so this is the built-in demo")
    return load_settings(DEMO_FILE, os.environ)


def find_sources(loaded: LoadedSettings) -> list[str]:
    """The streams that events may be generated for."""
    return [name for name, stream in loaded.settings.streams.items() if stream.source is not None]


def choose_stream(loaded: LoadedSettings) -> str:
    """The stream ``demo``, else the first that events may be generated for.

    Raises:
        ConfigurationError: the file has none.

    """
    with_source = find_sources(loaded)
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
        result = job.execute_in_process(
            run_config=config, instance=instance, raise_on_error=False, tags=LOCATION_TAGS
        )
    if not result.success:
        raise PipelineError(next(filter(None, map(describe_failure, result.all_events)), ""))
    return str(result.run_id)


def describe_failure(event: Any) -> str:
    """What stopped a step, in the words of whoever raised it; empty for any other event."""
    if not event.is_step_failure:
        return ""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and not hasattr(errors, str(error.cls_name)) and error.cause:
        error = error.cause  # Dagster's wrappers stand before the error that we raised
    if error is None:
        return f"step {event.step_key} failed"
    return str(error.message).strip().partition(": ")[2] or str(error.cls_name)


def _fetch_landed(pipeline: Pipeline, stream: str) -> _Landed:
    with looking(pipeline, stream, pipeline.loaded.settings.streams[stream]) as session:
        target = session.catalog.fetch_target()
        rows: tuple[Mapping[str, str], ...] = ()
        if target is not None:
            shown = replace(target, columns=tuple(filter(_is_shown, target.columns)))
            rows = session.inspection.fetch_newest_rows(shown, _SHOWN_ROWS)
        return _Landed(
            rows=rows,
            batches=session.inspection.fetch_last_batches(_SHOWN_BATCHES),
            offsets=sum(position.next_offset for position in fetch_positions(session)),
        )


def _is_shown(column: Column) -> bool:
    return column.metadata in (None, MetadataField.PARTITION, MetadataField.OFFSET)


def _find_command() -> str:
    """How this user calls ``kafka-pg`` from the directory they are in."""
    installed = Path(sys.executable).with_name("kafka-pg")
    if not installed.exists():
        return "python -m kafka_pg_pipeline"
    if shutil.which("kafka-pg") == str(installed):
        return "kafka-pg"
    here = Path.cwd()
    return str(installed.relative_to(here) if installed.is_relative_to(here) else installed)


def _show(pipeline: Pipeline, stream: str, landed: _Landed) -> None:
    chosen = pipeline.loaded.settings.streams[stream]
    print_line(f"\nthe newest rows of {chosen.table}", style="bold")
    columns = list(landed.rows[0]) if landed.rows else []
    print_table(columns, [list(row.values()) for row in landed.rows])
    print_line(
        f"\nthe ledger: {chosen.topic}, {landed.offsets:,} offsets loaded in all", style="bold"
    )
    show_batches(landed.batches)
    named = f" -c {DEMO_FILE}" if pipeline.loaded.path == DEMO_FILE else ""
    print_line(f"\nthe Dagster UI, with the schedule and the sensor:  {_find_command()} dev{named}")
