"""Our errors as Dagster's: what can pass is retried, what needs a person fails at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from kafka_pg_pipeline.errors import PipelineError, TransientError

# The next tick of the sensor or schedule tries again anyway: two retries bridge a restart.
RETRY_POLICY = dg.RetryPolicy(
    max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)


@contextmanager
def dagster_failures(stream: str) -> Iterator[None]:
    """Let a passing fault be retried by the op's policy; stop at once at any other.

    Raises:
        dagster.Failure: with our message, which names coordinates and cure, and no retry.
        TransientError: as it was.
    """
    try:
        yield
    except TransientError:
        raise
    except PipelineError as error:
        raise dg.Failure(
            description=str(error),
            metadata={"kafka/stream": stream, "kafka/error": type(error).__name__},
            allow_retries=False,
        ) from None
