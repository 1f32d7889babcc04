"""The job ``purge``: old lines of the ledger, resolved dead letters, and Dagster's own old runs."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg

from kafka_pg_pipeline.assembly.purge import open_purge, purge_stream
from kafka_pg_pipeline.domain.purging import PurgeReport
from kafka_pg_pipeline.orchestration.asset_keys import table_key
from kafka_pg_pipeline.orchestration.checks import CHECK_JOBS
from kafka_pg_pipeline.orchestration.config import PurgeConfig
from kafka_pg_pipeline.orchestration.failures import dagster_failures
from kafka_pg_pipeline.orchestration.streams import JOB_TAG, STREAM_TAG, Streams
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.resources.build import find_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource
from kafka_pg_pipeline.settings.models import RetentionSettings

# Each costs some statements of Dagster's storage; the next purge takes the rest.
MOST_RUNS = 1_000
_FINISHED = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
)
# Its name is so common that another code location may have a job of that name.
_TAGS = {JOB_TAG: "purge"}


def build_purge_job(
    streams: Streams, retention: RetentionSettings, job_names: Sequence[str]
) -> dg.JobDefinition:
    """The job that purges all streams of the file, and old runs of them and of the named jobs."""

    @dg.op(
        out=dg.Out(dg.Nothing),
        description="Merge old lines of the ledger and remove resolved dead letters, as "
        "`kafka-pg purge` does; then remove finished runs of this pipeline from Dagster.",
    )
    def purge_old(
        context: dg.OpExecutionContext,
        config: PurgeConfig,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> None:
        with (
            dagster_failures(None),
            open_purge(find_endpoints(kafka, postgres, aiven), retention) as opened,
        ):
            reports = [
                purge_stream(opened, name, dry_run=config.dry_run) for name in streams.by_name
            ]
        before = datetime.now(timezone.utc) - timedelta(days=retention.runs_days)
        old = find_old_runs(context.instance, streams, job_names, before)
        if not config.dry_run:
            for run_id in old[:MOST_RUNS]:
                context.instance.delete_run(run_id)
        removed = min(len(old), MOST_RUNS)
        context.log.info(
            "%s%d ledger lines merged, %d dead letters and %d runs removed, %d old runs left",
            "dry run: " if config.dry_run else "",
            sum(report.merged_lines for report in reports),
            sum(report.removed_letters for report in reports),
            removed,
            len(old) - removed,
        )
        context.add_output_metadata(_describe(reports, removed, len(old) - removed))

    @dg.job(
        name="purge",
        description="Retention, as `retention` of the file says: merges old lines of the ledger "
        "(no count is lost), removes dead letters that were resolved long ago, and finished runs "
        "of this pipeline from Dagster's storage. Harmless at any time, and beside loads.",
        executor_def=dg.in_process_executor,
        tags=_TAGS,
    )
    def purge_job() -> None:
        purge_old()

    return purge_job


def find_old_runs(
    instance: dg.DagsterInstance,
    streams: Streams,
    job_names: Sequence[str],
    before: datetime,
) -> list[str]:
    """Ids of finished runs of ours that were last touched before then, oldest first.

    The run of each table's latest materialization stays, so that a table whose topic has been
    quiet for long does not look as if nothing had ever been loaded.
    """
    wanted: list[dict[str, Any]] = [{"tags": {STREAM_TAG: name}} for name in streams.by_name]
    wanted += [{"job_name": name} for name in job_names]
    wanted += [{"tags": {JOB_TAG: name}} for name in (_TAGS[JOB_TAG], *CHECK_JOBS)]
    latest = [
        instance.get_latest_materialization_event(table_key(stream))
        for stream in streams.by_name.values()
    ]
    kept = {event.run_id for event in latest if event is not None}
    old: dict[str, datetime] = {}
    for one in wanted:
        found = instance.get_run_records(
            dg.RunsFilter(statuses=_FINISHED, updated_before=before, **one),
            limit=10 * MOST_RUNS,
            ascending=True,
        )
        old |= {record.dagster_run.run_id: record.create_timestamp for record in found}
    return sorted(old.keys() - kept, key=lambda run_id: old[run_id])


def _describe(reports: Sequence[PurgeReport], removed_runs: int, old_runs_left: int) -> Any:
    return {
        "kafka/merged_lines": sum(report.merged_lines for report in reports),
        "kafka/removed_letters": sum(report.removed_letters for report in reports),
        "kafka/removed_runs": removed_runs,
        "kafka/old_runs_left": old_runs_left,
    }
