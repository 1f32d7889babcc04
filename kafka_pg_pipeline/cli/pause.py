"""``kafka-pg pause``: lets no load move a stream until somebody resumes it."""

import click

from kafka_pg_pipeline.assembly.moves import pause
from kafka_pg_pipeline.cli.arguments import dry_run_option, reason_option, stream_argument
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.moves import opened_stream, show_pause_change
from kafka_pg_pipeline.cli.output import print_line


@click.command(name="pause")
@stream_argument
@reason_option
@dry_run_option
@shared_options
@json_option
@click.pass_obj
def pause_command(
    invocation: Invocation, stream: str, reason: str, *, dry_run: bool, as_json: bool
) -> None:
    """Let no load move a stream until `kafka-pg resume`, wherever it would run.

    A load that runs commits no further batch and ends; later ones end at once and say why, with
    exit code 0. Backfills end too, with exit code 1. Replay of dead letters goes on.
    """
    with opened_stream(invocation, stream) as session:
        change = pause(session, reason, rehearsal=dry_run)
        if not change.is_change and change.before and not as_json:
            print_line(f"{stream} is {change.before} already; its reason stays")
            return
        show_pause_change(session, "pause", change, dry_run=dry_run, as_json=as_json)
