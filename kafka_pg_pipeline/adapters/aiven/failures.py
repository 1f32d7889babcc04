"""What Aiven's API says when it refuses, as errors that name the cure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from kafka_pg_pipeline.errors import (
    AivenUnavailableError,
    AuthenticationError,
    ConfigurationError,
    PipelineError,
)

_LONGEST_MESSAGE = 200
_PASSING = (408, 429, 500, 501, 502, 503, 504)
_NOT_READY_YET = re.compile(r"User \((avnadmin|root)\) with component main not found")
_NOT_SYNCHRONIZED = "kafka_topic_not_synchronized"
_TRY_AGAIN = re.compile(r"try again in (\d{1,6})\s*s")
# What could let somebody in: a login in an address, a PEM block, Aiven's passwords and tokens.
_SECRETS = re.compile(
    r"(?<=://)[^/\s@]+@|-----BEGIN .*?(-----END [^-]*-----|$)|\bAVNS_\S+|\baivenv1[_ ]\S+",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a call is for, in words for messages, and the right that it takes."""

    what: str
    right: str = ""
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success: the status, and what of its body may be shown."""

    status: int
    message: str = ""
    code: str = ""
    wait_seconds: float | None = None

    @property
    def is_passing(self) -> bool:
        """Whether the same call may succeed a moment later."""
        if self.status in _PASSING:
            return True
        if self.status == 404:
            return bool(_NOT_READY_YET.search(self.message))
        return self.status == 409 and self.code == _NOT_SYNCHRONIZED

    def __str__(self) -> str:
        return f"HTTP {self.status}, {self.message!r}" if self.message else f"HTTP {self.status}"


class RefusedError(Exception):
    """A refusal on its way to whoever knows what was asked; never leaves the adapter."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def read_refusal(status: int, body: Any, headers: Mapping[str, str]) -> Refusal:
    """What a failed answer says. Of its body only the message counts: the rest may hold secrets."""
    message, code = "", ""
    if isinstance(body, dict):
        errors = body.get("errors")
        first = errors[0] if isinstance(errors, list) and errors else errors
        if isinstance(first, dict):
            message, code = _text(first.get("message")), _text(first.get("error_code"))
        elif isinstance(first, str):
            message = first
        message = _text(body.get("message")) or message
    message = scrub(message)
    return Refusal(status, message, code, _find_wait(message, headers))


def scrub(text: str) -> str:
    """A short text without anything that looks like a secret."""
    return _SECRETS.sub("…", text)[:_LONGEST_MESSAGE]


def explain(refusal: Refusal, purpose: Purpose) -> PipelineError:
    """The error of our tree that a refusal stands for."""
    said = f"could not {purpose.what} ({refusal})"
    if refusal.is_passing:
        return AivenUnavailableError(
            f"{said}: Aiven's API is busy or not ready; nothing was moved, a later run continues"
        )
    if refusal.status == 401:
        return AuthenticationError(
            f"{said}: {_explain_token(refusal.message)}; set AIVEN_TOKEN (or the variable that "
            "aiven.token names) to a valid one, made in Aiven's console under Users, or with "
            "`avn user access-token create`"
        )
    if refusal.status == 403:
        right = f" (it takes {purpose.right})" if purpose.right else ""
        cure = f"; {purpose.cure}" if purpose.cure else ""
        return AuthenticationError(
            f"{said}: the token's user is not in this project, or lacks the right{right}, or "
            f"aiven.project is misspelt{cure}"
        )
    if refusal.status == 404:
        return ConfigurationError(f"{said}: there is none of that name")
    if 300 <= refusal.status < 400:
        return ConfigurationError(
            f"{said}: AIVEN_API_URL leads elsewhere; it is https://api.aiven.io, without a path"
        )
    return ConfigurationError(f"{said}: Aiven's API does not take this request")


def _explain_token(message: str) -> str:
    if "expired" in message.lower():
        return "the token has expired, or was revoked"
    if "certificate" in message.lower():
        return "no token reached it"
    return "the token is not valid"


def _find_wait(message: str, headers: Mapping[str, str]) -> float | None:
    """Seconds that the answer asks to wait: by header, else by its text."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isdigit():
        return float(asked)
    if asked:
        try:
            moment = parsedate_to_datetime(asked)
        except (TypeError, ValueError):
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
    found = _TRY_AGAIN.search(message)
    return float(found[1]) if found else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
