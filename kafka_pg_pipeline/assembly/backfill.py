"""Backfills: windows of a stream's time, loaded apart from its live position.

A window is loaded by the same loader under its own name, so that it is exactly-once, resumed and
fenced as a stream is. Done twice it changes nothing. The live position is never moved.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from kafka_pg_pipeline.adapters.postgres.backfills import BACKFILLS_SINCE
from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.assembly.overview import fetch_next_offsets, fetch_positions
from kafka_pg_pipeline.assembly.session import StreamSession, open_session
from kafka_pg_pipeline.domain.modes import Mode
from kafka_pg_pipeline.domain.offsets import OffsetRange
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.domain.reports import LoadReport, Outcome
from kafka_pg_pipeline.domain.tables import TableName
from kafka_pg_pipeline.domain.windows import Window, WindowSelection, WindowStatus
from kafka_pg_pipeline.errors import ConfigurationError, ContentionError, PausedError
from kafka_pg_pipeline.pipeline.load import StreamLoader
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.pipeline.window import WindowInspector, settings_of
from kafka_pg_pipeline.ports import ProgressListener, StopSignal
from kafka_pg_pipeline.settings.models import StreamSettings

ShowProgress = Callable[[str, int], AbstractContextManager[ProgressListener]]


@dataclass(frozen=True, slots=True)
class BackfillOptions:
    """What all windows of one backfill share.

    ``into`` names a table beside the stream's own. ``lateness_seconds`` bounds how far behind the
    window its records are looked for. ``overwrite`` allows older records to take the place of
    newer ones of their key.
    """

    into: str | None = None
    lateness_seconds: float | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class WindowPreview:
    """What a run would read for a window; ``status`` is None where it would be a new one."""

    name: str
    table: str
    start: datetime
    end: datetime
    ranges: tuple[OffsetRange, ...]
    status: WindowStatus | None = None
    pause: Pause | None = None

    @property
    def offsets(self) -> int:
        """Offsets that would be looked through."""
        return sum(len(piece) for piece in self.ranges)


class Backfill:
    """Loads windows of one stream, one after the other."""

    def __init__(self, live: StreamSession, endpoints: Endpoints, options: BackfillOptions) -> None:
        self._live = live
        self._endpoints = endpoints
        self._options = options
        self._table = TableName.parse(options.into or live.stream.table)
        self._is_beside = self._table != TableName.parse(live.stream.table)

    def name_window(self, start: datetime, end: datetime) -> Window:
        """The window of that time.

        Raises:
            ConfigurationError: see ``Window``.
        """
        incarnation = self._live.backfills.fetch_incarnation() if self._has_windows else 1
        into = str(self._table) if self._is_beside else None
        return Window(self._live.name, start, end, into, incarnation)

    def load(
        self,
        window: Window,
        *,
        stop: StopSignal,
        show: ShowProgress,
        retried_runs: Sequence[str] = (),
    ) -> LoadReport:
        """Load what is left of a window; nothing, where it was loaded before.

        Raises:
            PausedError: somebody paused the stream.
            ConfigurationError: the window overlaps another one, or its records could be doubled or
                overwrite newer ones.
            ContentionError: another run loads the same window.
            PipelineError: what else stopped it; what was committed stays.

        """
        self._insist_on_safety()
        pause = self._live.backfills.register(window, str(self._table))
        if pause is not None:
            raise PausedError(pause.tell(window.stream))
        with self._open(window) as session:
            plan = freeze_plan(session.name, session.stream, session.inspector)
            rejected = session.inspection.count_rejected((session.run_id, *retried_runs))
            total = sum(len(piece) for piece in _find_ranges(session))
            with show(window.name, total) as listener:
                report = session.loader.load(
                    plan, stop=stop, listener=listener, rejected_before=rejected
                )
            report = report.with_totals(*session.inspection.fetch_run_totals(session.run_id))
        if report.pause is not None:
            raise PausedError(report.pause.tell(window.stream))
        if report.lag_after == 0:
            self._live.backfills.complete(window.name)
        elif report.outcome is Outcome.FENCED:
            raise ContentionError(f"{window.name}: another run loads this window")
        return report

    def forget(self, window: Window, *, rehearsal: bool) -> bool:
        """Let a window begin anew, whose rows somebody has taken away; False where there is none.

        Raises:
            ConfigurationError: the table has rows, and no key that keeps them from being doubled.
        """
        target = self._live.open_catalog(self._table).fetch_target()
        has_key = self._live.stream.write_mode.mode is not Mode.APPEND
        if target and not has_key and self._live.inspection.fetch_newest_rows(target, 1):
            raise ConfigurationError(
                f"{self._table} has rows and no key: those of the window would be there twice. "
                "Drop the table or empty it first; then every window into it can be forgotten"
            )
        return self._live.backfills.forget(window.name, rehearsal=rehearsal)

    def preview(self, window: Window) -> WindowPreview:
        """What ``load`` would read; changes nothing.

        Raises:
            PipelineError: what would stop it.
        """
        self._live.insist_on_current_tables()
        self._insist_on_safety()
        statuses = self._live.backfills.fetch_windows() if self._has_windows else ()
        with self._open(window, read_only=True) as session:
            return WindowPreview(
                window.name,
                str(self._table),
                window.start,
                window.end,
                _find_ranges(session),
                next((status for status in statuses if status.name == window.name), None),
                self._live.fetch_pause(),
            )

    @property
    def _has_windows(self) -> bool:
        return self._live.has_state and self._live.has_applied(BACKFILLS_SINCE)

    @property
    def _takes_uncovered_only(self) -> bool:
        """Where rows have no key, a record of the live position must not come a second time."""
        return not self._is_beside and self._live.stream.write_mode.mode is Mode.APPEND

    @contextmanager
    def _open(self, window: Window, *, read_only: bool = False) -> Iterator[StreamSession]:
        """A session that works with the window's books and sees its part of the topic alone."""
        settings = settings_of(window, self._live.stream)
        with open_session(
            window.name,
            settings,
            self._endpoints,
            run_id=self._live.run_id,
            read_only=read_only,
        ) as session:

            def choose() -> WindowSelection:
                if not session.has_state:
                    return WindowSelection(window)
                session.backfills.check_incarnation(window)
                if not read_only:
                    session.backfills.check_registered(window)
                uncovered = None
                if self._takes_uncovered_only:
                    uncovered = session.backfills.fetch_uncovered(window.incarnation)
                return WindowSelection(window, uncovered)

            lateness = self._options.lateness_seconds
            inspector = WindowInspector(session.inspector, window, choose, lateness)
            ports = replace(session.ports, inspector=inspector, choose_records=choose)
            yield replace(
                session,
                inspector=inspector,
                ports=ports,
                loader=StreamLoader(window.name, settings, ports),
            )

    def _insist_on_safety(self) -> None:
        """Refuse what would double rows of the stream's own table, or put back what is newer."""
        name, mode = self._live.name, self._live.stream.write_mode
        if self._takes_uncovered_only and not fetch_positions(self._live):
            raise ConfigurationError(
                f"stream {name!r} was never loaded: which records will be its own, and which a "
                f"backfill's, is not known before. `kafka-pg load {name}` settles it, and "
                "--into TABLE (`into` in the file) loads into another table at once"
            )
        if self._is_beside or mode.mode is not Mode.UPSERT or self._options.overwrite:
            return
        if not mode.newest_wins:
            what = "overwrite newer rows of their keys, since the stream has no `newest_wins`"
        elif mode.deletes and self._has_windows and self._live.backfills.has_deleted():
            what = "bring back rows that newer records have deleted"
        else:
            return
        raise ConfigurationError(
            f"records of the past could {what}. Nothing was loaded: --into TABLE (`into` in the "
            "file) loads them into another table; --overwrite (`overwrite: true`) does it all the "
            "same"
        )


@contextmanager
def open_backfill(
    name: str,
    stream: StreamSettings,
    endpoints: Endpoints,
    options: BackfillOptions,
    *,
    run_id: str,
    read_only: bool = False,
) -> Iterator[Backfill]:
    """A backfill of a stream; brings the pipeline's own schema up to date, unless it only looks.

    Raises:
        AuthenticationError, PostgresUnavailableError: see ``open_session``.
    """
    with open_session(name, stream, endpoints, run_id=run_id, read_only=read_only) as live:
        yield Backfill(live, endpoints, options)


def _find_ranges(session: StreamSession) -> tuple[OffsetRange, ...]:
    snapshot = freeze_plan(session.name, session.stream, session.inspector).snapshot
    next_offsets = fetch_next_offsets(session, snapshot)
    return tuple(
        OffsetRange(bounds.partition, start, bounds.end_offset)
        for bounds in snapshot.partitions
        if (start := next_offsets[bounds.partition]) < bounds.end_offset
    )
