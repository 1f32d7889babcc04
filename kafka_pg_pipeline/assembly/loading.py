"""Loads one stream once, up to the end that its topic has now."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.assembly.lane_processes import run_lanes
from kafka_pg_pipeline.assembly.lanes import LaneTask, join_lanes, split_plan
from kafka_pg_pipeline.assembly.outcomes import noting_failure, noting_outcome
from kafka_pg_pipeline.assembly.overview import fetch_backlog
from kafka_pg_pipeline.assembly.session import StreamSession
from kafka_pg_pipeline.domain.lanes import LaneRule
from kafka_pg_pipeline.domain.planning import LoadPlan
from kafka_pg_pipeline.domain.reports import LoadReport
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.ports import ProgressListener, StopSignal

# Given a stream's name and how many offsets the load has before it.
ShowProgress = Callable[[str, int], AbstractContextManager[ProgressListener]]


@dataclass(frozen=True)
class Limits:
    """What one stream may take in all; None is no limit."""

    max_records: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class Loaded:
    """One load, and where the stream stands after it (partition → next offset)."""

    report: LoadReport
    positions: Mapping[int, int]


@contextmanager
def no_progress(_stream: str, _total: int) -> Iterator[ProgressListener]:
    """Say nothing of single batches."""
    yield lambda _: None


def plan_session(session: StreamSession, limits: Limits) -> LoadPlan:
    """What a load may take of an open session's stream by now.

    Raises:
        PipelineError: the topic cannot be asked.
    """
    with noting_failure(session):
        return freeze_plan(
            session.name,
            session.stream,
            session.inspector,
            max_records=limits.max_records,
            max_seconds=limits.max_seconds,
        )


def load_session(
    session: StreamSession,
    plan: LoadPlan,
    *,
    stop: StopSignal,
    show: ShowProgress = no_progress,
    rejected_before: int = 0,
) -> Loaded:
    """Load what the plan allows; for the parameters see ``StreamLoader.load``.

    Raises:
        PipelineError: what stopped it; what was committed stays.
    """
    available = sum(fetch_backlog(session, plan.snapshot).values())
    total = available if plan.max_records is None else min(available, plan.max_records)
    with noting_outcome(session), show(session.name, total) as progress:
        report = session.loader.load(
            plan, stop=stop, listener=progress, rejected_before=rejected_before
        )
    positions = {p.partition: p.next_offset for p in session.positions.fetch_positions()}
    return Loaded(report, positions)


def load_planned(
    session: StreamSession,
    plan: LoadPlan,
    rule: LaneRule,
    endpoints: Endpoints,
    *,
    stop: StopSignal,
    show: ShowProgress = no_progress,
) -> Loaded:
    """As ``load_session``, in as many processes as the rule says.

    A lane that fails does not hold up the others.

    Raises:
        PipelineError: what stopped it, or one of the lanes; what was committed stays.
    """
    started = time.monotonic()
    with noting_failure(session):
        split = split_plan(session, plan, rule)
    if not split.plans:
        return load_session(session, plan, stop=stop, show=show)
    tasks = [
        LaneTask(
            session.name,
            session.stream,
            replace(endpoints, lookup=None, look_again=None),
            session.run_id,
            lane,
            (session.run_id,),
        )
        for lane in split.plans
    ]
    total = sum((split.backlog or {}).values())
    with noting_outcome(session), show(session.name, total) as progress:
        reports = run_lanes(tasks, stop=stop, listener=progress)
        report = join_lanes(session, reports, seconds=time.monotonic() - started)
    report = replace(report, warnings=(*split.warnings, *report.warnings))
    positions = {p.partition: p.next_offset for p in session.positions.fetch_positions()}
    return Loaded(report, positions)
