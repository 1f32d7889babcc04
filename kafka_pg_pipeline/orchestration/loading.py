"""The two steps of every load, as the ops of all jobs run them: freeze a plan, then load it."""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import dagster as dg

from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.assembly.landed import Landed, look_after
from kafka_pg_pipeline.assembly.lanes import LaneTask, Split, join_lanes, load_lane, split_plan
from kafka_pg_pipeline.assembly.outcomes import noting_failure, noting_outcome
from kafka_pg_pipeline.assembly.session import StreamSession, open_session
from kafka_pg_pipeline.domain.lanes import exactly
from kafka_pg_pipeline.domain.planning import LoadPlan
from kafka_pg_pipeline.domain.reports import LoadReport
from kafka_pg_pipeline.orchestration.asset_keys import topic_key
from kafka_pg_pipeline.orchestration.config import USUAL_SECONDS, LimitsConfig
from kafka_pg_pipeline.orchestration.failures import dagster_failures
from kafka_pg_pipeline.orchestration.metadata import (
    MetadataMap,
    describe_landed,
    describe_plan,
    describe_topic,
)
from kafka_pg_pipeline.orchestration.streams import find_retried_runs, tag_run
from kafka_pg_pipeline.pipeline.batch_log import BatchLog
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.resources.build import find_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource
from kafka_pg_pipeline.settings.models import StreamSettings


def consume_stream(
    name: str,
    stream: StreamSettings,
    endpoints: Endpoints,
    *,
    run_id: str,
    max_records: int | None,
    max_seconds: float | None,
    lanes: int = 1,
) -> tuple[LoadPlan, Split]:
    """Freeze what the run may take: ends and limits, no records and no start offsets.

    With several ``lanes`` what they must find done is done, too.
    """
    with (
        dagster_failures(name, stream, endpoints=endpoints),
        open_session(name, stream, endpoints, run_id=run_id) as session,
        noting_failure(session),
    ):
        plan = freeze_plan(
            name, stream, session.inspector, max_records=max_records, max_seconds=max_seconds
        )
        return plan, split_plan(session, plan, exactly(lanes))


def load_plan(
    plan: LoadPlan,
    stream: StreamSettings,
    endpoints: Endpoints,
    *,
    run_id: str,
    log: logging.Logger,
    retried_runs: Sequence[str] = (),
    lanes: Sequence[LoadReport] = (),
) -> Landed:
    """Load what the plan allows, from where PostgreSQL says; nothing, where ``lanes`` have.

    A plan that is carried out again, by a retry or a re-execution, is harmless for that reason.
    A cancelled run leaves the batch in flight by rolling it back. The budget of rejected records
    is one for the run, its own earlier attempts and ``retried_runs``.
    """
    with (
        dagster_failures(plan.stream, stream, endpoints=endpoints),
        open_session(plan.stream, stream, endpoints, run_id=run_id) as session,
    ):
        if not lanes:
            return load_in_session(session, plan, log=log, retried_runs=retried_runs)
        with noting_outcome(session):
            report = join_lanes(session, lanes, seconds=max(lane.seconds for lane in lanes))
        return _tell_landed(session, plan, report, log)


def load_in_session(
    session: StreamSession,
    plan: LoadPlan,
    *,
    log: logging.Logger,
    retried_runs: Sequence[str] = (),
) -> Landed:
    """As ``load_plan``, on a session that is open already.

    Raises:
        PipelineError: what stopped the load; what was committed stays.
    """
    with noting_outcome(session):
        rejected = session.inspection.count_rejected((session.run_id, *retried_runs))
        report = session.loader.load(
            plan,
            stop=threading.Event(),
            listener=BatchLog(
                stream=session.name, topic=session.stream.topic, run_id=session.run_id, log=log
            ),
            rejected_before=rejected,
        )
    return _tell_landed(session, plan, report, log)


def _tell_landed(
    session: StreamSession, plan: LoadPlan, report: LoadReport, log: logging.Logger
) -> Landed:
    # A retry within the run knows of its own batches alone; the ledger knows of all.
    report = report.with_totals(*session.inspection.fetch_run_totals(session.run_id))
    if report.pause is not None:
        log.warning("%s: %s", plan.stream, report.pause.tell(plan.stream))
    log.info(
        "%s: %d rows, %d dead letters in %d batches, %.2f s (%s), lag %d → %d",
        plan.stream,
        report.counts.rows,
        report.counts.dead,
        report.batches,
        report.seconds,
        report.outcome.value,
        report.lag_before,
        report.lag_after,
    )
    return look_after(session, report, plan.snapshot)


def consume_in_op(
    context: dg.OpExecutionContext,
    name: str,
    stream: StreamSettings,
    limits: LimitsConfig,
    kafka: KafkaResource,
    postgres: PostgresResource,
    aiven: AivenResource,
    *,
    output: str = "result",
    lanes: int = 1,
) -> tuple[LoadPlan, tuple[LoadPlan, ...]]:
    """What a ``consume`` op does: say which stream the run loads, freeze its plan, describe it.

    Returns the whole plan, and those of its lanes where there are several.
    """
    tag_run(context, name)
    with dagster_failures(name, stream):
        limits.check()
        endpoints = find_endpoints(kafka, postgres, aiven)
    plan, split = consume_stream(
        name,
        stream,
        endpoints,
        run_id=context.run_id,
        max_records=limits.max_records,
        max_seconds=limits.max_seconds or USUAL_SECONDS,
        lanes=lanes,
    )
    for warning in split.warnings:
        context.log.warning("%s: %s", name, warning)
    context.add_output_metadata(dict(describe_plan(plan)), output_name=output)
    return plan, split.plans


def load_lane_in_op(
    context: dg.OpExecutionContext,
    plan: LoadPlan,
    stream: StreamSettings,
    kafka: KafkaResource,
    postgres: PostgresResource,
    aiven: AivenResource,
) -> LoadReport:
    """What the op of one lane does: load its partitions; others tell of it."""
    with dagster_failures(plan.stream, stream):
        endpoints = find_endpoints(kafka, postgres, aiven)
    budget_runs = (context.run_id, *find_retried_runs(context.run, context.instance))
    task = LaneTask(plan.stream, stream, endpoints, context.run_id, plan, budget_runs)
    log = BatchLog(stream=plan.stream, topic=stream.topic, run_id=context.run_id, log=context.log)
    with dagster_failures(plan.stream, stream, endpoints=endpoints):
        return load_lane(task, stop=threading.Event(), listener=log)


def load_in_op(
    context: dg.OpExecutionContext,
    plan: LoadPlan,
    stream: StreamSettings,
    kafka: KafkaResource,
    postgres: PostgresResource,
    aiven: AivenResource,
    lanes: Sequence[LoadReport] = (),
) -> MetadataMap:
    """What a ``load`` op does: load the plan, unless lanes have.

    Returns the metadata of the materialization. Not as metadata of the op's output too: each run
    would keep them twice.
    """
    with dagster_failures(plan.stream, stream):
        endpoints = find_endpoints(kafka, postgres, aiven)
    landed = load_plan(
        plan,
        stream,
        endpoints,
        run_id=context.run_id,
        log=context.log,
        retried_runs=find_retried_runs(context.run, context.instance),
        lanes=lanes,
    )
    observe_topic(context, stream, landed)
    return describe_landed(landed)


def observe_topic(context: dg.OpExecutionContext, stream: StreamSettings, landed: Landed) -> None:
    """Tell on the topic's own asset how it stands after a load."""
    if landed.topic is not None:
        metadata: dict[str, Any] = dict(describe_topic(landed.topic))
        context.log_event(dg.AssetObservation(topic_key(stream), metadata=metadata))
