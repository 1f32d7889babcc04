"""Which streams' last runs failed, and why: kept in PostgreSQL, whoever ran them."""

from collections.abc import Mapping, Sequence

from kafka_pg_pipeline.adapters.postgres.connection import Primary, Statements, rows_of
from kafka_pg_pipeline.domain.status import StreamFailure
from kafka_pg_pipeline.errors import PipelineError

# The migration that brings their table.
FAILURES_SINCE = 3


class PostgresFailures:
    """Failures in a row of each stream, over a connection that the caller owns."""

    def __init__(self, primary: Primary) -> None:
        self._primary = primary
        self._statements = Statements("failures", primary.settings.schema_name)

    def note(self, stream: str, error: PipelineError, run_id: str) -> None:
        """One more failure; the messages of our own errors hold nothing of a record."""
        with self._primary.transaction("note the failure") as cursor:
            cursor.execute(
                self._statements["note"],
                {
                    "stream": stream,
                    "error": type(error).__name__,
                    "message": str(error),
                    "run_id": run_id,
                },
            )

    def clear(self, stream: str) -> None:
        """The stream's last run did not fail."""
        with self._primary.transaction("note that the run did not fail") as cursor:
            cursor.execute(self._statements["clear"], {"stream": stream})

    def fetch(self, streams: Sequence[str]) -> Mapping[str, StreamFailure]:
        """The failures of those streams whose last run failed."""
        with self._primary.look("read the last failures") as cursor:
            cursor.execute(self._statements["fetch"], {"streams": list(streams)})
            return {row["stream"]: StreamFailure(**row) for row in rows_of(cursor)}
