"""Log lines of a command: on standard error, short, without secrets and without clients' noise.

As text for people, or a JSON object a line for machines: then nothing else is on standard error.
"""

import logging
import sys
from typing import Any

from pythonjsonlogger.json import JsonFormatter

_secrets: set[str] = set()  # shorter values would wipe out ordinary words
_SHORTEST_SECRET = 4
_NOISY_CLIENTS = ("kafka", "urllib3", "alembic")
FORMATS = ("text", "json")
FORMAT_VARIABLE = "KAFKA_PG_LOG_FORMAT"


class _RedactingJson(JsonFormatter):
    """Takes secrets out of the values: in JSON's own spelling one might not be recognized."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = _redact_in(log_data)
        return found


_json: logging.Formatter | None = None


class _StandardErrorHandler(logging.Handler):
    """Writes to what is standard error at that moment, so that a progress bar is not broken."""

    shows_clients = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] in _NOISY_CLIENTS and not self.shows_clients:
            return
        if _json is not None:
            _write(_json.format(record))
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


def set_format(name: str) -> None:
    """Choose one of FORMATS for all lines; ``json`` shows a line for each step too."""
    global _json
    _json = None
    if name == "json":
        _json = _RedactingJson(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
            json_ensure_ascii=False,
        )
        set_verbosity(logging.INFO)


def is_json() -> bool:
    """Whether machines read standard error."""
    return _json is not None


def shows_steps() -> bool:
    """Whether the log has a line for each step, each committed batch among them."""
    return logging.getLogger("kafka_pg_pipeline").isEnabledFor(logging.INFO)


def keep_secret(value: str | None) -> None:
    """Replace a value wherever a message would show it: the second net behind clean messages."""
    if value and len(value) >= _SHORTEST_SECRET:
        _secrets.add(value)


def write_line(text: str, level: int = logging.INFO) -> None:
    """One line on standard error; above the progress bar where there is one.

    click.echo would write past the bar's own stream, into the middle of it.
    """
    if _json is None:
        _write(redact(text))
    else:
        record = logging.LogRecord("kafka_pg_pipeline.cli", level, "", 0, text, None, None)
        _write(_json.format(record))


def _write(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def redact(text: str) -> str:
    """The text without any value that was named to ``keep_secret``."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text


def _redact_in(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redact_in(item) for key, item in value.items()}
    return [_redact_in(item) for item in value] if isinstance(value, list | tuple) else value
