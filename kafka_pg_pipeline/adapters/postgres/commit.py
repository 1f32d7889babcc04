"""COMMIT, and what to do when its answer never came.

Until COMMIT is sent a lost connection means that nothing happened. After it, only the database
can say: the transaction held the rows of its positions, so whoever gets their locks knows that it
has ended, and then the ledger holds the batch or never will (delivery.md 7.1 step 7). A plain
SELECT would not do: it reads the old state while the commit is still on its way.
"""

import logging
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import psycopg2
import tenacity

from kafka_pg_pipeline.adapters.postgres.connection import (
    Connection,
    Cursor,
    Primary,
    Statements,
    time_limit,
)
from kafka_pg_pipeline.errors import InvariantError, OutcomeUnknownError, TransientError
from kafka_pg_pipeline.settings.models import PostgresSettings

logger = logging.getLogger(__name__)

# How long the outcome of a COMMIT is looked for: longer than a crash recovery usually takes.
RESOLVE_SECONDS = 120.0


class CommitOutcomeLost(Exception):  # noqa: N818 - not an error: a question to the resolver
    """COMMIT was sent and no answer came."""


def commit(connection: Connection, cursor: Cursor, settings: PostgresSettings) -> None:
    """Send COMMIT, with what was deferred, and insist on hearing COMMIT back.

    Raises:
        CommitOutcomeLost: the connection broke, or the process was interrupted, after sending.
        psycopg2.Error: the server answered with an error: definitely not committed.
        InvariantError: the transaction had failed before, so that the server rolled it back.

    """
    in_transaction = psycopg2.extensions.TRANSACTION_STATUS_INTRANS
    if connection.info.transaction_status != in_transaction:
        raise InvariantError("a failed transaction was about to be committed; nothing was moved")
    try:
        with time_limit(connection, settings.commit_timeout_seconds):
            cursor.execute("COMMIT")
    except psycopg2.Error as error:
        if error.pgcode and not connection.closed:
            raise
        raise CommitOutcomeLost from None
    except BaseException:
        connection.close()
        raise
    if cursor.statusmessage != "COMMIT":
        raise InvariantError(
            f"the server answered COMMIT with {cursor.statusmessage}; nothing was moved"
        )


class OutcomeResolver:
    """Learns over a new connection whether a batch was committed."""

    def __init__(
        self, settings: PostgresSettings, *, application_name: str, stream: str, topic: str
    ) -> None:
        self._settings = settings
        self._application_name = application_name
        self._statements = Statements("positions", settings.schema_name)
        self._key = {"stream": stream, "topic": topic}

    def was_committed(self, batch_id: UUID, partitions: Sequence[int]) -> bool:
        """True where the batch is durable, False where it never will be.

        Raises:
            OutcomeUnknownError: the database, or the lock, could not be had in time.

        """

        def look(cursor: Cursor) -> bool:
            cursor.execute(
                self._statements["lock_positions"],
                {**self._key, "partitions": list(partitions)},
            )
            cursor.execute(self._statements["count_ledger_entries"], {"batch_id": str(batch_id)})
            row = cursor.fetchone()
            return bool(row and row[0])

        primary = Primary(self._settings, application_name=self._application_name)
        return look_up_outcome(primary, f"batch {batch_id}", look)


def look_up_outcome(primary: Primary, what: str, look: Callable[[Cursor], bool]) -> bool:
    """True where the transaction called ``what`` is durable, False where it never will be.

    ``look`` first gets a lock that the transaction held, which proves that it has ended, and then
    tells whether it left its mark. ``primary`` is a new connection, closed in the end.

    Raises:
        OutcomeUnknownError: the database, or the lock, could not be had in time.

    """
    logger.warning("%s: the outcome of COMMIT is unknown, looking it up", what)

    def attempt() -> bool:
        try:
            with primary.transaction("look up the outcome of COMMIT") as cursor:
                return look(cursor)
        finally:
            primary.close()

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
        stop=tenacity.stop_after_delay(RESOLVE_SECONDS),
        sleep=time.sleep,
        reraise=False,
    )
    try:
        committed = retrying(attempt)
    except tenacity.RetryError as error:
        said = error.last_attempt.exception()
        raise OutcomeUnknownError(
            f"{what}: COMMIT was sent and its outcome could not be learned within "
            f"{RESOLVE_SECONDS:.0f} s ({said}). Nothing needs repair: the next run continues "
            "from what the database then says"
        ) from None
    logger.warning(
        "%s: UNKNOWN resolved to %s", what, "committed" if committed else "not committed"
    )
    return committed
