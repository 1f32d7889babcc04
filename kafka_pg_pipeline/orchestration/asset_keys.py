"""What tables and topics are called among Dagster's assets."""

import dagster as dg

from kafka_pg_pipeline.domain.tables import TableName
from kafka_pg_pipeline.settings.models import StreamSettings


def table_key(stream: StreamSettings) -> dg.AssetKey:
    """Asset key of the stream's table: schema and name."""
    table = TableName.parse(stream.table)
    return dg.AssetKey([table.schema, table.name])


def topic_key(stream: StreamSettings) -> dg.AssetKey:
    """Asset key of the stream's topic."""
    return dg.AssetKey(["kafka", stream.topic])
