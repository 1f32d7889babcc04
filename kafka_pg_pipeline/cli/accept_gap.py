"""``kafka-pg accept-gap``: records what retention removed, and goes on after it."""

import click

from kafka_pg_pipeline.assembly.moves import accept_gap
from kafka_pg_pipeline.cli.arguments import dry_run_option, stream_argument
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.moves import opened_stream, show_moves
from kafka_pg_pipeline.cli.output import print_line


@click.command(name="accept-gap")
@stream_argument
@dry_run_option
@shared_options
@json_option
@click.pass_obj
def accept_gap_command(
    invocation: Invocation, stream: str, *, dry_run: bool, as_json: bool
) -> None:
    """Record what retention removed before it was loaded as a gap, and go on after it.

    Also acknowledges the gaps that `on_data_loss: continue` has recorded.
    """
    with opened_stream(invocation, stream) as session:
        moves = accept_gap(session, rehearsal=dry_run)
        if not moves and not as_json:
            print_line(f"{stream} has no gap: everything from its position on is in the log")
            return
        show_moves(session, f"accept-gap {stream}", moves, dry_run=dry_run, as_json=as_json)
