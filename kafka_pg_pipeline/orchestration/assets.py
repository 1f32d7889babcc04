"""Each stream's table as an asset, made by consume → load, and its topic upstream of it."""

from collections.abc import Mapping

import dagster as dg

from kafka_pg_pipeline.domain.planning import LoadPlan
from kafka_pg_pipeline.domain.tables import TableName
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.orchestration.config import LimitsConfig
from kafka_pg_pipeline.orchestration.failures import RETRY_POLICY
from kafka_pg_pipeline.orchestration.loading import consume_stream, load_plan
from kafka_pg_pipeline.orchestration.metadata import describe_plan, describe_report
from kafka_pg_pipeline.resources.build import find_endpoints
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource
from kafka_pg_pipeline.settings.models import StreamSettings


def table_key(stream: StreamSettings) -> dg.AssetKey:
    """Asset key of the stream's table: schema and name."""
    table = TableName.parse(stream.table)
    return dg.AssetKey([table.schema, table.name])


def topic_key(stream: StreamSettings) -> dg.AssetKey:
    """Asset key of the stream's topic."""
    return dg.AssetKey(["kafka", stream.topic])


def build_topic_specs(streams: Mapping[str, StreamSettings]) -> list[dg.AssetSpec]:
    """One external asset a topic."""
    readers: dict[str, list[str]] = {}
    for name, stream in streams.items():
        readers.setdefault(stream.topic, []).append(name)
    return [
        dg.AssetSpec(
            key=dg.AssetKey(["kafka", topic]),
            description=f"Kafka topic `{topic}`, read by {', '.join(names)}.",
            group_name="kafka",
            kinds={"kafka"},
        )
        for topic, names in readers.items()
    ]


def build_table_asset(name: str, stream: StreamSettings) -> dg.AssetsDefinition:
    """The table of a stream: ``consume`` freezes what the run may take, ``load`` loads it."""

    @dg.op(
        name=f"{name}__consume",
        ins={"topic": dg.In(dg.Nothing)},
        retry_policy=RETRY_POLICY,
        description=f"Freeze what this run may take of `{stream.topic}`.",
    )
    def consume(
        context: dg.OpExecutionContext,
        config: LimitsConfig,
        kafka: KafkaResource,
        postgres: PostgresResource,
    ) -> LoadPlan:
        plan = consume_stream(
            name,
            stream,
            find_endpoints(kafka, postgres),
            run_id=context.run_id,
            max_records=config.max_records,
            max_seconds=config.max_seconds,
        )
        context.add_output_metadata(dict(describe_plan(plan)))
        return plan

    @dg.op(
        name=f"{name}__load",
        out=dg.Out(dg.Nothing),
        retry_policy=RETRY_POLICY,
        description=f"Load the plan into `{stream.table}`, each record exactly once.",
    )
    def load(
        context: dg.OpExecutionContext,
        plan: LoadPlan,
        kafka: KafkaResource,
        postgres: PostgresResource,
    ) -> None:
        report = load_plan(
            plan,
            stream,
            find_endpoints(kafka, postgres),
            run_id=context.run_id,
            log=context.log,
        )
        context.add_output_metadata(dict(describe_report(report)))

    @dg.graph_asset(
        key=table_key(stream),
        ins={"topic": dg.AssetIn(key=topic_key(stream), dagster_type=dg.Nothing)},
        description=(
            f"Records of the Kafka topic `{stream.topic}` as rows of `{stream.table}`, each "
            f"exactly once (stream `{name}`, {stream.format}, {stream.mode})."
        ),
        group_name="streams",
        kinds={"postgres", "kafka"},
    )
    def table(topic):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - Dagster's graph
        return load(consume(topic=topic))

    return table


def build_table_assets(streams: Mapping[str, StreamSettings]) -> dict[str, dg.AssetsDefinition]:
    """The table asset of each stream, by the stream's name.

    Raises:
        ConfigurationError: two streams fill one table.
    """
    owners: dict[dg.AssetKey, str] = {}
    for name, stream in streams.items():
        other = owners.setdefault(table_key(stream), name)
        if other != name:
            raise ConfigurationError(
                f"streams {other} and {name} fill the same table {stream.table}: Dagster has one "
                "asset a table, so load one of them into a table of its own"
            )
    return {name: build_table_asset(name, stream) for name, stream in streams.items()}
