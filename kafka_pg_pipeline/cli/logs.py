"""Log lines of a command: on standard error, short, without secrets and without clients' noise."""

import logging
import sys

_secrets: set[str] = set()  # shorter values would wipe out ordinary words
_SHORTEST_SECRET = 4
_NOISY_CLIENTS = ("kafka", "urllib3", "alembic")


class _StandardErrorHandler(logging.Handler):
    """Writes to what is standard error at that moment, so that a progress bar is not broken."""

    shows_clients = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] in _NOISY_CLIENTS and not self.shows_clients:
            return
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        write_line(f"{level}{self.format(record)}")


def start_logging() -> None:
    """Show warnings of this package; hide what the clients say about their retries."""
    root = logging.getLogger()
    if not any(isinstance(handler, _StandardErrorHandler) for handler in root.handlers):
        root.addHandler(_StandardErrorHandler())
    root.setLevel(logging.WARNING)


def set_verbosity(level: int) -> None:
    """Show more of this package; DEBUG shows the clients' warnings too."""
    logger = logging.getLogger("kafka_pg_pipeline")
    logger.setLevel(min(level, logger.level or level))
    if level <= logging.DEBUG:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, _StandardErrorHandler):
                handler.shows_clients = True


def keep_secret(value: str | None) -> None:
    """Replace a value wherever a message would show it: the second net behind clean messages."""
    if value and len(value) >= _SHORTEST_SECRET:
        _secrets.add(value)


def write_line(text: str) -> None:
    """One line on standard error; above the progress bar where there is one.

    click.echo would write past the bar's own stream, into the middle of it.
    """
    sys.stderr.write(f"{redact(text)}\n")
    sys.stderr.flush()


def redact(text: str) -> str:
    """The text without any value that was named to ``keep_secret``."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text
