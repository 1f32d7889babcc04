"""The arguments that several commands take."""

import click

streams_argument = click.argument("streams", nargs=-1, metavar="[STREAM]...")
stream_argument = click.argument("stream", metavar="STREAM")
reason_option = click.option(
    "--reason", required=True, metavar="TEXT", help="Why, for whoever reads it later."
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Do everything and roll it back: show what would change."
)
