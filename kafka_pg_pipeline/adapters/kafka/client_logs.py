"""Keeps kafka-python's own log lines quiet and free of bytes from the wire."""

import logging

CLIENT_LOGGER = "kafka"
_WIRE_LOGGERS = ("kafka.protocol.parser",)
_CHATTY_LOGGERS = ("kafka.cluster",)  # warns ten times a second while no broker answers


class WireBytesFilter(logging.Filter):
    """Replaces raw bytes in a log line's arguments by their length."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Never drops the line; only its byte arguments change."""
        if isinstance(record.args, tuple):
            record.args = tuple(_redact(argument) for argument in record.args)
        return True


def quiet_client_logs() -> None:
    """Cap the client's loggers at WARNING and redact wire bytes; safe to call again.

    kafka-python prints the whole response at ERROR when it cannot decode one, and frames at
    DEBUG: both hold record content.
    """
    logger = logging.getLogger(CLIENT_LOGGER)
    if logger.level < logging.WARNING:
        logger.setLevel(logging.WARNING)
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in _WIRE_LOGGERS:
        wire_logger = logging.getLogger(name)
        if not any(isinstance(present, WireBytesFilter) for present in wire_logger.filters):
            wire_logger.addFilter(WireBytesFilter())


def _redact(argument: object) -> object:
    if isinstance(argument, bytes | bytearray | memoryview):
        return f"<{len(argument)} bytes>"
    return argument
