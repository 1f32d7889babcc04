"""The entry point of ``kafka-pg``: runs the command, and turns what went wrong into exit codes."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from kafka_pg_pipeline import __version__
from kafka_pg_pipeline.cli.commands import CommandList
from kafka_pg_pipeline.cli.failures import (
    FAILED,
    INTERRUPTED,
    SUCCESS,
    exit_code_of,
    tell_failure,
    tell_usage,
)
from kafka_pg_pipeline.cli.invocation import Invocation, shared_options
from kafka_pg_pipeline.cli.logs import start_logging, write_line


@click.command(
    cls=CommandList,
    name="kafka-pg",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 success, 1 a run or check that failed, 2 bad usage or configuration, "
    "130 Ctrl-C.",
)
@click.version_option(__version__, prog_name="kafka-pg")
@shared_options
def kafka_pg() -> None:
    """Records from Kafka topics become rows in PostgreSQL, each exactly once.

    Start with `kafka-pg demo`. Without STREAM a command takes every stream of the file.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``kafka-pg`` and leave the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; commands return theirs, None is success."""
    invocation = Invocation()
    start_logging()
    try:
        code = kafka_pg.main(
            args=None if arguments is None else list(arguments),
            prog_name="kafka-pg",
            standalone_mode=False,
            obj=invocation,
        )
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        tell_usage(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        write_line("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 - the last boundary: no traceback reaches the user
        tell_failure(error, debug=invocation.debug)
        return exit_code_of([error])
    return code if isinstance(code, int) else SUCCESS
