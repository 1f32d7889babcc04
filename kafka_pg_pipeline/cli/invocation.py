"""What was said on the command line that every command shares, and the options that say it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from kafka_pg_pipeline.cli.logs import FORMAT_VARIABLE, FORMATS, set_format, set_verbosity

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Invocation:
    """One call of ``kafka-pg``; filled while click reads the command line."""

    config: str | None = None
    debug: bool = False


def _store_config(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Invocation).config = value


def _store_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value:
        ctx.ensure_object(Invocation).debug = True
        set_verbosity(logging.DEBUG)


def _store_verbose(_: click.Context, __: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value:
        set_verbosity(logging.INFO)


def _store_format(_: click.Context, __: click.Parameter, value: str | None) -> None:
    if value is not None:
        set_format(value)


def shared_options(command: F) -> F:
    """The options that every command takes."""
    for option in (
        click.option(
            "--log-format",
            type=click.Choice(FORMATS),
            envvar=FORMAT_VARIABLE,
            expose_value=False,
            is_eager=True,
            callback=_store_format,
            help=f"Log lines as text, or each as JSON; else {FORMAT_VARIABLE}.",
        ),
        click.option(
            "--debug",
            is_flag=True,
            expose_value=False,
            callback=_store_debug,
            help="Show tracebacks and all log lines.",
        ),
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            expose_value=False,
            callback=_store_verbose,
            help="Show a log line for each step.",
        ),
        click.option(
            "-c",
            "--config",
            metavar="FILE",
            expose_value=False,
            callback=_store_config,
            help="Configuration file; else KAFKA_PG_CONFIG, else pipeline.yaml, else the demo's.",
        ),
    ):
        command = option(command)
    return command


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
)
