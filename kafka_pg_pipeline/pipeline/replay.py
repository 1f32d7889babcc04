"""Dead letters become rows: taken in order, chunk by chunk, each chunk in one transaction.

The records are encoded by the stream's mapping as it is now. Those that still do not fit stay
letters, with their reason of now.
"""

import logging
from collections.abc import Callable, Sequence

import tenacity

from kafka_pg_pipeline.domain.letters import (
    ChunkLimits,
    EncodedLetters,
    LetterFilter,
    ReplayCounts,
    ReplayReport,
    StoredRecord,
)
from kafka_pg_pipeline.domain.tables import TargetTable
from kafka_pg_pipeline.errors import OutcomeUnknownError, TransientError
from kafka_pg_pipeline.pipeline.encode import RowEncoder
from kafka_pg_pipeline.pipeline.target import ensure_target
from kafka_pg_pipeline.ports import LetterEncoder, LetterReplayer, TargetCatalog
from kafka_pg_pipeline.settings.models import StreamSettings

logger = logging.getLogger(__name__)

_ATTEMPTS = 4


class StreamReplay:
    """Replays dead letters of one stream."""

    def __init__(
        self,
        name: str,
        stream: StreamSettings,
        *,
        run_id: str,
        catalog: TargetCatalog,
        open_replayer: Callable[[TargetTable], LetterReplayer],
    ) -> None:
        self._name = name
        self._stream = stream
        self._run_id = run_id
        self._catalog = catalog
        self._open_replayer = open_replayer

    def replay(
        self, wanted: LetterFilter, *, limit: int | None = None, dry_run: bool = False
    ) -> ReplayReport:
        """Make rows of the unresolved letters that are meant, the oldest ``limit`` of them.

        Letters that are stored meanwhile are not taken. A ``dry_run`` does everything and rolls
        each transaction back.

        Raises:
            TransientError: a passing fault outlasted its retries; what was committed stays.
            TerminalError: a person has to look; what was committed stays.

        """
        target = ensure_target(self._name, self._stream, self._catalog, lambda: (), was_loaded=True)
        replayer = self._open_replayer(target)
        counts = self._replay_chunks(replayer, self._encoder(target), wanted, limit, dry_run)
        return ReplayReport(
            stream=self._name,
            topic=self._stream.topic,
            table=self._stream.table,
            run_id=self._run_id,
            counts=counts,
            dry_run=dry_run,
        )

    def _encoder(self, target: TargetTable) -> LetterEncoder:
        rows = RowEncoder(target, topic=self._stream.topic)

        def encode(records: Sequence[StoredRecord]) -> EncodedLetters:
            builder = rows.start_batch()
            builder.add(records)
            return EncodedLetters(builder.chunks(), tuple(builder.dead_letters))

        return encode

    def _replay_chunks(
        self,
        replayer: LetterReplayer,
        encode: LetterEncoder,
        wanted: LetterFilter,
        limit: int | None,
        dry_run: bool,  # noqa: FBT001 - handed through
    ) -> ReplayCounts:
        limits = ChunkLimits(self._stream.batch.max_rows, self._stream.batch.max_bytes)
        total, after_id = ReplayCounts(), 0
        last_id = replayer.find_last(wanted, limit)
        while ids := replayer.choose(wanted, after_id, last_id, limits):
            counts = _retrying(self._name)(replayer.replay, ids, encode, rehearsal=dry_run)
            logger.info(
                "%s: dead letters %d to %d: %d replayed, %d still rejected",
                self._name,
                ids[0],
                ids[-1],
                counts.replayed,
                counts.still_rejected,
            )
            total, after_id = total + counts, ids[-1]
        return total


def _retrying(name: str) -> tenacity.Retrying:
    """Passing faults are tried again: whatever their transaction did, a letter is replayed once.

    After an unknown outcome the count would be wrong: that is said, not guessed.
    """

    def tell(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        logger.warning("%s: %s; trying again", name, error)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: (
                isinstance(error, TransientError) and not isinstance(error, OutcomeUnknownError)
            )
        ),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=0.5, max=8) + tenacity.wait_random(0, 0.5),
        before_sleep=tell,
        reraise=True,
    )
