"""Measures all streams, whoever loads them: lag by a watch, the rest by the ledger. Only looks."""

import logging
import time
from collections.abc import Mapping
from contextlib import closing

from kafka_pg_pipeline.adapters.postgres.accounts import LedgerAccounts
from kafka_pg_pipeline.adapters.postgres.connection import Primary
from kafka_pg_pipeline.adapters.postgres.migrations import fetch_pending
from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.assembly.watch import StreamLook, open_watch
from kafka_pg_pipeline.domain.measures import StreamAccount, StreamMeasure
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.settings.models import StreamSettings

# Where Aiven told the servers, it is asked again at most so often while one does not answer.
_LOOK_AGAIN_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Meter:
    """Measures again and again; what it remembers is how far the ledger was read."""

    def __init__(self, endpoints: Endpoints, streams: Mapping[str, StreamSettings]) -> None:
        self._endpoints = endpoints
        self._streams = streams
        self._accounts = LedgerAccounts(tuple(streams))
        self._next_look_again = 0.0

    def measure(self) -> tuple[StreamMeasure, ...]:
        """Measure every stream, in the order given; a server that does not answer is logged."""
        with open_watch(self._endpoints) as watch:
            looks = {look.stream: look for look in watch.look_at_all(self._streams)}
        for look in looks.values():
            if look.trouble:
                logger.warning("%s: %s", look.stream, look.trouble)
        if any(look.trouble for look in looks.values()):
            self._look_again()
        accounts = self._fetch_accounts()
        return tuple(
            _measure(stream, looks[name], accounts.get(name))
            for name, stream in self._streams.items()
        )

    def _look_again(self) -> None:
        """Take what Aiven tells now, for the next time."""
        look_again, now = self._endpoints.look_again, time.monotonic()
        if look_again is None or now < self._next_look_again:
            return
        self._next_look_again = now + _LOOK_AGAIN_SECONDS
        try:
            self._endpoints = look_again()
        except PipelineError as error:
            logger.warning("%s", error)

    def _fetch_accounts(self) -> Mapping[str, StreamAccount]:
        """Nothing where PostgreSQL does not answer, or an older version made its tables."""
        postgres = self._endpoints.postgres.model_copy(update={"connect_timeout_seconds": 4})
        try:
            with closing(Primary(postgres, application_name="kafka-pg metrics")) as primary:
                pending = fetch_pending(primary)
                if any(migration.version == 1 for migration in pending):
                    return dict.fromkeys(self._streams, StreamAccount())
                if not pending:
                    return self._accounts.fetch(primary)
        except PipelineError as error:
            logger.warning("%s", error)
            return {}
        logger.warning("the next load brings the pipeline's tables up to date; no totals till then")
        return {}


def _measure(
    stream: StreamSettings, look: StreamLook, account: StreamAccount | None
) -> StreamMeasure:
    is_known = look.trouble is None
    return StreamMeasure(
        stream=look.stream,
        topic=stream.topic,
        table=stream.table,
        position=look.position if is_known else None,
        readable=look.readable if is_known else None,
        blocked=look.blocked if is_known else None,
        account=account,
    )
