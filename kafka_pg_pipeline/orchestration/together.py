"""The job ``streams_to_postgres``: several streams in one run, one after the other.

Each is loaded as by its own job; one that fails is reported at the end and holds up no other.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.assembly.landed import Landed
from kafka_pg_pipeline.assembly.outcomes import noting_failure
from kafka_pg_pipeline.assembly.session import open_session
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.orchestration.asset_keys import table_key
from kafka_pg_pipeline.orchestration.config import USUAL_SECONDS, TogetherConfig
from kafka_pg_pipeline.orchestration.failures import dagster_failures, tell_reasons
from kafka_pg_pipeline.orchestration.jobs import MAX_RUNTIME_SECONDS
from kafka_pg_pipeline.orchestration.loading import load_in_session, observe_topic
from kafka_pg_pipeline.orchestration.metadata import describe_landed
from kafka_pg_pipeline.orchestration.streams import (
    FAILED_TAG,
    TOGETHER_JOB,
    Streams,
    find_retried_runs,
    join_names,
    tag_run_with_all,
)
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.resources.build import find_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource
from kafka_pg_pipeline.settings.models import StreamSettings

_OP = "load_each"


def together_config(names: Sequence[str], **limits: float | None) -> dict[str, Any]:
    """Run configuration that loads these streams, or all, within limits for each of them."""
    return {"ops": {_OP: {"config": {"streams": list(names), **limits}}}}


def build_together_job(streams: Streams, resources: Mapping[str, Any]) -> dg.JobDefinition:
    """The job that loads the streams that its run configuration names, or all.

    It brings its resources along: Dagster would otherwise make a copy of the sensor that asks for
    it, and warn of a parameter of its own at each loading.
    """

    @dg.op(
        name=_OP,
        out=dg.Out(dg.Nothing),
        description="Load each stream up to its present end, each record exactly once. A stream "
        "that fails holds up no other; the run then fails at its end and names it.",
    )
    def load_each(
        context: dg.OpExecutionContext,
        config: TogetherConfig,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> None:
        with dagster_failures(None):
            config.check()
            chosen = dict(map(streams.choose, config.streams)) or dict(streams.by_name)
            endpoints = find_endpoints(kafka, postgres, aiven)
        tag_run_with_all(context, chosen)
        failures = _load_each(context, chosen, endpoints, config)
        if failures:
            context.instance.add_run_tags(context.run_id, {FAILED_TAG: join_names(failures)})
            raise tell_failures(failures, len(chosen))

    @dg.job(
        name=TOGETHER_JOB,
        description="Load several streams in one run: what the sensor asks for when many streams "
        "have few new records each. Without configuration it loads all streams.",
        executor_def=dg.in_process_executor,
        resource_defs=dict(resources),
        tags={"dagster/max_runtime": MAX_RUNTIME_SECONDS},
        config=together_config([], max_records=None, max_seconds=None),
    )
    def streams_to_postgres() -> None:
        load_each()

    return streams_to_postgres


def _load_each(
    context: dg.OpExecutionContext,
    streams: Mapping[str, StreamSettings],
    endpoints: Endpoints,
    config: TogetherConfig,
) -> dict[str, PipelineError]:
    """Load one after the other; what kept streams from being loaded, by their names."""
    over = time.monotonic() + USUAL_SECONDS
    failures: dict[str, PipelineError] = {}
    for name, stream in streams.items():
        left = over - time.monotonic()
        if left <= 0:
            context.log.warning("the time of this run is over before %s; the next goes on", name)
            break
        try:
            landed = _load_one(context, name, stream, endpoints, config, left)
        except PipelineError as error:
            context.log.error("%s: %s", name, error)
            failures[name] = error
            continue
        tell_landed(context, stream, landed)
    return failures


def tell_landed(context: dg.OpExecutionContext, stream: StreamSettings, landed: Landed) -> None:
    """Tell of a load on the assets of its table and its topic."""
    metadata: dict[str, Any] = dict(describe_landed(landed))
    context.log_event(dg.AssetMaterialization(table_key(stream), metadata=metadata))
    observe_topic(context, stream, landed)


def _load_one(
    context: dg.OpExecutionContext,
    name: str,
    stream: StreamSettings,
    endpoints: Endpoints,
    config: TogetherConfig,
    seconds_left: float,
) -> Landed:
    with open_session(name, stream, endpoints, run_id=context.run_id) as session:
        with noting_failure(session):
            plan = freeze_plan(
                name,
                stream,
                session.inspector,
                max_records=config.max_records,
                max_seconds=min(seconds_left, config.max_seconds or seconds_left),
            )
        retried = find_retried_runs(context.run, context.instance)
        return load_in_session(session, plan, log=context.log, retried_runs=retried)


def tell_failures(failures: Mapping[str, PipelineError], number: int) -> dg.Failure:
    """The failure of a run of ``number`` streams.

    It says each reason once: a server that is down is the same for them all.
    """
    said = tell_reasons({name: str(error) for name, error in failures.items()})
    rest = "" if len(failures) == number else "; the others were"
    return dg.Failure(
        f"{len(failures)} of {number} streams could not be loaded{rest}.\n{said}",
        metadata={name: type(error).__name__ for name, error in failures.items()},
        allow_retries=False,
    )
