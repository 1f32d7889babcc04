"""Each stream's table as an asset, made by consume → load, and its topic upstream of it."""

from collections.abc import Mapping

import dagster as dg

from kafka_pg_pipeline.domain.planning import LoadPlan
from kafka_pg_pipeline.domain.tables import TableName
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.orchestration.config import LimitsConfig
from kafka_pg_pipeline.orchestration.loading import consume_in_op, load_in_op
from kafka_pg_pipeline.resources.aiven import AivenResource
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
            description=f"Kafka topic {topic}, read by {', '.join(names)}.",
            group_name="streams",
            kinds={"kafka"},
        )
        for topic, names in readers.items()
    ]


def build_table_asset(name: str, stream: StreamSettings) -> dg.AssetsDefinition:
    """The table of a stream: ``consume`` freezes what the run may take, ``load`` loads it."""

    @dg.op(
        name=f"{name}__consume",
        ins={"topic": dg.In(dg.Nothing)},
        description=f"Freeze what this run may take of `{stream.topic}`.",
    )
    def consume(
        context: dg.OpExecutionContext,
        config: LimitsConfig,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> LoadPlan:
        return consume_in_op(context, name, stream, config, kafka, postgres, aiven)

    @dg.op(
        name=f"{name}__load",
        out=dg.Out(dg.Nothing),
        description=f"Load the plan into `{stream.table}`, each record exactly once.",
    )
    def load(
        context: dg.OpExecutionContext,
        plan: LoadPlan,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> None:
        load_in_op(context, plan, stream, kafka, postgres, aiven)

    @dg.graph(name=f"{name}__table", ins={"topic": dg.GraphIn()})
    def table(topic):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - Dagster's graph
        return load(consume(topic=topic))

    # Not @graph_asset: that derives the graph's name from the table's, which may hold any
    # character, and two of which may become the same.
    return dg.AssetsDefinition.from_graph(
        table,
        keys_by_input_name={"topic": topic_key(stream)},
        keys_by_output_name={"result": table_key(stream)},
        descriptions_by_output_name={
            "result": f"Records of the Kafka topic `{stream.topic}` as rows of `{stream.table}`, "
            f"each exactly once (stream `{name}`, {stream.format}, {stream.mode})."
        },
        tags_by_output_name={"result": {"dagster/kind/kafka": "", "dagster/kind/postgres": ""}},
        metadata_by_output_name={"result": {"dagster/table_name": stream.table}},
        group_name="streams",
    )


def build_table_assets(streams: Mapping[str, StreamSettings]) -> dict[str, dg.AssetsDefinition]:
    """The table asset of each stream, by the stream's name.

    Raises:
        ConfigurationError: a table has the key of a topic.
    """
    topics = {topic_key(stream) for stream in streams.values()}
    for name, stream in streams.items():
        if table_key(stream) in topics:
            raise ConfigurationError(
                f"stream {name}: table {stream.table} has the name of a topic and lies in the "
                "schema `kafka`: in Dagster kafka/<topic> is the topic's own asset, so load this "
                "stream into another schema"
            )
    return {name: build_table_asset(name, stream) for name, stream in streams.items()}
