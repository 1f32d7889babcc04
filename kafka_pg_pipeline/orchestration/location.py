"""What Dagster is given for one configuration file: assets, checks, jobs, schedules, sensors."""

import os

import dagster as dg

from kafka_pg_pipeline.orchestration.aiven import (
    build_check_job,
    build_check_schedule,
    build_service_checks,
    build_service_specs,
)
from kafka_pg_pipeline.orchestration.alerts import build_alert_sensor
from kafka_pg_pipeline.orchestration.assets import build_table_assets, build_topic_specs
from kafka_pg_pipeline.orchestration.backfills import build_backfill_assets, build_backfill_jobs
from kafka_pg_pipeline.orchestration.checks import build_checks
from kafka_pg_pipeline.orchestration.follow import FOLLOW_SECONDS, build_follow_job
from kafka_pg_pipeline.orchestration.jobs import build_kafka_to_postgres, build_load_jobs
from kafka_pg_pipeline.orchestration.moves import build_move_jobs
from kafka_pg_pipeline.orchestration.purge import build_purge_job
from kafka_pg_pipeline.orchestration.replay import build_replay_job
from kafka_pg_pipeline.orchestration.schedules import build_schedules
from kafka_pg_pipeline.orchestration.sensors import build_sensor
from kafka_pg_pipeline.orchestration.streams import Streams
from kafka_pg_pipeline.orchestration.together import build_together_job
from kafka_pg_pipeline.resources.build import build_resources
from kafka_pg_pipeline.settings.file import LoadedSettings


def build_definitions(loaded: LoadedSettings) -> dg.Definitions:
    """All that Dagster loads, from one configuration file."""
    streams = Streams(loaded.settings.streams)
    assets = build_table_assets(streams.by_name)
    kafka_to_postgres = build_kafka_to_postgres(streams)
    load_jobs = build_load_jobs(streams, assets)
    windows = build_backfill_assets(streams.by_name)
    resources = build_resources(loaded, os.environ)
    together = build_together_job(streams, resources)
    looking = loaded.settings.sensor
    follow = build_follow_job(streams, resources, looking.follow_seconds or FOLLOW_SECONDS)
    checks = build_checks(streams)
    jobs = [
        kafka_to_postgres,
        together,
        follow,
        *load_jobs.values(),
        build_replay_job(streams),
        *build_move_jobs(streams),
        *checks.jobs.values(),
    ]
    starts_on = os.environ.get("KAFKA_PG_START_SENSORS") == "1"
    status = dg.DefaultSensorStatus.RUNNING if starts_on else dg.DefaultSensorStatus.STOPPED
    sensor = build_sensor(load_jobs, together, follow, streams.by_name, status, looking)
    sensors = [sensor] if load_jobs else []
    if loaded.settings.alerts.webhook is not None:
        sensors.append(build_alert_sensor(streams, status))
    services = build_service_specs(loaded.settings.aiven)
    service_checks = build_service_checks(loaded.settings.aiven)
    check_job = build_check_job(service_checks) if service_checks else None
    jobs += [check_job] if check_job else []
    purge = build_purge_job(streams, loaded.settings.retention, [job.name for job in jobs])
    schedules = build_schedules(
        kafka_to_postgres, together, purge, checks, load_jobs, streams.by_name
    )
    schedules += [build_check_schedule(check_job)] if check_job else []
    return dg.Definitions(
        assets=[
            *build_topic_specs(streams.by_name),
            *services,
            *assets.values(),
            *windows.values(),
        ],
        asset_checks=[*checks.definitions, *service_checks],
        # Not among those whose old runs are purged: they say which windows were loaded.
        jobs=[*jobs, purge, *build_backfill_jobs(streams.by_name, windows)],
        schedules=schedules,
        sensors=sensors,
        resources=resources,
        # Also for runs launched on the assets themselves: a process for each op would cost more
        # than most loads.
        executor=dg.in_process_executor,
    )
