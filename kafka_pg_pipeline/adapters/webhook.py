"""Messages to a webhook that takes Slack's JSON. Its address is a secret, and nothing shows it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from kafka_pg_pipeline.errors import TransientError

_TALKATIVE = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry")
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 10.0
_RETRY = Retry(
    total=3,
    backoff_factor=0.5,
    backoff_max=5,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    respect_retry_after_header=False,
    raise_on_status=False,
)


class WebhookError(TransientError):
    """The webhook did not take a message; the text says why, and not where it is."""


def post_text(url: str, text: str) -> None:
    """Post ``{"text": …}``, with a few tries; some 50 s at the most.

    Raises:
        WebhookError: nobody answered, or with a refusal.
    """
    failure = ""
    with _unlogged(), requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=_RETRY))
        try:
            answer = session.post(
                url,
                json={"text": text},
                timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                allow_redirects=False,
            )
            if not answer.ok or answer.is_redirect:
                failure = f"it answered with HTTP {answer.status_code}"
        except requests.Timeout:
            failure = "no answer in time"
        except requests.ConnectionError:
            failure = "it cannot be reached"
        except (requests.RequestException, ValueError) as error:
            failure = f"it cannot be asked ({type(error).__name__})"
    # Raised out here: the client's own errors quote the address.
    if failure:
        raise WebhookError(f"the webhook of `alerts` did not take a message: {failure}")


def escape(text: str) -> str:
    """Text as Slack shows it, without a meaning of its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep what the HTTP client logs in this thread to itself: its lines hold the address."""
    here = threading.get_ident()
    loggers = [logging.getLogger(name) for name in _TALKATIVE]

    def let_pass(record: logging.LogRecord) -> bool:
        return record.thread != here

    for logger in loggers:
        logger.addFilter(let_pass)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(let_pass)
