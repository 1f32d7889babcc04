"""The job ``follow_streams``: one run that loads several streams for minutes, as records arrive.

It replaces a run for each look that finds records. What it loads is told when it ends: one
materialization for each stream that moved.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.assembly.following import Following
from kafka_pg_pipeline.assembly.landed import Landed, look_after
from kafka_pg_pipeline.assembly.loading import Limits, Loaded
from kafka_pg_pipeline.assembly.session import open_session
from kafka_pg_pipeline.domain.reports import LoadReport, join_reports
from kafka_pg_pipeline.errors import PipelineError, TransientError
from kafka_pg_pipeline.orchestration.config import FollowConfig
from kafka_pg_pipeline.orchestration.failures import dagster_failures
from kafka_pg_pipeline.orchestration.streams import (
    FAILED_TAG,
    FOLLOW_JOB,
    Streams,
    join_names,
    tag_run_with_all,
)
from kafka_pg_pipeline.orchestration.together import tell_failures, tell_landed
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.resources.build import find_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource
from kafka_pg_pipeline.settings.models import StreamSettings

# Of a run that somebody launches.
FOLLOW_SECONDS = 300.0
_OP = "follow_each"


def follow_config(names: Sequence[str], seconds: float) -> dict[str, Any]:
    """Run configuration that follows these streams, or all, for so long."""
    return {"ops": {_OP: {"config": {"streams": list(names), "seconds": seconds}}}}


def build_follow_job(
    streams: Streams, resources: Mapping[str, Any], seconds: float
) -> dg.JobDefinition:
    """The job that follows the streams that its run configuration names, or all.

    It brings its resources along, as ``build_together_job`` does; ``seconds`` is how long it
    follows unless it is told otherwise.
    """

    @dg.op(
        name=_OP,
        out=dg.Out(dg.Nothing),
        description="Load records as they arrive, each exactly once, until the time is over. A "
        "stream that fails holds up no other; the run then fails at its end and names it.",
    )
    def follow_each(
        context: dg.OpExecutionContext,
        config: FollowConfig,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> None:
        with dagster_failures(None):
            config.check()
            chosen = dict(map(streams.choose, config.streams)) or dict(streams.by_name)
            endpoints = find_endpoints(kafka, postgres, aiven)
        tag_run_with_all(context, chosen)
        account = _Account(context.log)
        following = Following(
            endpoints,
            chosen,
            limits=Limits(max_seconds=config.seconds),
            stop=threading.Event(),
            listener=account,
            new_run_id=lambda: context.run_id,
        )
        following.run()
        for name, report in account.reports.items():
            tell_landed(context, chosen[name], _look_after(name, chosen[name], endpoints, report))
        failures = {**account.faults, **following.errors}
        if failures:
            context.instance.add_run_tags(context.run_id, {FAILED_TAG: join_names(failures)})
            raise tell_failures(failures, len(chosen))

    @dg.job(
        name=FOLLOW_JOB,
        description="Load several streams for minutes, as records arrive: what the sensor asks "
        "for where the file names `sensor.follow_seconds`.",
        executor_def=dg.in_process_executor,
        resource_defs=dict(resources),
        config=follow_config([], seconds),
    )
    def follow_streams() -> None:
        follow_each()

    return follow_streams


def _look_after(
    name: str, stream: StreamSettings, endpoints: Endpoints, report: LoadReport
) -> Landed:
    try:
        with open_session(name, stream, endpoints, run_id="look", read_only=True) as session:
            return look_after(session, report, session.inspector.fetch_snapshot(stream.topic))
    except PipelineError:
        return Landed(report)


class _Account:
    """What became of each stream so far; a passing fault counts until a load ends well."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self.reports: dict[str, LoadReport] = {}
        self.faults: dict[str, PipelineError] = {}

    def loaded(self, loaded: Loaded) -> None:
        name = loaded.report.stream
        known = self.reports.get(name)
        self.reports[name] = loaded.report if known is None else join_reports(known, loaded.report)
        self.faults.pop(name, None)

    def paused(self, stream: str, pause: str) -> None:
        self._log.warning("%s: %s", stream, pause)

    def failed(self, stream: str, error: PipelineError) -> None:
        self._log.error("%s: %s", stream, error)
        if isinstance(error, TransientError):
            self.faults[stream] = error
