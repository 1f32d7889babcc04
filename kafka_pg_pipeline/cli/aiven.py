"""``kafka-pg aiven``: the Aiven account as the pipeline sees it."""

import os
import shlex
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from kafka_pg_pipeline.assembly.aiven import open_directory
from kafka_pg_pipeline.assembly.aiven_doctor import examine_aiven
from kafka_pg_pipeline.assembly.aiven_environment import (
    SECRET_NAMES,
    build_environment,
    write_certificates,
)
from kafka_pg_pipeline.assembly.provision import (
    Sizes,
    apply_step,
    fetch_plan,
)
from kafka_pg_pipeline.cli.arguments import dry_run_option, streams_argument
from kafka_pg_pipeline.cli.checks import finish_checks
from kafka_pg_pipeline.cli.configuration import (
    describe_source,
    open_pipeline,
    read_configuration,
    select_streams,
)
from kafka_pg_pipeline.cli.failures import FAILED, SUCCESS
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.output import count_of, note, print_json, print_line, print_table
from kafka_pg_pipeline.domain.services import Service
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.file import LoadedSettings


@click.group(name="aiven", short_help="The Aiven project and services that serve.")
@shared_options
def aiven_command() -> None:
    """Look at the Aiven project that the file names, and prepare it when asked.

    Needs AIVEN_TOKEN, and `project` in the section `aiven` of the file. No command shows a secret
    that was not asked for by its name.
    """


@aiven_command.command()
@shared_options
@json_option
@click.pass_obj
def check(invocation: Invocation, *, as_json: bool) -> int:
    """Check token, project, CA, and of each service state, limits, certificate, maintenance."""
    loaded = _read(invocation)
    streams = len(loaded.settings.streams)
    return finish_checks(examine_aiven(loaded.settings.aiven, os.environ, streams), as_json=as_json)


@aiven_command.command()
@shared_options
@json_option
@click.pass_obj
def services(invocation: Invocation, *, as_json: bool) -> None:
    """List the project's services, and which of them the file names."""
    loaded = _read(invocation)
    settings = loaded.settings.aiven
    with closing(open_directory(settings, os.environ)) as directory:
        found = directory.fetch_services()
    uses = {settings.kafka_service: "kafka", settings.postgres_service: "postgres"}
    if as_json:
        print_json(
            {
                "project": settings.project,
                "services": [
                    {**_plain_service(service), "used_as": uses.get(service.name)}
                    for service in found
                ],
            }
        )
        return
    columns = ("service", "type", "version", "plan", "cloud", "state", "used as")
    print_table(
        columns,
        [(*_plain_service(service).values(), uses.get(service.name)) for service in found],
    )


@aiven_command.command()
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    type=click.Choice(SECRET_NAMES),
    help="Print this secret too; may be repeated.",
)
@click.option(
    "--certificates",
    metavar="DIRECTORY",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the CA, and the certificate and key of Kafka's user, into files there.",
)
@shared_options
@json_option
@click.pass_obj
def env(
    invocation: Invocation,
    *,
    secrets: Sequence[str],
    certificates: Path | None,
    as_json: bool,
) -> None:
    """Print `export NAME=value` lines for other programs, without secrets unless they are named.

    TEST_… is what this project's own tests take their PostgreSQL from.
    """
    _read(invocation)
    endpoints = open_pipeline(invocation).endpoints
    variables = build_environment(endpoints, secrets)
    if certificates is not None:
        variables |= write_certificates(endpoints, certificates)
        note(f"certificates are in {certificates}, for you alone; remove them after use")
    if as_json:
        print_json(variables)
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@aiven_command.command()
@streams_argument
@click.option(
    "--partitions", type=click.IntRange(1), default=3, show_default=True, help="Of a new topic."
)
@click.option(
    "--replication", type=click.IntRange(1), default=3, show_default=True, help="Of a new topic."
)
@dry_run_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@shared_options
@json_option
@click.pass_obj
def provision(
    invocation: Invocation,
    streams: tuple[str, ...],
    *,
    partitions: int,
    replication: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Create what streams lack: topics, the database, users, and the right to read the topics.

    Shows what it would create and asks. What is there already is left as it is; nothing is ever
    deleted. The token needs the right to create these things.
    """
    loaded = _read(invocation)
    settings = loaded.settings
    chosen = select_streams(loaded, streams)
    done = False
    with closing(open_directory(settings.aiven, os.environ)) as directory:
        plan = fetch_plan(directory, settings, chosen, Sizes(partitions, replication))
        if not as_json:
            for step in plan:
                print_line(f"create {step}")
        if not plan:
            note("nothing is missing")
        elif not dry_run and (yes or _confirmed(len(plan))):
            for step in plan:
                apply_step(directory, step)
            done = True
            note(f"created {count_of(len(plan), 'thing')}; Aiven may take a minute to show them")
    if as_json:
        print_json({"plan": list(map(str, plan)), "dry_run": dry_run, "created": done})
    return SUCCESS if done or dry_run or not plan else FAILED


def _confirmed(number: int) -> bool:
    return click.confirm(f"create {count_of(number, 'thing')}?", default=False, err=True)


def _read(invocation: Invocation) -> LoadedSettings:
    loaded = read_configuration(invocation)
    if not loaded.settings.aiven.project:
        raise ConfigurationError(
            f"{describe_source(loaded)} names no Aiven project: write a section "
            "`aiven: {project: …, kafka_service: …, postgres_service: …}`"
        )
    return loaded


def _plain_service(service: Service) -> dict[str, str]:
    return {
        "service": service.name,
        "type": service.type,
        "version": service.version,
        "plan": service.plan,
        "cloud": service.cloud,
        "state": service.state_word,
    }
