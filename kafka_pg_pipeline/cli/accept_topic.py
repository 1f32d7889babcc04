"""``kafka-pg accept-topic``: starts the topic of that name as it is now, from its beginning."""

import click

from kafka_pg_pipeline.assembly.moves import accept_topic
from kafka_pg_pipeline.cli.arguments import dry_run_option, stream_argument
from kafka_pg_pipeline.cli.invocation import Invocation, json_option, shared_options
from kafka_pg_pipeline.cli.moves import opened_stream, show_moves


@click.command(name="accept-topic")
@stream_argument
@dry_run_option
@click.option(
    "--same-topic",
    is_flag=True,
    help="Also where topic and cluster are the same, because the log itself was rewritten.",
)
@shared_options
@json_option
@click.pass_obj
def accept_topic_command(
    invocation: Invocation, stream: str, *, dry_run: bool, same_topic: bool, as_json: bool
) -> None:
    """Start the topic that has the stream's name now from its beginning; old rows stay.

    For a topic that was deleted and created again, or a stream that moved to another cluster.
    """
    with opened_stream(invocation, stream) as session:
        moves = accept_topic(session, same_topic=same_topic, rehearsal=dry_run)
        show_moves(session, f"accept-topic {stream}", moves, dry_run=dry_run, as_json=as_json)
