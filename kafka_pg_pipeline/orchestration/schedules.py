"""Schedules: of the jobs for all streams, and of each stream that names one."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from kafka_pg_pipeline.orchestration.checks import (
    CHECK_STREAMS,
    CHECK_TABLES,
    ChecksOfStreams,
)
from kafka_pg_pipeline.orchestration.jobs import load_job_name
from kafka_pg_pipeline.orchestration.streams import STREAM_TAG, Streams
from kafka_pg_pipeline.settings.models import StreamSettings

_EVERY_FIVE_MINUTES = "*/5 * * * *"
_EVERY_NIGHT = "17 3 * * *"
_EVERY_TEN_MINUTES = "*/10 * * * *"
# Before the purge, which would otherwise make the nightly reading of all tables slower.
_CHECKS = {CHECK_STREAMS: _EVERY_TEN_MINUTES, CHECK_TABLES: "47 2 * * *"}


def build_schedules(
    kafka_to_postgres: dg.JobDefinition,
    together: dg.JobDefinition,
    purge: dg.JobDefinition,
    checks: ChecksOfStreams,
    load_jobs: Mapping[str, Any],
    streams: Mapping[str, StreamSettings],
) -> list[dg.ScheduleDefinition]:
    """All schedules, in UTC; they are off until somebody turns them on."""
    default = Streams(streams).default
    schedules = [
        dg.ScheduleDefinition(
            name="kafka_to_postgres_schedule",
            target=kafka_to_postgres,
            tags={STREAM_TAG: default} if default else None,
            cron_schedule=_EVERY_FIVE_MINUTES,
            execution_timezone="UTC",
            description="Produce and load the demo stream, or the first stream of the file.",
        ),
        dg.ScheduleDefinition(
            name=f"{together.name}_schedule",
            target=together,
            cron_schedule=_EVERY_FIVE_MINUTES,
            execution_timezone="UTC",
            description="Load all streams of the file, in one run.",
        ),
        dg.ScheduleDefinition(
            name="purge_schedule",
            target=purge,
            cron_schedule=_EVERY_NIGHT,
            execution_timezone="UTC",
            description="Every night, what has outlived the file's `retention`.",
        ),
    ]
    schedules += [
        dg.ScheduleDefinition(
            name=f"{name}_schedule",
            target=job,
            cron_schedule=_CHECKS[name],
            execution_timezone="UTC",
            description=f"Run the checks of `{name}`.",
        )
        for name, job in checks.jobs.items()
    ]
    schedules += [
        dg.ScheduleDefinition(
            name=f"{load_job_name(name)}_schedule",
            target=load_jobs[name],
            cron_schedule=stream.schedule,
            execution_timezone="UTC",
            description=f"Load `{stream.topic}` into `{stream.table}`.",
        )
        for name, stream in streams.items()
        if stream.schedule
    ]
    return schedules
