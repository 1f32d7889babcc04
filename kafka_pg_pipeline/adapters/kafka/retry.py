"""Tries driver calls again that an election, a restart or a lost connection made fail."""

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from kafka_pg_pipeline.adapters.kafka.errors import is_transient
from kafka_pg_pipeline.adapters.kafka.metadata import NoTopicsError

T = TypeVar("T")

_NO_TOPICS_SECONDS = 5.0


def retry_transient(
    call: Callable[[], T],
    *,
    seconds: float,
    is_retried: Callable[[BaseException], bool] = is_transient,
) -> T:
    """What ``call`` returns; begins no other attempt after ``seconds``."""

    def is_over(state: RetryCallState) -> bool:
        elapsed = state.seconds_since_start or 0.0
        error = state.outcome.exception() if state.outcome is not None else None
        return elapsed >= (min(seconds, _NO_TOPICS_SECONDS) if _knows_no_topics(error) else seconds)

    retrying = Retrying(
        retry=retry_if_exception(lambda error: is_retried(error) or _knows_no_topics(error)),
        stop=is_over,
        wait=wait_exponential(multiplier=0.1, max=1.0),
        reraise=True,
    )
    return retrying(call)


def _knows_no_topics(error: BaseException | None) -> bool:
    return isinstance(error, NoTopicsError)
