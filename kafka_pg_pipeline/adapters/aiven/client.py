"""Calls of Aiven's API: authenticated, tried again where that helps, within one time limit."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from requests.auth import AuthBase
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential_jitter

from kafka_pg_pipeline import __version__
from kafka_pg_pipeline.adapters.aiven.failures import (
    Purpose,
    RefusedError,
    explain,
    read_refusal,
)
from kafka_pg_pipeline.errors import (
    AivenUnavailableError,
    AuthenticationError,
    ConfigurationError,
    PipelineError,
)

_TIMEOUTS = (5.0, 30.0)
_ATTEMPTS = 7
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 15.0
_SILENCES = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_USER_AGENT = f"kafka-pg-pipeline/{__version__} requests/{requests.__version__}"

_log = logging.getLogger(__name__)


class _TokenAuth(AuthBase):
    """As an authentication of the session: a header alone would give way to a ~/.netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"aivenv1 {self._token}"
        return request


class AivenApi:
    """One session with the API; made for a look-up of a few calls, then closed.

    Args:
        token: What lets us in; never shown.
        url: Host of the API; a trailing slash or /v1 is tolerated.
        cafile: PEM file of the API's own CA; the usual ones without it.
        patience_seconds: How long calls may be tried again, all of them together.
        sleep: Waits between two tries.
    """

    def __init__(
        self,
        token: str,
        *,
        url: str,
        cafile: Path | None = None,
        patience_seconds: float = 90.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = url.rstrip("/").removesuffix("/v1").rstrip("/")
        self._verify: str | bool = str(cafile) if cafile else True
        self._deadline = time.monotonic() + patience_seconds
        self._sleep = sleep
        self._session = requests.Session()
        self._session.auth = _TokenAuth(_check_token(token))
        self._session.headers.update({"Accept": "application/json", "User-Agent": _USER_AGENT})

    def get(self, *parts: str, key: str, purpose: Purpose, **query: str) -> Any:
        """What the answer holds under ``key``.

        Raises:
            RefusedError: the API answered, and not with what was asked for.
            AivenUnavailableError: it did not answer in time.
            ConfigurationError: address or CA are wrong.
        """
        body = self._call("GET", parts, purpose, is_repeated=True, query=query)
        if isinstance(body, dict) and key in body:
            return body[key]
        raise AivenUnavailableError(
            f"could not {purpose.what}: {self._url} answers, but not as Aiven's API does (no "
            f"{key!r}); check AIVEN_API_URL"
        )

    def post(self, *parts: str, body: Mapping[str, Any], purpose: Purpose) -> None:
        """Ask for something to be made; raises as ``get`` does.

        Only what the API put off is tried again: a call that was lost may have had its effect.
        """
        self._call("POST", parts, purpose, is_repeated=False, body=body)

    def close(self) -> None:
        """Release connections; safe to call twice."""
        self._session.close()

    def _call(
        self,
        method: str,
        parts: tuple[str, ...],
        purpose: Purpose,
        *,
        is_repeated: bool,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        path = "/".join(quote(part, safe="") for part in ("v1", *parts))
        retrying = Retrying(
            retry=retry_if_exception(lambda error: _may_pass(error, is_repeated=is_repeated)),
            stop=self._is_over,
            wait=_choose_wait,
            sleep=self._sleep,
            before_sleep=lambda state: _tell(state, purpose),
            reraise=True,
        )
        return retrying(self._send, method, f"{self._url}/{path}", purpose, query, body)

    def _send(
        self,
        method: str,
        url: str,
        purpose: Purpose,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> Any:
        try:
            answer = self._session.request(
                method,
                url,
                params=query,
                json=body,
                timeout=(
                    _TIMEOUTS[0],
                    max(1.0, min(_TIMEOUTS[1], self._deadline - time.monotonic())),
                ),
                verify=self._verify,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            failure = _explain_silence(error, self._url, purpose)
        except OSError:  # requests' own for a file that is not there
            failure = ConfigurationError(
                f"could not {purpose.what}: the file in aiven.api_cafile or AIVEN_CA_CERT cannot "
                "be read"
            )
        else:
            return _read(answer)
        # Without the driver's error: it holds the request, and the request our token.
        raise failure

    def _is_over(self, state: RetryCallState) -> bool:
        wait = _choose_wait(state)
        return state.attempt_number >= _ATTEMPTS or time.monotonic() + wait > self._deadline


def explained(error: RefusedError, purpose: Purpose) -> PipelineError:
    """The refusal as an error of our tree."""
    return explain(error.refusal, purpose)


def _check_token(token: str) -> str:
    token = token.strip()
    # requests would quote what it cannot put into a header.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise AuthenticationError(
            "AIVEN_TOKEN (or the variable that aiven.token names) holds no token: it is one line "
            "of letters, digits and signs"
            if token
            else "no token is given: set AIVEN_TOKEN, or the variable that aiven.token names"
        )
    return token


def _read(answer: requests.Response) -> Any:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.status_code // 100 == 2:
        return body
    raise RefusedError(read_refusal(answer.status_code, body, answer.headers))


def _explain_silence(error: requests.RequestException, url: str, purpose: Purpose) -> PipelineError:
    if isinstance(error, requests.exceptions.SSLError):
        return ConfigurationError(
            f"could not {purpose.what}: {url} shows a certificate of another CA, or for another "
            "host; behind a proxy of your company name its CA in aiven.api_cafile or AIVEN_CA_CERT"
        )
    if isinstance(error, _SILENCES):
        return AivenUnavailableError(
            f"could not {purpose.what}: {url} does not answer ({type(error).__name__}); nothing "
            "was moved, a later run continues. Check AIVEN_API_URL and the way there"
        )
    return ConfigurationError(
        f"could not {purpose.what}: {type(error).__name__} at {url}; check AIVEN_API_URL"
    )


def _may_pass(error: BaseException, *, is_repeated: bool) -> bool:
    if isinstance(error, RefusedError):
        return error.refusal.is_passing and (is_repeated or error.refusal.status in (429, 501, 503))
    return is_repeated and isinstance(error, AivenUnavailableError)


_BACKOFF = wait_exponential_jitter(initial=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS)


def _choose_wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.refusal.wait_seconds if isinstance(error, RefusedError) else None
    return _BACKOFF(state) if asked is None else asked


def _tell(state: RetryCallState, purpose: Purpose) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    wait = state.next_action.sleep if state.next_action is not None else 0.0
    why = str(error.refusal) if isinstance(error, RefusedError) else "no answer"
    _log.warning("could not %s yet (%s); trying again in %.0f s", purpose.what, why, wait)
