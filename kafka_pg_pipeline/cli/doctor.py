"""``kafka-pg doctor``: examines what the pipeline stands on."""

import os
from collections.abc import Iterator
from itertools import chain

import click

from kafka_pg_pipeline.adapters.postgres.health import StuckBackend
from kafka_pg_pipeline.assembly.aiven_doctor import examine_aiven
from kafka_pg_pipeline.assembly.doctor import (
    Check,
    Verdict,
    examine_kafka,
    examine_postgres,
    examine_registry,
    examine_stream,
    fetch_stuck_backends,
    terminate_backend,
)
from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.cli.checks import finish_checks
from kafka_pg_pipeline.cli.configuration import (
    describe_source,
    find_endpoints,
    read_configuration,
    select_streams,
)
from kafka_pg_pipeline.cli.failures import FAILED, SUCCESS, exit_code_of
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.output import (
    count_of,
    format_seconds,
    note,
    print_json,
    print_line,
    print_table,
)
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.settings.file import LoadedSettings


@click.command(name="doctor")
@click.option("--kafka", "only_kafka", is_flag=True, help="Examine Kafka alone.")
@click.option("--postgres", "only_postgres", is_flag=True, help="Examine PostgreSQL alone.")
@click.option(
    "--release-locks",
    is_flag=True,
    help="List silent loaders that hold locks others wait for, and end them.",
)
@click.option("--yes", is_flag=True, help="With --release-locks: do not ask.")
@shared_options
@json_option
@click.pass_obj
def doctor_command(
    invocation: Invocation,
    *,
    only_kafka: bool,
    only_postgres: bool,
    release_locks: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Check configuration, Aiven, Kafka, PostgreSQL, rights and clocks, each with the cure.

    Changes nothing. Exit 1 when a check fails, 2 when it is the configuration.
    """
    loaded = read_configuration(invocation)
    if release_locks:
        return _release_locks(_resolve(loaded), yes=yes, as_json=as_json)
    both = only_kafka == only_postgres
    settings = loaded.settings
    aiven = list(examine_aiven(settings.aiven, os.environ, len(settings.streams)))
    try:
        endpoints = _resolve(loaded)
    except PipelineError as error:
        # What Aiven's part has said is not said again.
        is_told = any(check.verdict is Verdict.FAILED for check in aiven)
        servers = [] if is_told else [Check("servers", Verdict.FAILED, str(error))]
        code = finish_checks([*aiven, *servers], as_json=as_json)
        return exit_code_of([error]) or code
    checks = _examine(loaded, endpoints, kafka=both or only_kafka, postgres=both or only_postgres)
    return finish_checks(chain(aiven, checks), as_json=as_json)


def _resolve(loaded: LoadedSettings) -> Endpoints:
    return find_endpoints(loaded)


def _examine(
    loaded: LoadedSettings, endpoints: Endpoints, *, kafka: bool, postgres: bool
) -> Iterator[Check]:
    streams = select_streams(loaded, ())
    number = count_of(len(streams), "stream")
    yield Check("configuration", Verdict.OK, f"{describe_source(loaded)}, {number}")
    failed: set[str] = set()
    for check in chain(
        examine_kafka(endpoints, streams) if kafka else (),
        examine_registry(endpoints) if kafka else (),
        examine_postgres(endpoints, streams) if postgres else (),
    ):
        if check.verdict is Verdict.FAILED:
            failed.add(check.subject)
        yield check
    if not (kafka and postgres) or failed & {"Kafka", "PostgreSQL"}:
        return
    # What is wrong with a topic or a table was said already.
    for name, stream in streams.items():
        if not failed & {f"topic of {name}", f"table of {name}"}:
            yield examine_stream(endpoints, name, stream)


def _release_locks(endpoints: Endpoints, *, yes: bool, as_json: bool) -> int:
    stuck = fetch_stuck_backends(endpoints)
    if not as_json:
        _show_stuck(stuck)
    ended: list[int] = []
    if stuck and (yes or _confirmed(len(stuck))):
        ended = [backend.pid for backend in stuck if terminate_backend(endpoints, backend)]
        note(f"ended {count_of(len(ended), 'backend')}; the next run loads their batches again")
    if as_json:
        print_json({"stuck": stuck, "ended": ended})
    return SUCCESS if len(ended) == len(stuck) else FAILED


def _confirmed(number: int) -> bool:
    return click.confirm(f"end {count_of(number, 'backend')}?", default=False, err=True)


def _show_stuck(stuck: tuple[StuckBackend, ...]) -> None:
    if not stuck:
        print_line("no silent loader holds others up")
        return
    print_table(
        ("backend", "loader", "state", "transaction", "waiting"),
        [
            (
                str(backend.pid),
                backend.application_name,
                backend.state,
                format_seconds(backend.transaction_seconds),
                backend.waiters,
            )
            for backend in stuck
        ],
        numbers=("backend", "transaction", "waiting"),
    )
