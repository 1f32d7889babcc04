"""Each stream's table as an asset, made by consume → lanes → load, and its topic upstream of it."""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from kafka_pg_pipeline.domain.planning import LoadPlan
from kafka_pg_pipeline.domain.reports import LoadReport
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.orchestration.asset_keys import table_key, topic_key
from kafka_pg_pipeline.orchestration.config import TableConfig
from kafka_pg_pipeline.orchestration.loading import (
    consume_in_op,
    load_in_op,
    load_lane_in_op,
)
from kafka_pg_pipeline.resources.aiven import AivenResource
from kafka_pg_pipeline.resources.kafka import KafkaResource
from kafka_pg_pipeline.resources.postgres import PostgresResource
from kafka_pg_pipeline.settings.models import StreamSettings


def build_topic_specs(streams: Mapping[str, StreamSettings]) -> list[dg.AssetSpec]:
    """One external asset a topic, in the group of the first stream that reads it."""
    readers: dict[str, list[str]] = {}
    for name, stream in streams.items():
        readers.setdefault(stream.topic, []).append(name)
    return [
        dg.AssetSpec(
            key=topic_key(streams[names[0]]),
            description=_describe_topic(topic, [streams[name] for name in names]),
            group_name=streams[names[0]].asset.group,
            kinds={"kafka"},
        )
        for topic, names in readers.items()
    ]


def _describe_topic(topic: str, readers: Sequence[StreamSettings]) -> str:
    tables = ", ".join(f"`{stream.table}`" for stream in readers)
    return (
        f"Kafka topic `{topic}`, loaded into {tables}.\n\nOthers write it; nothing here does, "
        "unless the file gives the stream a `source`. Each load notes its end, and the offsets "
        "that are readable and blocked (behind an open transaction)."
    )


def build_table_asset(name: str, stream: StreamSettings) -> dg.AssetsDefinition:
    """The table of a stream: ``consume`` freezes what the run may take, ``load`` loads it."""

    @dg.op(
        name=f"{name}__consume",
        ins={"topic": dg.In(dg.Nothing)},
        out={"plan": dg.Out(LoadPlan), "lanes": dg.DynamicOut(LoadPlan)},
        description=f"Freeze what this run may take of `{stream.topic}`; split it into lanes, if "
        "it has several.",
    )
    def consume(
        context: dg.OpExecutionContext,
        config: TableConfig,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> Iterator[dg.Output[LoadPlan] | dg.DynamicOutput[LoadPlan]]:
        plan, lanes = consume_in_op(
            context,
            name,
            stream,
            config,
            kafka,
            postgres,
            aiven,
            output="plan",
            lanes=config.lanes,
        )
        yield dg.Output(plan, "plan")
        for number, lane in enumerate(lanes):
            yield dg.DynamicOutput(lane, str(number), "lanes")

    @dg.op(
        name=f"{name}__lane",
        description=f"Load some partitions of `{stream.topic}`, beside other lanes.",
    )
    def load_lane(
        context: dg.OpExecutionContext,
        plan: LoadPlan,
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> LoadReport:
        return load_lane_in_op(context, plan, stream, kafka, postgres, aiven)

    @dg.op(
        name=f"{name}__load",
        out=dg.Out(dg.Nothing),
        description=f"Load the plan into `{stream.table}`, each record exactly once, unless lanes "
        "have; tell what the run has loaded.",
    )
    def load(
        context: dg.AssetExecutionContext,
        plan: LoadPlan,
        lanes: list[LoadReport],
        kafka: KafkaResource,
        postgres: PostgresResource,
        aiven: AivenResource,
    ) -> None:
        op_context = context.op_execution_context
        metadata = load_in_op(op_context, plan, stream, kafka, postgres, aiven, lanes)
        context.add_asset_metadata(metadata)

    @dg.graph(name=f"{name}__table", ins={"topic": dg.GraphIn()})
    def table(topic):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - Dagster's graph
        plan, lanes = consume(topic=topic)
        return load(plan, lanes.map(load_lane).collect())

    # Not @graph_asset: that derives the graph's name from the table's, which may hold any
    # character, and two of which may become the same.
    return dg.AssetsDefinition.from_graph(
        table,
        keys_by_input_name={"topic": topic_key(stream)},
        keys_by_output_name={"result": table_key(stream)},
        descriptions_by_output_name={"result": _describe_table(name, stream)},
        tags_by_output_name={
            "result": {
                "dagster/kind/kafka": "",
                "dagster/kind/postgres": "",
                **stream.asset.tags,
            }
        },
        owners_by_output_name={"result": stream.asset.owners},
        metadata_by_output_name={"result": {"dagster/table_name": stream.table}},
        group_name=stream.asset.group,
    )


_MODES = {
    "append": "Each record is a row of its own.",
    "insert-ignore": "Each key is a row: that of its first record.",
    "upsert": "Each key is a row: that of its last record.",
}


def _describe_table(name: str, stream: StreamSettings) -> str:
    said = f"{stream.asset.description}\n\n" if stream.asset.description else ""
    mode = _MODES[stream.mode]
    if stream.mode == "upsert" and stream.deletes:
        mode += " A record that deletes its key deletes the row."
    key = f" Key: {', '.join(f'`{column}`' for column in stream.key)}." if stream.key else ""
    return (
        f"{said}Table `{stream.table}`: the records of the Kafka topic `{stream.topic}`, each "
        f"exactly once. {mode}{key} A record that does not fit is kept as a dead letter.\n\n"
        f"Stream `{name}`, format {stream.format}, mode {stream.mode}. `kafka-pg status {name}` "
        "says where it stands."
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
