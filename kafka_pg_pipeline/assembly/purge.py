"""Retention: what is purged of which streams, for the command and for the job."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import reduce
from operator import add

from kafka_pg_pipeline.adapters.postgres.connection import Primary
from kafka_pg_pipeline.adapters.postgres.migrations import migrate
from kafka_pg_pipeline.adapters.postgres.purge import PostgresPurge, PurgeLimits
from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.domain.purging import PurgeReport
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.models import RetentionSettings


@contextmanager
def open_purge(endpoints: Endpoints, retention: RetentionSettings) -> Iterator[PostgresPurge]:
    """A purge over one connection; brings the pipeline's own schema up to date first.

    Raises:
        AuthenticationError, PostgresUnavailableError: PostgreSQL could not be reached.
    """
    with closing(Primary(endpoints.postgres, application_name="kafka-pg purge")) as primary:
        migrate(primary)
        limits = PurgeLimits(retention.ledger_days, retention.dead_letters_days)
        yield PostgresPurge(primary, limits)


def purge_stream(purge: PostgresPurge, name: str, *, dry_run: bool) -> PurgeReport:
    """Purge a stream and the windows of its backfills; one that was never loaded has nothing."""
    reports = (purge.purge(known, rehearsal=dry_run) for known in purge.fetch_streams(name))
    return reduce(add, reports, PurgeReport(name))


def choose_streams(
    purge: PostgresPurge, configured: Sequence[str], named: Sequence[str]
) -> tuple[str, ...]:
    """The streams named, or all of the file; one that has left the file is known by its ledger.

    Raises:
        ConfigurationError: neither the file nor the ledger knows a name.
    """
    for name in named:
        if name not in configured and not purge.fetch_streams(name):
            raise ConfigurationError(
                f"there is no stream {name!r}, neither in the file nor in the ledger; the file "
                f"has {', '.join(configured) or 'none'}"
            )
    return tuple(named) or tuple(configured)
