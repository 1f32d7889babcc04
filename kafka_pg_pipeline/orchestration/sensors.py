"""The sensor ``new_offsets_sensor``: asks for loads when topics' ends are past the positions.

Each tick decides anew from the ledger and from Kafka. There is no cursor and no run key: a key of
a run that failed would never be asked for again. Two runs at once would be harmless, since the
database fences them; the look for runs in flight only saves work.

A stream with much to load gets a run of its own, ``load_<stream>``, in lanes where that pays.
Several that have little share one, so that fifty quiet topics do not cost fifty processes a minute.
A stream whose last run failed is alone until it has succeeded: what is wrong with it shows in a run
of its own.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dagster as dg

from kafka_pg_pipeline.assembly.lanes import build_rule
from kafka_pg_pipeline.assembly.watch import StreamLook, Watch, open_watch
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.orchestration.follow import follow_config
from kafka_pg_pipeline.orchestration.history import WAITING, FailedRuns, RunHistory
from kafka_pg_pipeline.orchestration.jobs import lanes_config, load_job_name
from kafka_pg_pipeline.orchestration.streams import (
    FOLLOW_JOB,
    FOLLOW_TAG,
    STREAM_TAG,
    STREAMS_TAG,
    TOGETHER_JOB,
    join_names,
)
from kafka_pg_pipeline.orchestration.together import together_config
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.resources.build import find_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource
from kafka_pg_pipeline.settings.models import SensorSettings, StreamSettings

# A started run without a committed batch for this long is taken for an orphan.
ORPHAN_SECONDS = 300.0
# After failures in a row the next run waits 30 s, 60 s, 120 s … up to a quarter of an hour.
_BACKOFF_SECONDS = 30.0
_MOST_BACKOFF_SECONDS = 900.0
# A run of several streams takes at most so many records of each: what one has beyond it must not
# keep the others waiting.
MOST_TOGETHER = 50_000
# What one lane loads while the steps of several start, each in a process (docs/performance.md).
_STEPS_RECORDS = 1_500_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one look at a stream means; ``hold`` is why no other run may be asked for by now."""

    look: StreamLook
    hold: str | None = None
    failed: bool = False
    lanes: int = 1

    @property
    def wants_run(self) -> bool:
        """There is something to load, and nothing is in the way."""
        return self.hold is None and self.look.wants_run

    @property
    def shares_run(self) -> bool:
        """A run of several streams is good enough."""
        return self.wants_run and self.look.readable <= MOST_TOGETHER and not self.failed

    @property
    def may_follow(self) -> bool:
        """A run may follow it, though nothing new is there."""
        return self.hold is None and not self.failed

    def __str__(self) -> str:
        return self.hold if self.hold and self.look.wants_run else str(self.look)


def build_sensor(
    load_jobs: Mapping[str, Any],
    together: dg.JobDefinition,
    follow: dg.JobDefinition,
    streams: Mapping[str, StreamSettings],
    default_status: dg.DefaultSensorStatus,
    settings: SensorSettings,
) -> dg.SensorDefinition:
    """The one sensor of all streams."""
    ask = (
        build_requests
        if settings.follow_seconds is None
        else partial(build_follow_requests, seconds=settings.follow_seconds)
    )

    @dg.sensor(
        name="new_offsets_sensor",
        jobs=[*load_jobs.values(), together, follow],
        minimum_interval_seconds=settings.interval_seconds,
        default_status=default_status,
        description="Loads streams when their topics hold records past the ledger's positions.",
    )
    def new_offsets_sensor(
        context: dg.SensorEvaluationContext,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            aiven.use_recent()
            endpoints = find_endpoints(kafka, postgres, aiven)
        except PipelineError as error:
            return dg.SkipReason(str(error))
        history = RunHistory(context.instance)
        with open_watch(endpoints) as watch:
            verdicts = {
                look.stream: _judge(
                    history, watch, look, streams[look.stream], endpoints.kafka.reader
                )
                for look in watch.look_at_all(streams)
            }
        verdicts = {name: verdicts[name] for name in streams}
        if any(verdict.look.trouble for verdict in verdicts.values()):
            aiven.doubt_recent()
        said = "; ".join(map(str, verdicts.values()))
        requests = ask(list(verdicts.values()))
        if not requests:
            return dg.SkipReason(said)
        # Each tick that logs costs a file, so those that skip, nearly all of them, do not.
        context.log.info(said)
        return dg.SensorResult(run_requests=requests)

    return new_offsets_sensor


def build_requests(verdicts: Sequence[Verdict]) -> list[dg.RunRequest]:
    """One run for each stream that gets its own, and one for those that share it, if several do.

    In that run those with least to load come first.
    """
    ready = [verdict for verdict in verdicts if verdict.wants_run]
    sharing = sorted((v for v in ready if v.shares_run), key=lambda v: v.look.readable)
    alone = ready if len(sharing) == 1 else [v for v in ready if not v.shares_run]
    requests = [load_request(verdict.look.stream, verdict.lanes) for verdict in alone]
    if len(sharing) > 1:
        names = [verdict.look.stream for verdict in sharing]
        requests.append(
            dg.RunRequest(
                job_name=TOGETHER_JOB,
                run_config=together_config(names, max_records=MOST_TOGETHER),
                tags={STREAMS_TAG: join_names(names)},
            )
        )
    return requests


def build_follow_requests(verdicts: Sequence[Verdict], *, seconds: int) -> list[dg.RunRequest]:
    """One run that follows all streams that no run is at, whether they have new records or not.

    A stream whose last run failed has a run of its own first, once there are records.
    """
    alone = [v for v in verdicts if v.wants_run and v.failed]
    names = [v.look.stream for v in verdicts if v.may_follow]
    requests = [load_request(verdict.look.stream) for verdict in alone]
    if names:
        requests.append(
            dg.RunRequest(
                job_name=FOLLOW_JOB,
                run_config=follow_config(names, seconds),
                tags={
                    STREAMS_TAG: join_names(names),
                    FOLLOW_TAG: str(seconds),
                    # What is in flight at its end has time to end, too.
                    "dagster/max_runtime": str(seconds + int(ORPHAN_SECONDS)),
                },
            )
        )
    return requests


def load_request(stream: str, lanes: int = 1) -> dg.RunRequest:
    """A run of one stream."""
    return dg.RunRequest(
        job_name=load_job_name(stream),
        run_config=lanes_config(stream, lanes) if lanes > 1 else None,
        tags={STREAM_TAG: stream},
    )


def _judge(
    history: RunHistory, watch: Watch, look: StreamLook, stream: StreamSettings, reader: str
) -> Verdict:
    if look.trouble or look.paused:
        return Verdict(look, hold=str(look))
    try:
        for record in history.find_unfinished(look.stream):
            if _is_in_flight(record, watch, look, stream):
                at_it = f"{look}, run {record.dagster_run.run_id[:8]} is at it"
                return Verdict(look, hold=at_it)
    except PipelineError as error:
        unknown = f"{look}, but whether a run is at it cannot be told: {error}"
        return Verdict(look, hold=unknown)
    failures = history.find_failures(look.stream)
    wait = _seconds_to_wait(failures)
    if wait > 0:
        again = f"{look}, but the last run failed; trying again in {math.ceil(wait)} s"
        return Verdict(look, hold=again)
    lanes = len(build_rule(stream, reader, _STEPS_RECORDS).choose(look.backlog))
    return Verdict(look, failed=failures.number > 0, lanes=max(1, lanes))


def _is_in_flight(
    record: dg.RunRecord, watch: Watch, look: StreamLook, stream: StreamSettings
) -> bool:
    if record.dagster_run.status in WAITING:
        return True
    started = record.start_time or record.create_timestamp.timestamp()
    # A run that follows streams commits nothing while nothing arrives.
    follows = float(record.dagster_run.tags.get(FOLLOW_TAG, 0))
    if time.time() - started < follows + ORPHAN_SECONDS:
        return True
    age = watch.fetch_seconds_since_commit(look.stream, stream, record.dagster_run.run_id)
    return age is not None and age < ORPHAN_SECONDS


def _seconds_to_wait(failed: FailedRuns) -> float:
    """Seconds that are left of the pause after failures in a row."""
    if not failed.number:
        return 0.0
    pause = min(_BACKOFF_SECONDS * 2.0 ** (failed.number - 1), _MOST_BACKOFF_SECONDS)
    return max(0.0, pause - failed.seconds_ago)
