"""Backfills by partitions: a window of a stream's time each, launched from the UI's backfill page.

A run loads one window and may be repeated: what was loaded is not loaded again. Its tag is another
one than that of loads, so that it holds up no load, and no sensor takes it for one.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from kafka_pg_pipeline.assembly.backfill import BackfillOptions, open_backfill
from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.domain.reports import LoadReport
from kafka_pg_pipeline.domain.tables import TableName
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.orchestration.asset_keys import table_key, topic_key
from kafka_pg_pipeline.orchestration.failures import dagster_failures
from kafka_pg_pipeline.orchestration.metadata import describe_report
from kafka_pg_pipeline.orchestration.streams import BACKFILL_TAG, find_retried_runs
from kafka_pg_pipeline.pipeline.batch_log import BatchLog
from kafka_pg_pipeline.ports import ProgressListener
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.resources.build import find_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource
from kafka_pg_pipeline.settings.models import BackfillSettings, StreamSettings

# A window takes as long as it takes; without the tag an instance may end it after some minutes.
_MAX_RUNTIME_SECONDS = str(7 * 24 * 3600)


def backfill_key(stream: StreamSettings, settings: BackfillSettings) -> dg.AssetKey:
    """Asset key of the windows: the table beside, or ``backfill`` under that of the stream's."""
    if settings.into is None or TableName.parse(settings.into) == TableName.parse(stream.table):
        return dg.AssetKey([*table_key(stream).path, "backfill"])
    table = TableName.parse(settings.into)
    return dg.AssetKey([table.schema, table.name])


def build_backfill_assets(
    streams: Mapping[str, StreamSettings],
) -> dict[str, dg.AssetsDefinition]:
    """The partitioned asset of each stream that has a section ``backfill``, by its name.

    Raises:
        ConfigurationError: a table beside has the key of a topic.
    """
    topics = {topic_key(stream) for stream in streams.values()}
    built = {}
    for name, stream in streams.items():
        if stream.backfill is None:
            continue
        if backfill_key(stream, stream.backfill) in topics:
            raise ConfigurationError(
                f"stream {name}: backfill.into {stream.backfill.into} has the name of a topic and "
                "lies in the schema `kafka`: name another schema"
            )
        built[name] = _build_asset(name, stream, stream.backfill)
    return built


def build_backfill_jobs(
    streams: Mapping[str, StreamSettings], assets: Mapping[str, dg.AssetsDefinition]
) -> list["dg.UnresolvedAssetJobDefinition"]:
    """The job ``backfill_<stream>`` of each asset."""
    return [
        dg.define_asset_job(
            name=f"backfill_{name}",
            selection=dg.AssetSelection.assets(asset),
            description=f"Load windows of time of `{streams[name].topic}`, each exactly once, "
            "apart from the stream's live position.",
            executor_def=dg.in_process_executor,
            tags={BACKFILL_TAG: name, "dagster/max_runtime": _MAX_RUNTIME_SECONDS},
        )
        for name, asset in assets.items()
    ]


def _build_asset(
    name: str, stream: StreamSettings, settings: BackfillSettings
) -> dg.AssetsDefinition:
    into = settings.into or stream.table

    # The pool lets one window of the stream be loaded at a time, where the instance has a limit
    # for pools; the database makes sure in any case.
    @dg.op(
        name=f"{name}__backfill",
        ins={"topic": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        pool=f"kafka_pg_backfill_{name}",
        description=f"Load one window of `{stream.topic}` into `{into}`, each record exactly once.",
    )
    def load_window(
        context: dg.OpExecutionContext,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> None:
        _tag_run(context, name)
        with dagster_failures(name, stream):
            endpoints = find_endpoints(kafka, postgres, aiven)
            report = _load(context, name, stream, settings, endpoints)
        context.add_output_metadata(
            {"kafka/window": report.stream, **dict(describe_report(report))}
        )

    return dg.AssetsDefinition.from_op(
        load_window,
        keys_by_input_name={"topic": topic_key(stream)},
        keys_by_output_name={"result": backfill_key(stream, settings)},
        partitions_def=_build_partitions(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        descriptions_by_output_name={
            "result": f"Windows of time of the Kafka topic `{stream.topic}` as rows of `{into}`, "
            f"each loaded when it is asked for (stream `{name}`)."
        },
        tags_by_output_name={
            "result": {
                "dagster/kind/kafka": "",
                "dagster/kind/postgres": "",
                **stream.asset.tags,
            }
        },
        metadata_by_output_name={"result": {"dagster/table_name": into}},
        group_name=stream.asset.group,
    )


def _build_partitions(settings: BackfillSettings) -> dg.TimeWindowPartitionsDefinition:
    if settings.every == "hour":
        return dg.HourlyPartitionsDefinition(start_date=settings.first_moment, timezone="UTC")
    return dg.DailyPartitionsDefinition(start_date=settings.first_moment, timezone="UTC")


def _load(
    context: dg.OpExecutionContext,
    name: str,
    stream: StreamSettings,
    settings: BackfillSettings,
    endpoints: Endpoints,
) -> LoadReport:
    options = BackfillOptions(settings.into, settings.lateness_seconds, settings.overwrite)

    @contextmanager
    def show(window: str, _total: int) -> Iterator[ProgressListener]:
        yield BatchLog(stream=window, topic=stream.topic, run_id=context.run_id, log=context.log)

    with open_backfill(name, stream, endpoints, options, run_id=context.run_id) as backfill:
        time = context.partition_time_window
        report = backfill.load(
            backfill.name_window(time.start, time.end),
            stop=threading.Event(),
            show=show,
            retried_runs=find_retried_runs(context.run, context.instance),
        )
    context.log.info(
        "%s: %d rows, %d dead letters of %d offsets looked through",
        report.stream,
        report.counts.rows,
        report.counts.dead,
        report.covered,
    )
    return report


def _tag_run(context: dg.OpExecutionContext, name: str) -> None:
    """Say what the run is, also where it was launched on the asset itself and has no tags."""
    tags = {BACKFILL_TAG: name, "dagster/max_runtime": _MAX_RUNTIME_SECONDS}
    if not tags.items() <= context.run.tags.items():
        context.instance.add_run_tags(context.run_id, tags)
