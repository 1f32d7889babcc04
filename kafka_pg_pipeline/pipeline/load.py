"""The loader: one loop that turns a frozen plan into committed batches, each exactly once.

Where to start is read from PostgreSQL in every round. A round ends when the plan's end is
reached, a limit or a stop is met, or another loader moved first (fenced). Passing faults start a
new round, from what the database then says.
"""

import logging
import math
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import tenacity

from kafka_pg_pipeline.domain.batches import EncodedBatch, WriteResult, WriteStatus
from kafka_pg_pipeline.domain.offsets import Position, TopicIdentity, TopicSnapshot, was_loaded
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.domain.planning import (
    LoadPlan,
    PartitionPlan,
    check_identity,
    count_available,
    plan_partitions,
)
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.domain.reports import LoadReport, Outcome, PartitionTotals, add_entries
from kafka_pg_pipeline.domain.standing import Standing
from kafka_pg_pipeline.domain.tables import TargetTable
from kafka_pg_pipeline.errors import (
    ContentionError,
    LogShorterError,
    RetentionGapError,
    TransientError,
)
from kafka_pg_pipeline.pipeline.batch_log import BatchLog
from kafka_pg_pipeline.pipeline.batch_rows import BatchRows
from kafka_pg_pipeline.pipeline.encode import RowEncoder
from kafka_pg_pipeline.pipeline.encode_record import RunContext
from kafka_pg_pipeline.pipeline.garbage import rare_collection
from kafka_pg_pipeline.pipeline.handover import quick_handover
from kafka_pg_pipeline.pipeline.overlap import run_ahead
from kafka_pg_pipeline.pipeline.plan import place_new_partitions
from kafka_pg_pipeline.pipeline.read import BatchReading
from kafka_pg_pipeline.pipeline.sample import read_sample
from kafka_pg_pipeline.pipeline.shape import RowShape, shape_of
from kafka_pg_pipeline.pipeline.stopping import StopRule, UntilLeft
from kafka_pg_pipeline.pipeline.target import describe_foreign, ensure_target
from kafka_pg_pipeline.ports import (
    BatchWriter,
    Decoders,
    PositionStore,
    ProgressListener,
    ReaderFactory,
    StopSignal,
    TargetCatalog,
    TargetEvolution,
    TopicInspector,
)
from kafka_pg_pipeline.settings.models import StreamSettings

logger = logging.getLogger(__name__)

# Passing faults in a row, without a committed batch between them, before the run gives up; and how
# long it holds out where they come faster, as while a server restarts.
RETRIES = 3
PATIENCE_SECONDS = 15.0
# After this many lost races the rival is left to it.
_MOST_FENCED = 8
# After retention has overtaken a run this often, it will do so again.
_MOST_GAPS = 8
# A leader change can show a high watermark that is behind for a moment.
_SHORT_LOG_LOOKS = 3


@dataclass(frozen=True)
class LoaderPorts:
    """The outside world of one stream's loader; the caller opens and closes it.

    ``copy_letters`` copies dead letters that are committed, and returns warnings.
    ``choose_records`` is asked after the positions were read which records are meant; None is all.
    """

    inspector: TopicInspector
    open_reader: ReaderFactory
    positions: PositionStore
    catalog: TargetCatalog
    evolution: TargetEvolution
    open_writer: Callable[[TargetTable], AbstractContextManager[BatchWriter]]
    decoders: Decoders
    run_id: str
    copy_letters: Callable[[], tuple[str, ...]] = lambda: ()
    choose_records: Callable[[], Callable[[Record], bool] | None] = lambda: None


@dataclass(frozen=True)
class Prepared:
    """A plan whose table and positions are there, and the offsets left by partition."""

    plan: LoadPlan
    backlog: Mapping[int, int]
    warnings: tuple[str, ...] = ()


@dataclass
class _Run:
    """What one call of ``load`` has done so far.

    ``standing`` is what was read last, while nothing was done about it.
    """

    plan: LoadPlan
    snapshot: TopicSnapshot
    records_left: int | None
    shape: RowShape
    rows: BatchRows
    rejected_before: int = 0
    totals: tuple[PartitionTotals, ...] = ()
    batches: int = 0
    warnings: list[str] = field(default_factory=list)
    fenced: int = 0
    gaps: int = 0
    lag_before: int | None = None
    untaken: frozenset[str] = frozenset()
    standing: Standing | None = None
    is_first: bool = False

    @property
    def rejected(self) -> int:
        """Dead letters that were committed, those of earlier attempts included."""
        return self.rejected_before + sum(total.counts.dead for total in self.totals)

    def take_standing(self) -> Standing | None:
        standing, self.standing = self.standing, None
        return standing

    def add(self, result: WriteResult) -> None:
        self.totals = add_entries(self.totals, result.entries)
        self.batches += 1
        if self.records_left is not None:
            visible = sum(len(e.offsets) - e.counts.absent for e in result.entries)
            self.records_left -= visible


class StreamLoader:
    """Loads one stream."""

    def __init__(self, name: str, stream: StreamSettings, ports: LoaderPorts) -> None:
        self._name = name
        self._stream = stream
        self._ports = ports

    def load(
        self,
        plan: LoadPlan,
        *,
        stop: StopSignal,
        listener: ProgressListener = lambda _: None,
        rejected_before: int = 0,
    ) -> LoadReport:
        """Load what the plan allows; every committed batch is reported to ``listener``.

        ``rejected_before`` counts the dead letters of earlier attempts at the same run, so that
        its budget does not begin anew with each of them.

        Raises:
            TransientError: a passing fault outlasted its retries; what was committed stays.
            TerminalError: a person has to look; what was committed stays.

        """
        started = time.monotonic()
        run = self._begin(plan, rejected_before)
        log = BatchLog(
            stream=self._name, topic=self._stream.topic, run_id=self._ports.run_id, log=logger
        )

        def tell(result: WriteResult) -> None:
            log(result)
            listener(result)

        rule = StopRule(stop, plan.max_seconds)
        retrying = self._retrying(run)
        standing = run.standing = retrying(self._ports.positions.fetch_standing)
        if standing.pause is None:
            self._ports.copy_letters()  # those of a run that ended before it could
            with rare_collection(), quick_handover():
                retrying(self._load_rounds, run, rule, tell)
            run.warnings += self._ports.copy_letters()
        standing = run.standing or retrying(self._ports.positions.fetch_standing)
        lag_after = count_available(plan.select(standing.positions), run.snapshot)
        return LoadReport(
            stream=self._name,
            topic=self._stream.topic,
            table=self._stream.table,
            outcome=_outcome(run, rule, standing.pause, lag_after),
            partitions=run.totals,
            batches=run.batches,
            seconds=time.monotonic() - started,
            lag_before=lag_after if run.lag_before is None else run.lag_before,
            lag_after=lag_after,
            untaken_fields=len(run.untaken),
            changes=tuple(run.shape.evolution.changes),
            warnings=tuple(run.warnings),
            pause=standing.pause,
        )

    def prepare(self, plan: LoadPlan) -> Prepared:
        """Do once what lanes must find done: check in new partitions, find or make the table.

        Raises:
            TransientError, TerminalError: as ``load`` does; no record was loaded.

        """
        run = self._begin(plan)
        plans = self._retrying(run)(self._prepare, run)
        self._ports.copy_letters()  # those of a run that ended before it could
        backlog = {p.partition: p.end_offset - p.position.next_offset for p in plans}
        return Prepared(replace(plan, snapshot=run.snapshot), backlog, tuple(run.warnings))

    def _begin(self, plan: LoadPlan, rejected_before: int = 0) -> _Run:
        shape = shape_of(self._stream, self._ports.evolution, self._ports.decoders)
        limits = self._stream.batch
        rows = BatchRows(limits.max_rows, limits.write_seconds)
        return _Run(plan, plan.snapshot, plan.max_records, shape, rows, rejected_before)

    def _retrying(self, run: _Run) -> tenacity.Retrying:
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=_gave_up(run),
            wait=tenacity.wait_exponential(multiplier=0.5, max=8) + tenacity.wait_random(0, 0.5),
            before_sleep=self._log_retry,
            reraise=True,
        )

    def _log_retry(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        logger.warning("%s: %s; trying again", self._name, error)

    def _load_rounds(self, run: _Run, rule: StopRule, listener: ProgressListener) -> None:
        width: int | None = None
        while not rule.is_set() and run.records_left != 0 and run.fenced < _MOST_FENCED:
            try:
                plans = self._plan(run)
                if not plans:
                    return
                if width is not None:
                    plans = tuple(random.sample(plans, min(width, len(plans))))
                status = self._load_partitions(plans, run, rule, listener)
            except RetentionGapError:
                run.gaps += 1
                if run.gaps > _MOST_GAPS:
                    raise
                self._face_gap(run)
                continue
            if status is WriteStatus.FENCED:
                logger.warning("%s: another loader moved first, planning again", self._name)
                if len(plans) == 1 and run.fenced > 1:
                    return
                width = max(1, len(plans) // 2)

    def _prepare(self, run: _Run) -> tuple[PartitionPlan, ...]:
        """What is left of the plan, for which a table is there."""
        if plans := self._plan(run):
            self._find_target(run)
        return plans

    def _plan(self, run: _Run) -> tuple[PartitionPlan, ...]:
        """What is left of the plan, from where the stream stands now."""
        standing = run.take_standing() or self._ports.positions.fetch_standing()
        if standing.pause is None:
            standing = self._check_in(run, standing)
        if standing.pause is not None:
            run.standing = standing
            return ()
        positions = standing.positions
        if run.lag_before is None:
            run.lag_before = count_available(run.plan.select(positions), run.snapshot)
        plans = self._plan_partitions(run, run.plan.select(positions))
        run.is_first = not was_loaded(positions)
        if not plans:
            run.standing = standing
            if not (run.is_first or run.batches):
                self._find_target(run)  # it may be gone
        return plans

    def _find_target(self, run: _Run) -> TargetTable:
        """The table, made where it is missing; and remember which one it is."""
        target = ensure_target(
            self._name,
            self._stream,
            self._ports.catalog,
            lambda: read_sample(run.snapshot, self._ports.open_reader),
            self._ports.decoders,
            was_loaded=not run.is_first,
        )
        if target.columns and self._ports.positions.note_target(target):
            run.warnings.append(
                f"table {target.name} is not the one filled before: it was dropped and created "
                "again, or replaced. Rows loaded earlier are only there if somebody copied them: "
                f"`kafka-pg verify {self._name}` counts them"
            )
            logger.warning("%s: %s", self._name, run.warnings[-1])
        return target

    def _check_in(self, run: _Run, standing: Standing) -> Standing:
        """Insist on the topic that the positions are of, and give its new partitions theirs."""
        positions = standing.positions
        if self._is_outdated(run.snapshot, positions):
            run.snapshot = self._ports.inspector.fetch_snapshot(self._stream.topic)
        for position in positions:
            self._check_identity(position, run.snapshot.identity)
        starts = place_new_partitions(self._stream, run.snapshot, positions, self._ports.inspector)
        return self._ports.positions.check_in(run.snapshot, starts) if starts else standing

    def _is_outdated(self, snapshot: TopicSnapshot, positions: tuple[Position, ...]) -> bool:
        """True where the plan was frozen before what the positions speak of.

        Before the first check-in the identity is looked up anew: that of a topic that is gone
        already would be stored as the one that is loaded from now on.
        """
        if not positions:
            return self._ports.inspector.fetch_identity(self._stream.topic) != snapshot.identity
        return any(
            position.identity != snapshot.identity or snapshot.bounds(position.partition) is None
            for position in positions
        )

    def _plan_partitions(
        self, run: _Run, positions: tuple[Position, ...]
    ) -> tuple[PartitionPlan, ...]:
        """Plan against the frozen ends; a log that looks shorter gets further looks."""

        def look_again(_: tenacity.RetryCallState) -> None:
            run.snapshot = self._ports.inspector.fetch_snapshot(self._stream.topic)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(LogShorterError),
            stop=tenacity.stop_after_attempt(_SHORT_LOG_LOOKS),
            wait=tenacity.wait_fixed(0.5),
            before_sleep=look_again,
            reraise=True,
        )
        return retrying(
            lambda: plan_partitions(
                positions, run.snapshot, self._stream.on_data_loss, stream=self._name
            )
        )

    def _check_identity(self, position: Position, found: TopicIdentity) -> None:
        check_identity(position.identity, found, self._stream.topic, stream=self._name)

    def _load_partitions(
        self,
        plans: tuple[PartitionPlan, ...],
        run: _Run,
        rule: StopRule,
        listener: ProgressListener,
    ) -> WriteStatus:
        """Read what is planned, for which the table is looked up meanwhile, and write it."""
        over = UntilLeft(rule)
        encoder: Future[RowEncoder] = Future()
        reading = BatchReading(
            self._stream.topic,
            plans,
            stream=self._name,
            open_reader=self._ports.open_reader,
            encoder=encoder,
            limits=self._stream.batch,
            rows=run.rows,
            max_records=run.records_left,
            stop=over,
        )
        with run_ahead(reading.batches()) as batches, _given_or_cancelled(encoder):
            target = self._find_target(run)
            encoder.set_result(RowEncoder(target, self._context(plans), self._shape(run)))
            expected = _count_batches(plans, run.rows)
            with (
                self._ports.open_writer(target) as writer,
                run_ahead(self._send_each(batches, writer, expected)) as sent,
                over,
            ):
                return self._write_each(sent, writer, encoder.result(), run, rule, listener)

    def _write_each(
        self,
        sent: Iterator[EncodedBatch],
        writer: BatchWriter,
        encoder: RowEncoder,
        run: _Run,
        rule: StopRule,
        listener: ProgressListener,
    ) -> WriteStatus:
        # No name here may hold a batch: it would stay while the next ones are made.
        for result in map(partial(self._write, run, writer), sent):
            if result.status is WriteStatus.FENCED:
                run.fenced += 1
                return result.status
            run.add(result)
            run.untaken |= encoder.untaken
            listener(result)
            if rule.is_set():
                break
        return WriteStatus.COMMITTED

    def _shape(self, run: _Run) -> RowShape:
        """The run's; a stream's first records must have a field in common with their table."""
        shape = replace(run.shape, select=self._ports.choose_records())
        if not run.is_first:
            return shape
        return replace(shape, foreign=describe_foreign(self._name, self._stream))

    def _context(self, plans: tuple[PartitionPlan, ...]) -> RunContext:
        incarnations = {plan.partition: plan.position.incarnation for plan in plans}
        return RunContext(self._stream.topic, self._ports.run_id, incarnations)

    def _send_each(
        self, batches: Iterator[EncodedBatch], writer: BatchWriter, expected: int
    ) -> Generator[EncodedBatch, None, None]:
        """Begin to send batches as they come; none stays here once it was handed on."""
        writer.connect(expected)
        yield from map(partial(self._send, writer), batches)

    def _send(self, writer: BatchWriter, batch: EncodedBatch) -> EncodedBatch:
        """Begin to send, and look at the topic's identity once more.

        Kafka is read by name: records of a topic recreated since the plan would slip in otherwise.
        """
        writer.send(batch)
        found = self._ports.inspector.fetch_identity(self._stream.topic)
        for piece in batch.slices:
            self._check_identity(piece.position, found)
        return batch

    def _write(self, run: _Run, writer: BatchWriter, batch: EncodedBatch) -> WriteResult:
        started = time.monotonic()
        try:
            result = writer.write(replace(batch, rejected_before=run.rejected))
        except ContentionError:
            # Maybe it was too long for the server.
            run.rows.note(batch.visible, time.monotonic() - started)
            raise
        run.rows.note(batch.visible, result.seconds)
        return result

    def _face_gap(self, run: _Run) -> None:
        """Retention overtook the run: raise with the lost range, or let the next round note it."""
        run.snapshot = self._ports.inspector.fetch_snapshot(self._stream.topic)
        standing = self._ports.positions.fetch_standing()
        self._plan_partitions(run, run.plan.select(standing.positions))


@contextmanager
def _given_or_cancelled(promised: Future[Any]) -> Iterator[None]:
    """Let nobody wait for what is not there when the block is left."""
    try:
        yield
    finally:
        promised.cancel()


def _count_batches(plans: Sequence[PartitionPlan], rows: BatchRows) -> int:
    """How many batches the plans would make, if each offset were a record."""
    offsets = sum(plan.end_offset - plan.position.next_offset for plan in plans)
    return math.ceil(offsets / rows.number)


def _gave_up(run: _Run) -> Callable[[tenacity.RetryCallState], bool]:
    """Stop after RETRIES passing faults in a row, and PATIENCE_SECONDS after the first of them.

    A committed batch starts the count anew.
    """
    committed, faults, since = 0, 0, 0.0

    def decide(_: tenacity.RetryCallState) -> bool:
        nonlocal committed, faults, since
        if not faults or run.batches > committed:
            faults, since = 0, time.monotonic()
        faults, committed = faults + 1, run.batches
        return faults > RETRIES and time.monotonic() - since >= PATIENCE_SECONDS

    return decide


def _outcome(run: _Run, rule: StopRule, pause: Pause | None, lag_after: int) -> Outcome:
    if pause is not None:
        return Outcome.PAUSED
    if lag_after == 0:
        return Outcome.FENCED if run.fenced and not run.batches else Outcome.END_OF_STREAM
    if rule.requested:
        return Outcome.STOPPED
    if rule.is_set() or run.records_left == 0:
        return Outcome.LIMIT_REACHED
    return Outcome.FENCED if run.fenced else Outcome.END_OF_STREAM
