"""``kafka-pg local``: the Kafka and the PostgreSQL of this machine."""

import shlex

import click

from kafka_pg_pipeline.cli.failures import FAILED, SUCCESS
from kafka_pg_pipeline.cli.invocation import json_option, shared_options
from kafka_pg_pipeline.cli.output import Steps, print_json, print_line, print_table
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.local.ports import LOOPBACK
from kafka_pg_pipeline.local.stack import LocalStack, LocalStatus

_PORT = click.IntRange(1, 65535)


@click.group(name="local", short_help="A real Kafka and a real PostgreSQL on this machine.")
@shared_options
def local_command() -> None:
    """Start and stop a real Apache Kafka and a real PostgreSQL on this machine.

    Everything lies in .local/ in the working directory, or where KAFKA_PG_HOME says. The servers
    go on when the command ends, and keep their data between runs.
    """


@local_command.command()
@click.option("--kafka-port", type=_PORT, help="Kafka's port; a free one by default.")
@click.option("--postgres-port", type=_PORT, help="PostgreSQL's port, the same.")
@shared_options
@json_option
def up(kafka_port: int | None, postgres_port: int | None, *, as_json: bool) -> None:
    """Start what does not run yet, and wait until both answer."""
    stack = LocalStack(kafka_port=kafka_port or 0, postgres_port=postgres_port or 0)
    running = stack.status()
    for server, port in ((running.kafka, kafka_port), (running.postgres, postgres_port)):
        if port and server.running and server.address != f"{LOOPBACK}:{port}":
            raise PipelineError(
                f"the local {server.name} runs on {server.address} already; `kafka-pg local down` "
                f"first, then it starts on port {port}"
            )
    stack.up(Steps())
    _show(stack.status(), as_json=as_json)
    if not as_json:
        print_line('to use them from a shell:  eval "$(kafka-pg local env)"', style="dim")


@local_command.command()
@shared_options
@json_option
def down(*, as_json: bool) -> None:
    """Stop both servers; their data stays."""
    stack = LocalStack()
    was_running = stack.status()
    stack.down(Steps())
    if as_json:
        _show(stack.status(), as_json=True)
    elif was_running.kafka.running or was_running.postgres.running:
        print_line(f"stopped; the data stays in {stack.home}")
    else:
        print_line(f"nothing was running in {stack.home}")


@local_command.command()
@shared_options
@json_option
def status(*, as_json: bool) -> int:
    """What runs, where, and where its log is; exit 1 unless both run."""
    found = LocalStack().status()
    _show(found, as_json=as_json)
    return SUCCESS if found.is_up else FAILED


@local_command.command()
@shared_options
@json_option
def env(*, as_json: bool) -> None:
    """Print `export NAME=value` lines for both servers, the password among them."""
    variables = LocalStack().environment()
    if as_json:
        print_json(variables)
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


def _show(found: LocalStatus, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "home": found.home,
                "is_up": found.is_up,
                "kafka": found.kafka,
                "postgres": found.postgres,
            }
        )
        return
    print_table(
        ("server", "version", "state", "address", "pid", "log"),
        [
            (
                server.name,
                server.version,
                "running" if server.running else "stopped",
                server.address,
                str(server.pid) if server.pid else None,
                str(server.log),
            )
            for server in (found.kafka, found.postgres)
        ],
        fold=("log",),
    )
