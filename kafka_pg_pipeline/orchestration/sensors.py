"""The sensor ``new_offsets_sensor``: asks for a load when a topic's end is past the position.

Each tick decides anew from the ledger and from Kafka. There is no cursor and no run key: a key of
a run that failed would never be asked for again. Two runs at once would be harmless, since the
database fences them; the look for runs in flight only saves work.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

import dagster as dg

from kafka_pg_pipeline.assembly.watch import StreamLook, Watch, open_watch
from kafka_pg_pipeline.errors import ConfigurationError, PipelineError
from kafka_pg_pipeline.orchestration.jobs import load_job_name
from kafka_pg_pipeline.orchestration.streams import STREAM_TAG
from kafka_pg_pipeline.resources.build import find_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource
from kafka_pg_pipeline.settings.models import StreamSettings

# The daemon looks every five seconds; asked for five, it skips every other look.
_INTERVAL_SECONDS = 1
# A started run without a committed batch for this long is taken for an orphan.
ORPHAN_SECONDS = 300.0
# After failures in a row the next run waits 30 s, 60 s, 120 s … up to a quarter of an hour.
_BACKOFF_SECONDS = 30.0
_MOST_BACKOFF_SECONDS = 900.0
_RUNS_LOOKED_AT = 8

# What waits in the queue will be taken from it; another run would only wait beside it.
_WAITING = (dg.DagsterRunStatus.QUEUED,)
_WORKING = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def build_sensor(
    load_jobs: Mapping[str, Any],
    streams: Mapping[str, StreamSettings],
    default_status: dg.DefaultSensorStatus,
) -> dg.SensorDefinition:
    """The one sensor of all streams."""

    @dg.sensor(
        name="new_offsets_sensor",
        jobs=list(load_jobs.values()),
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=default_status,
        description="Loads a stream when its topic holds records past the ledger's position.",
    )
    def new_offsets_sensor(
        context: dg.SensorEvaluationContext, kafka: KafkaResource, postgres: PostgresResource
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            endpoints = find_endpoints(kafka, postgres)
        except ConfigurationError as error:
            return dg.SkipReason(str(error))
        requests: dict[str, dg.RunRequest] = {}
        reasons: dict[str, str] = {}
        with open_watch(endpoints) as watch:
            for look in watch.look_at_all(streams):
                name = look.stream
                hold = _hold(context.instance, watch, look, streams[name])
                if hold is None:
                    job = load_job_name(name)
                    requests[name] = dg.RunRequest(job_name=job, tags={STREAM_TAG: name})
                reasons[name] = str(look) if hold is None else hold
        said = "; ".join(reasons[name] for name in streams)
        if not requests:
            return dg.SkipReason(said)
        # Each tick that logs costs a file, so those that skip, nearly all of them, do not.
        context.log.info(said)
        return dg.SensorResult(run_requests=[requests[n] for n in streams if n in requests])

    return new_offsets_sensor


def _hold(
    instance: dg.DagsterInstance, watch: Watch, look: StreamLook, stream: StreamSettings
) -> str | None:
    """Why no run of this stream is asked for now; None where one is."""
    if not look.wants_run:
        return str(look)
    records = instance.get_run_records(
        filters=dg.RunsFilter(tags={STREAM_TAG: look.stream}), limit=_RUNS_LOOKED_AT
    )
    try:
        for record in records:
            if _is_in_flight(record, watch, look, stream):
                return f"{look}, run {record.dagster_run.run_id[:8]} is at it"
    except PipelineError as error:
        return f"{look}, but whether a run is at it cannot be told: {error}"
    wait = _backoff_seconds(records)
    if wait > 0:
        return f"{look}, but the last run failed; trying again in {math.ceil(wait)} s"
    return None


def _is_in_flight(
    record: dg.RunRecord, watch: Watch, look: StreamLook, stream: StreamSettings
) -> bool:
    status = record.dagster_run.status
    if status in _WAITING:
        return True
    if status not in _WORKING:
        return False
    started = record.start_time or record.create_timestamp.timestamp()
    if time.time() - started < ORPHAN_SECONDS:
        return True
    age = watch.fetch_seconds_since_commit(look.stream, stream, record.dagster_run.run_id)
    return age is not None and age < ORPHAN_SECONDS


def _backoff_seconds(records: "list[dg.RunRecord] | Any") -> float:
    """Seconds still to wait after the failures in a row that the newest runs show."""
    failures = 0
    for record in records:
        if record.dagster_run.status is not dg.DagsterRunStatus.FAILURE:
            break
        failures += 1
    if not failures:
        return 0.0
    pause = min(_BACKOFF_SECONDS * 2.0 ** (failures - 1), _MOST_BACKOFF_SECONDS)
    ended = records[0].end_time or records[0].update_timestamp.timestamp()
    return float(max(0.0, ended + pause - time.time()))
