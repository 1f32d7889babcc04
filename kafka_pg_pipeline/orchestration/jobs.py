"""Jobs: ``kafka_to_postgres`` (produce → consume → load) and ``load_<stream>`` for each stream."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from kafka_pg_pipeline.assembly.produce import produce_to_stream
from kafka_pg_pipeline.domain.planning import LoadPlan
from kafka_pg_pipeline.orchestration.asset_keys import table_key
from kafka_pg_pipeline.orchestration.config import (
    ConsumeConfig,
    ProduceConfig,
    check_limits,
)
from kafka_pg_pipeline.orchestration.failures import dagster_failures
from kafka_pg_pipeline.orchestration.loading import consume_in_op, load_in_op
from kafka_pg_pipeline.orchestration.streams import STREAM_TAG, Streams
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.resources.build import find_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource

# Longer than USUAL_SECONDS: what is in flight then has time to end.
MAX_RUNTIME_SECONDS = "900"


def build_kafka_to_postgres(streams: Streams) -> dg.JobDefinition:
    """The job that produces to a stream that has a source, then loads it."""

    @dg.op(out=dg.Out(dg.Nothing), description="Put records on a stream that has a `source:`.")
    def produce(
        context: dg.OpExecutionContext,
        config: ProduceConfig,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> None:
        with dagster_failures(config.stream):
            name, stream = streams.choose(config.stream)
        if stream.source is None:
            context.log.info("stream %s has no `source:`, nothing is produced", name)
            context.add_output_metadata({"kafka/produced": 0, "kafka/skipped": True})
            return
        # A second attempt would put the first one's acknowledged half on the topic again.
        with dagster_failures(name, stream, may_retry=False):
            check_limits(count=config.count)
            report = produce_to_stream(
                name,
                stream,
                find_endpoints(kafka, postgres, aiven),
                count=config.count,
                file=Path(config.file) if config.file else None,
            )
        context.add_output_metadata(
            {
                "kafka/topic": stream.topic,
                "kafka/produced": report.acknowledged,
                "kafka/failed": report.failed,
            }
        )

    @dg.op(
        ins={"produced": dg.In(dg.Nothing)},
        description="Freeze what this run may take of the stream's topic.",
    )
    def consume(
        context: dg.OpExecutionContext,
        config: ConsumeConfig,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> LoadPlan:
        with dagster_failures(config.stream):
            name, stream = streams.choose(config.stream)
        plan, _ = consume_in_op(context, name, stream, config, kafka, postgres, aiven)
        return plan

    @dg.op(
        out=dg.Out(dg.Nothing),
        description="Load the plan into the stream's table, each record exactly once.",
    )
    def load(
        context: dg.OpExecutionContext,
        plan: LoadPlan,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> None:
        with dagster_failures(plan.stream):
            _, stream = streams.choose(plan.stream)
        metadata = load_in_op(context, plan, stream, kafka, postgres, aiven)
        context.log_event(dg.AssetMaterialization(table_key(stream), metadata=metadata))

    @dg.job(
        name="kafka_to_postgres",
        description="Produce (to a stream that has a source), consume and load one stream.",
        executor_def=dg.in_process_executor,
        tags={"dagster/max_runtime": MAX_RUNTIME_SECONDS},
        config=_usual_config(streams),
    )
    def kafka_to_postgres() -> None:
        load(consume(produce()))

    return kafka_to_postgres


def _usual_config(streams: Streams) -> dict[str, Any]:
    """What the launchpad shows to begin with; leaving all of it out means the same."""
    stream = streams.default
    return {
        "ops": {
            "produce": {"config": {"stream": stream, "count": None, "file": None}},
            "consume": {"config": {"stream": stream, "max_records": None, "max_seconds": None}},
        }
    }


def load_job_name(stream: str) -> str:
    """Name of the job that loads a stream."""
    return f"load_{stream}"


def lanes_config(stream: str, lanes: int) -> dict[str, Any]:
    """Run configuration that loads a stream in so many lanes at the same time."""
    consume = {f"{stream}__consume": {"config": {"lanes": lanes}}}
    return {
        "execution": {"config": {"multiprocess": {}}},
        "ops": {f"{stream}__table": {"ops": consume}},
    }


def build_load_jobs(
    streams: Streams, assets: Mapping[str, dg.AssetsDefinition]
) -> dict[str, "dg.UnresolvedAssetJobDefinition"]:
    """The job that loads a stream's table, for each stream by name."""
    return {
        name: dg.define_asset_job(
            name=load_job_name(name),
            # A load must not wait for them: they have jobs of their own.
            selection=dg.AssetSelection.assets(assets[name]).without_checks(),
            description=f"Load `{stream.topic}` into `{stream.table}` up to the present end.",
            # Processes for steps would cost a load in one lane more than it takes.
            executor_def=dg.multi_or_in_process_executor,
            config={"execution": {"config": {"in_process": {}}}},
            tags={STREAM_TAG: name, "dagster/max_runtime": MAX_RUNTIME_SECONDS},
        )
        for name, stream in streams.by_name.items()
    }
