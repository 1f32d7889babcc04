"""Our errors as Dagster's: what can pass is retried, what needs a person fails at once.

No op has a RetryPolicy: under one, Dagster also takes a termination for something to try again,
and the run that somebody stopped goes on a few seconds later.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.errors import AuthenticationError, PipelineError, TransientError
from kafka_pg_pipeline.settings.models import StreamSettings

# The next tick of the sensor or schedule tries again anyway: two retries bridge a restart.
MAX_RETRIES = 2
_LEAST_WAIT_SECONDS = 5.0
_MOST_WAIT_SECONDS = 15.0


@contextmanager
def dagster_failures(
    name: str | None,
    stream: StreamSettings | None = None,
    *,
    may_retry: bool = True,
    endpoints: Endpoints | None = None,
) -> Iterator[None]:
    """Have a passing fault retried, a few times, where that is harmless; stop at any other.

    A login that failed with what Aiven had told at ``endpoints`` passes too, once: Aiven is asked
    again, since passwords and certificates are renewed.

    Raises:
        dagster.RetryRequested: caused by the passing fault.
        dagster.Failure: with our message, which names coordinates and cure, and no retry; its
            metadata say which stream, topic and table.
    """
    try:
        yield
    except PipelineError as error:
        retries = _count_retries(error, endpoints) if may_retry else 0
        if retries:
            wait = random.uniform(_LEAST_WAIT_SECONDS, _MOST_WAIT_SECONDS)  # noqa: S311 - a spread
            raise dg.RetryRequested(max_retries=retries, seconds_to_wait=wait) from error
        # Dagster shows a failure's own words far below those of its machinery.
        dg.get_dagster_logger().error(str(error))
        metadata = {"kafka/error": type(error).__name__}
        if name is not None:
            metadata["kafka/stream"] = name
        if stream is not None:
            metadata |= {"kafka/topic": stream.topic, "dagster/table_name": stream.table}
        raise dg.Failure(str(error), metadata=metadata, allow_retries=False) from None


def _count_retries(error: PipelineError, endpoints: Endpoints | None) -> int:
    """How often to try again, with what Aiven tells then where it named the servers."""
    if endpoints is not None and endpoints.lookup is not None:
        endpoints.lookup.forget()
        if isinstance(error, AuthenticationError):
            return 1
    return MAX_RETRIES if isinstance(error, TransientError) else 0


def tell_reasons(reasons: Mapping[str, str]) -> str:
    """Each reason once, behind the streams that it is told of: a server is down for them all."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return "\n".join(f"{', '.join(named)}: {reason}" for reason, named in names.items())
