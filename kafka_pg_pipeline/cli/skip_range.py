"""``kafka-pg skip-range``: goes on behind a batch that no client can decode."""

import click

from kafka_pg_pipeline.assembly.moves import skip_range
from kafka_pg_pipeline.cli.arguments import dry_run_option, reason_option, stream_argument
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.moves import opened_books, show_moves
from kafka_pg_pipeline.domain.offsets import OffsetRange

_OFFSET = click.IntRange(min=0)


@click.command(name="skip-range")
@stream_argument
@click.option("--partition", required=True, type=_OFFSET, help="Partition with the broken batch.")
@click.option(
    "--from",
    "start_offset",
    required=True,
    type=_OFFSET,
    help="First offset to skip: where the stream stands.",
)
@click.option(
    "--to", "end_offset", required=True, type=_OFFSET, help="First offset behind the batch."
)
@reason_option
@dry_run_option
@shared_options
@json_option
@click.pass_obj
def skip_range_command(
    invocation: Invocation,
    stream: str,
    partition: int,
    start_offset: int,
    end_offset: int,
    reason: str,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Record a range that no client can decode as a gap, and go on behind it.

    The load that stops at such a batch names this command with its offsets. Nothing of the range
    becomes a row: first see whether the broker's copy can be restored.
    """
    skipped = OffsetRange(partition, start_offset, end_offset)
    with opened_books(invocation, stream) as session:
        moves = skip_range(session, skipped, reason, rehearsal=dry_run)
        show_moves(session, f"skip-range {stream}", moves, dry_run=dry_run, as_json=as_json)
