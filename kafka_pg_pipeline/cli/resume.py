"""``kafka-pg resume``: ends the pause of a stream."""

import click

from kafka_pg_pipeline.assembly.moves import resume
from kafka_pg_pipeline.cli.arguments import dry_run_option, stream_argument
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.moves import opened_stream, show_pause_change
from kafka_pg_pipeline.cli.output import print_line


@click.command(name="resume")
@stream_argument
@dry_run_option
@shared_options
@json_option
@click.pass_obj
def resume_command(invocation: Invocation, stream: str, *, dry_run: bool, as_json: bool) -> None:
    """Let loads move a paused stream again, from where it stands.

    Starts none: the sensor, a schedule or `kafka-pg load` does.
    """
    with opened_stream(invocation, stream) as session:
        change = resume(session, rehearsal=dry_run)
        if not change.is_change and not as_json:
            print_line(f"{stream} is not paused: there is nothing to resume")
            return
        show_pause_change(session, "resume", change, dry_run=dry_run, as_json=as_json)
