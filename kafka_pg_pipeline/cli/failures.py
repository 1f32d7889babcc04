"""Exit codes, and how a failure is told: one message on standard error, never a traceback."""

import logging
import os
import sys
import traceback
from collections.abc import Sequence

import click

from kafka_pg_pipeline.cli.logs import is_json, write_line
from kafka_pg_pipeline.errors import ConfigurationError, PipelineError

SUCCESS = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130


def exit_code_of(errors: Sequence[BaseException]) -> int:
    """The exit code of a run with these failures: configuration only where nothing else failed."""
    if not errors:
        return SUCCESS
    if all(isinstance(error, ConfigurationError) for error in errors):
        return USAGE
    return FAILED


def tell_failure(error: BaseException, *, debug: bool, stream: str | None = None) -> None:
    """Print ``error: …`` with the cure that the error names.

    An error that nobody foresaw may quote anything, so only its kind and its place are shown.
    """
    prefix = f"{stream}: " if stream else ""
    if debug:
        write_line("".join(traceback.format_exception(error)).rstrip())
    text = str(error) if isinstance(error, PipelineError) else _describe_unforeseen(error)
    _tell(prefix + text)


def tell_usage(error: click.ClickException) -> None:
    """Print what is wrong with the command line, and where help is."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    _tell(error.format_message().rstrip("."))
    if context is not None:
        write_line(f"see `{context.command_path} --help`")


def _tell(text: str) -> None:
    if is_json():
        write_line(text, logging.ERROR)
        return
    label = click.style("error:", fg="red", bold=True)
    write_line(f"{label if sys.stderr.isatty() else 'error:'} {text}")


def _describe_unforeseen(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119 - text, not a path
    return (
        f"{type(error).__name__}{where}: this was not foreseen. Repeat the command with --debug, "
        "and report what it prints"
    )
