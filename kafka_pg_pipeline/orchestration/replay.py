"""The job ``replay_dead_letters``: rejected records of one stream become rows after a fix."""

from typing import Any

import dagster as dg

from kafka_pg_pipeline.assembly.session import open_session
from kafka_pg_pipeline.orchestration.asset_keys import table_key
from kafka_pg_pipeline.orchestration.config import ReplayConfig
from kafka_pg_pipeline.orchestration.failures import dagster_failures
from kafka_pg_pipeline.orchestration.metadata import describe_replay
from kafka_pg_pipeline.orchestration.streams import Streams, tag_run
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.resources.build import find_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource


def build_replay_job(streams: Streams) -> dg.JobDefinition:
    """The job that replays dead letters of the stream that its run configuration names."""

    @dg.op(
        out=dg.Out(dg.Nothing),
        description="Make rows of dead letters by the stream's present mapping, each exactly "
        "once. Those that still do not fit stay, with their reason of now.",
    )
    def replay(
        context: dg.OpExecutionContext,
        config: ReplayConfig,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> None:
        with dagster_failures(config.stream):
            name, stream = streams.choose(config.stream)
        tag_run(context, name)
        with dagster_failures(name, stream):
            wanted = config.build_filter()
            endpoints = find_endpoints(kafka, postgres, aiven)
            with open_session(name, stream, endpoints, run_id=context.run_id) as session:
                report = session.replay.replay(
                    wanted, limit=config.limit, overwrite=config.overwrite
                )
        metadata = describe_replay(report)
        context.add_output_metadata(dict(metadata))
        if report.counts.replayed:
            context.log_event(dg.AssetMaterialization(table_key(stream), metadata=metadata))

    @dg.job(
        name="replay_dead_letters",
        description="Replay rejected records of one stream after the table or the mapping was "
        "mended: each becomes one row, once, whatever is retried or runs beside it. Letters that "
        "still do not fit stay; `kafka-pg dead-letters list STREAM` shows them.",
        executor_def=dg.in_process_executor,
        config=_usual_config(streams),
    )
    def replay_dead_letters() -> None:
        replay()

    return replay_dead_letters


def _usual_config(streams: Streams) -> dict[str, Any]:
    """What the launchpad shows to begin with: all dead letters of the first stream."""
    config = dict.fromkeys(("reason", "since", "until", "limit"))
    stream = streams.default
    return {"ops": {"replay": {"config": {"stream": stream, **config, "overwrite": False}}}}
