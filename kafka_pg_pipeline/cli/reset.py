"""``kafka-pg reset``: moves a stream's position, in one transaction with an audit row."""

import click

from kafka_pg_pipeline.assembly.moves import DESTINATIONS, reset
from kafka_pg_pipeline.cli.arguments import dry_run_option, stream_argument
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.moves import opened_stream, show_moves


@click.command(name="reset")
@stream_argument
@click.option("--to", "destination", required=True, metavar="WHERE", help=f"{DESTINATIONS}.")
@dry_run_option
@click.option(
    "--allow-duplicates",
    is_flag=True,
    help="Move back without deleting the rows of the range: they will be there twice.",
)
@shared_options
@json_option
@click.pass_obj
def reset_command(
    invocation: Invocation,
    stream: str,
    destination: str,
    *,
    dry_run: bool,
    allow_duplicates: bool,
    as_json: bool,
) -> None:
    """Move a stream's position.

    Moving back deletes the rows and dead letters of the range in the same transaction, so that
    they are not loaded twice; that needs the partition and offset columns in the table. Moving
    forward skips records.
    """
    with opened_stream(invocation, stream) as session:
        moves = reset(session, destination, allow_duplicates=allow_duplicates, rehearsal=dry_run)
        show_moves(session, f"reset {stream}", moves, dry_run=dry_run, as_json=as_json)
