"""Quix Streams with its PostgreSQLSink, as its documentation has it. A script of the peers' Python.

At least once. One process: Quix scales by starting more of them. Records are gathered until the
checkpoint and written by execute_values, so the checkpoint is a batch of ours: 50,000 records.
``schema_auto_update`` off: the table is there. ``include_metadata`` off: no columns that others do
not write.
"""

import json
import sys
import time
from typing import Any

import fastavro
from quixstreams import Application
from quixstreams.models.serializers.avro import AvroDeserializer
from quixstreams.sinks.community.postgresql import PostgreSQLSink

BATCH_RECORDS = 50_000


def build(order: dict[str, Any]) -> Application:
    application = Application(
        broker_address=order["bootstrap_servers"],
        consumer_group=f"quix_{order['table']}",
        auto_offset_reset="earliest",
        commit_every=BATCH_RECORDS,
        commit_interval=5.0,
        auto_create_topics=False,
        loglevel="WARNING",
    )
    keyed = order["mode"] != "append"
    sink = PostgreSQLSink(
        **order["postgres"],
        table_name=order["table"],
        schema_auto_update=False,
        include_metadata=False,
        primary_key_columns="id" if keyed else (),
        upsert_on_primary_key=keyed,
    )
    is_avro = order["shape"] == "avro"
    deserializer = (
        AvroDeserializer(fastavro.parse_schema(order["avro_schema"])) if is_avro else "json"
    )
    topic = application.topic(order["topic"], value_deserializer=deserializer)
    frame = application.dataframe(topic)
    if order["shape"] == "debezium":
        frame = frame.apply(lambda change: change["after"])
    frame.sink(sink)
    return application


if __name__ == "__main__":
    order = json.load(sys.stdin)
    application = build(order)
    started = time.time()
    print(json.dumps({"started": started}))
    application.run(count=order["records"])
    print(json.dumps({"seconds": time.time() - started}))
