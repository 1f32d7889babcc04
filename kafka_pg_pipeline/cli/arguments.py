"""The arguments that several commands take."""

from datetime import datetime

import click

from kafka_pg_pipeline.errors import ConfigurationError

streams_argument = click.argument("streams", nargs=-1, metavar="[STREAM]...")
stream_argument = click.argument("stream", metavar="STREAM")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Do everything and roll it back: show what would change."
)

_NO_MOMENT = "not a time with its zone (2026-01-31T12:00:00Z)"


def parse_moment(option: str, text: str, *, otherwise: str = _NO_MOMENT) -> datetime:
    """An ISO 8601 time with its zone; ``otherwise`` says what any other text is.

    Raises:
        ConfigurationError: it is none.

    """
    try:
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError:
        raise ConfigurationError(f"{option}: {text!r} is {otherwise}") from None
    if moment.tzinfo is None:
        raise ConfigurationError(
            f"{option}: {text!r} has no zone: write {text}Z for UTC, or {text}+02:00"
        )
    return moment
