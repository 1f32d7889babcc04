"""Remembers in PostgreSQL whether a stream's last run failed, for whoever decides what is next."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kafka_pg_pipeline.assembly.session import StreamSession
from kafka_pg_pipeline.errors import PipelineError


@contextmanager
def noting_failure(session: StreamSession) -> Iterator[None]:
    """Note a failure of what is done in the block, as far as PostgreSQL can be asked.

    Raises:
        PipelineError: the failure itself.
    """
    try:
        yield
    except PipelineError as error:
        with suppress(PipelineError):
            session.failures.note(session.name, error, session.run_id)
        raise


@contextmanager
def noting_outcome(session: StreamSession) -> Iterator[None]:
    """As ``noting_failure``; where the block ends well, earlier failures are over.

    Raises:
        PipelineError: the failure itself.
    """
    with noting_failure(session):
        yield
    # What was loaded is loaded, whether this can be said now or not.
    with suppress(PipelineError):
        session.failures.clear(session.name)
