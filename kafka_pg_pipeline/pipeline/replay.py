"""Dead letters become rows: taken in order, chunk by chunk, each chunk in one transaction.

The records are encoded by the stream's mapping as it is now. Those that still do not fit stay
letters, with their reason of now.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence

import tenacity

from kafka_pg_pipeline.domain.batches import EncodedBatch, PartitionSlice
from kafka_pg_pipeline.domain.letters import (
    ChunkLimits,
    LetterFilter,
    ReplayCounts,
    ReplayReport,
    StoredRecord,
)
from kafka_pg_pipeline.domain.modes import Mode
from kafka_pg_pipeline.domain.offsets import Position, TopicIdentity
from kafka_pg_pipeline.domain.record_runs import ListedRecords
from kafka_pg_pipeline.domain.tables import TargetTable
from kafka_pg_pipeline.errors import OutcomeUnknownError, TargetError, TransientError
from kafka_pg_pipeline.pipeline.encode import RowEncoder
from kafka_pg_pipeline.pipeline.encode_record import RunContext
from kafka_pg_pipeline.pipeline.shape import RowShape, shape_of
from kafka_pg_pipeline.pipeline.target import ensure_target
from kafka_pg_pipeline.ports import Decoders, LetterReplayer, TargetCatalog, TargetEvolution
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
        evolution: TargetEvolution,
        decoders: Decoders,
        open_replayer: Callable[[TargetTable], LetterReplayer],
    ) -> None:
        self._name = name
        self._stream = stream
        self._run_id = run_id
        self._catalog = catalog
        self._evolution = evolution
        self._decoders = decoders
        self._open_replayer = open_replayer

    def replay(
        self,
        wanted: LetterFilter,
        *,
        limit: int | None = None,
        overwrite: bool = False,
        dry_run: bool = False,
    ) -> ReplayReport:
        """Make rows of the unresolved letters that are meant, the oldest ``limit`` of them.

        Letters that are stored meanwhile are not taken. ``overwrite`` allows that an old record
        takes the place of a newer one of its key. A ``dry_run`` does everything but changing the
        table's columns, and rolls each transaction back.

        Raises:
            TransientError: a passing fault outlasted its retries; what was committed stays.
            TerminalError: a person has to look; what was committed stays.

        """
        target = ensure_target(
            self._name, self._stream, self._catalog, lambda: (), self._decoders, was_loaded=True
        )
        replayer = self._open_replayer(target)
        last_id = replayer.find_last(wanted, limit)
        if not overwrite:
            self._insist_on_order(replayer, wanted, last_id)
        limits = ChunkLimits(self._stream.batch.max_rows, self._stream.batch.max_bytes)
        # What changes the table commits by itself: nothing that a dry run could take back.
        evolution = None if dry_run else self._evolution
        shape = shape_of(self._stream, evolution, self._decoders)
        encode = LetterEncoding(target, self._stream.topic, self._run_id, shape)
        counts, after_id = ReplayCounts(), 0
        while ids := replayer.choose(wanted, after_id, last_id, limits):
            done = _retrying(self._name)(replayer.replay, ids, encode, rehearsal=dry_run)
            self._log(ids, done)
            counts, after_id = counts + done, ids[-1]
        return ReplayReport(
            stream=self._name,
            topic=self._stream.topic,
            table=self._stream.table,
            run_id=self._run_id,
            counts=counts,
            dry_run=dry_run,
        )

    def _insist_on_order(
        self, replayer: LetterReplayer, wanted: LetterFilter, last_id: int
    ) -> None:
        """Refuse what could undo a newer record: only insert-ignore and append never do."""
        mode = self._stream.write_mode
        if mode.mode is not Mode.UPSERT or not last_id:
            return
        if not mode.newest_wins:
            what = "overwrite a newer row of its key, since the stream has no `newest_wins`"
        elif mode.deletes and replayer.has_deletes_since(wanted, last_id):
            what = "bring back a row that a newer record has deleted"
        else:
            return
        raise TargetError(
            f"a replayed record could {what}: nothing was replayed. Discard the letters "
            f"(`kafka-pg dead-letters discard {self._name}`), or say --overwrite (`overwrite: "
            "true` in Dagster) where they are the newest of their keys"
        )

    def _log(self, ids: Sequence[int], done: ReplayCounts) -> None:
        logger.info(
            "%s: dead letters %d to %d: %d replayed, %d without effect, %d still rejected",
            self._name,
            ids[0],
            ids[-1],
            done.replayed,
            done.ignored,
            done.still_rejected,
        )


class LetterEncoding:
    """The port LetterEncoder: letters of one incarnation as a batch whose slices count them."""

    def __init__(self, target: TargetTable, topic: str, run_id: str, shape: RowShape) -> None:
        self._target = target
        self._topic = topic
        self._run_id = run_id
        self._shape = shape

    def __call__(self, records: Sequence[StoredRecord]) -> EncodedBatch:
        """Encode the records, of each partition in the order of their offsets.

        Raises:
            TargetError: one of them would empty the table.

        """
        incarnations = {record.partition: record.incarnation for record in records}
        context = RunContext(self._topic, self._run_id, incarnations)
        builder = RowEncoder(self._target, context, self._shape).start_batch()
        for partition in sorted(incarnations):
            builder.add(ListedRecords(r for r in records if r.partition == partition))
        if builder.truncates:
            raise TargetError(
                f"letters {records[0].letter_id} to {records[-1].letter_id} hold a truncate, which "
                f"would empty {self._target.name}: discard that letter by its --id"
            )
        return EncodedBatch(
            builder.batch_id,
            _count_slices(records),
            builder.chunks(),
            tuple(builder.dead_letters),
            builder.settled,
        )


def _count_slices(records: Sequence[StoredRecord]) -> tuple[PartitionSlice, ...]:
    """As many offsets as letters, so that each is accounted for as an offset is in a load."""
    counts = Counter((record.partition, record.incarnation) for record in records)
    return tuple(
        PartitionSlice(
            Position(
                partition,
                TopicIdentity(None, None),
                incarnation=incarnation,
                epoch=0,
                next_offset=0,
            ),
            next_offset=count,
            visible=count,
            record_bytes=0,
            tail=None,
        )
        for (partition, incarnation), count in sorted(counts.items())
    )


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
