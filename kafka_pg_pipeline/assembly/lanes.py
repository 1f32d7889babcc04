"""Loads one stream in lanes: what is done once, what each lane does, and what they did together.

Each lane is the usual loader, restricted to its partitions; that no two of them, and no other
loader, load a record twice rests on PostgreSQL alone, as ever.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.assembly.outcomes import noting_failure
from kafka_pg_pipeline.assembly.overview import fetch_backlog
from kafka_pg_pipeline.assembly.session import StreamSession, open_session
from kafka_pg_pipeline.domain.lanes import LaneRule
from kafka_pg_pipeline.domain.planning import LoadPlan
from kafka_pg_pipeline.domain.reports import LoadReport, sum_lanes
from kafka_pg_pipeline.pipeline.load import StreamLoader
from kafka_pg_pipeline.ports import ProgressListener, StopSignal
from kafka_pg_pipeline.settings.models import StreamSettings


@dataclass(frozen=True)
class LaneTask:
    """All that whoever loads one lane needs; it opens connections of its own.

    ``budget_runs`` are the run and those that it retries: they have one budget of dead letters.
    """

    name: str
    stream: StreamSettings
    endpoints: Endpoints
    run_id: str
    plan: LoadPlan
    budget_runs: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """A plan's lanes; none where it is carried out whole. ``backlog`` is by partition."""

    plans: tuple[LoadPlan, ...] = ()
    backlog: Mapping[int, int] | None = None
    warnings: tuple[str, ...] = ()


# Each lane has its own memory and three or four connections; small databases allow few.
_MOST_BY_ITSELF = 4
# By reader: librdkafka has threads of its own, and keeps PostgreSQL busy. Two such lanes on two
# cores took 1.07 times as long as one, and 2.6 times its memory (docs/performance.md).
_CORES_OF_LANE = {"kafka-python": 1, "confluent": 2}


def build_rule(
    stream: StreamSettings, reader: str, start_up: int, exactly: int | None = None
) -> LaneRule:
    """How many lanes the stream has on this machine; see ``LaneRule``."""
    cores = _count_cores()
    if stream.max_lanes is not None:
        most = min(stream.max_lanes, cores)
    else:
        most = min(_MOST_BY_ITSELF, max(1, cores // _CORES_OF_LANE[reader]))
    return LaneRule(most, start_up, exactly)


def _count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def split_plan(session: StreamSession, plan: LoadPlan, rule: LaneRule) -> Split:
    """Split a plan into lanes, if that pays, and do what must be done once before they start.

    A plan with ``max_records`` is carried out whole: its limit is one for all partitions.

    Raises:
        PipelineError: the stream could not be prepared; nothing was loaded.
    """
    if plan.max_records is not None or (rule.exactly or rule.most) == 1:
        return Split()
    if len(rule.choose(fetch_backlog(session, plan.snapshot))) <= 1:
        return Split()
    prepared = session.loader.prepare(plan)
    lanes = rule.choose(prepared.backlog)
    if len(lanes) <= 1:
        return Split()
    plans = tuple(prepared.plan.of_lane(lane) for lane in lanes)
    return Split(plans, prepared.backlog, prepared.warnings)


def load_lane(task: LaneTask, *, stop: StopSignal, listener: ProgressListener) -> LoadReport:
    """Load one lane; what is done once for all of them is left to others.

    Raises:
        PipelineError: what stopped it; what was committed stays.
    """
    with open_session(
        task.name,
        task.stream,
        task.endpoints,
        run_id=task.run_id,
        budget_runs=task.budget_runs,
    ) as session:
        ports = replace(session.ports, copy_letters=lambda: ())
        loader = StreamLoader(task.name, task.stream, ports)
        with noting_failure(session):
            return loader.load(task.plan, stop=stop, listener=listener)


def join_lanes(
    session: StreamSession, reports: Sequence[LoadReport], *, seconds: float
) -> LoadReport:
    """What lanes did together; copies their dead letters, where the stream asks for it."""
    copying = session.ports.copy_letters()
    report = sum_lanes(reports, seconds)
    return replace(report, warnings=(*report.warnings, *copying))
