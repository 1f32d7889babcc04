"""Times that people write."""

from datetime import datetime

from kafka_pg_pipeline.errors import ConfigurationError

_NO_MOMENT = "not a time with its zone (2026-01-31T12:00:00Z)"


def parse_moment(name: str, text: str, *, otherwise: str = _NO_MOMENT) -> datetime:
    """An ISO 8601 time with its zone.

    Args:
        name: Whose value it is, for the message.
        text: As somebody wrote it.
        otherwise: What any other text is, for the message.

    Raises:
        ConfigurationError: it is none.

    """
    try:
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError:
        raise ConfigurationError(f"{name}: {text!r} is {otherwise}") from None
    if moment.tzinfo is None:
        raise ConfigurationError(
            f"{name}: {text!r} has no zone: write {text}Z for UTC, or {text}+02:00"
        )
    return moment
