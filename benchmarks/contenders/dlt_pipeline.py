"""dlt with a resource that reads Kafka. A script of the peers' Python.

dlt's own Kafka source is no package of a registry (``dlt init`` copies it into a project), so the
resource here does what that one does, with confluent-kafka and in blocks. Tuned as dlt's pages on
performance say: Arrow tables, and parquet files loaded by ADBC's binary COPY. dlt loads in steps
(extract, normalize, load), so its whole run is timed.
"""

import io
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import fastavro
import orjson
import pyarrow as pa
from confluent_kafka import Consumer, TopicPartition
from pyarrow import json as arrow_json

BLOCK_RECORDS = 50_000
TYPES = {
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}


def read(order: dict[str, Any]) -> Iterator[list[bytes]]:
    """Blocks of values."""
    consumer = Consumer(
        {
            "bootstrap.servers": order["bootstrap_servers"],
            "group.id": f"dlt_{order['table']}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 10,
        }
    )
    topic = order["topic"]
    consumer.assign([TopicPartition(topic, number, 0) for number in range(order["partitions"])])
    left, block = order["records"], []
    while left:
        messages = consumer.consume(min(10_000, left), 1.0)
        block += [message.value() for message in messages]
        left -= len(messages)
        if len(block) >= BLOCK_RECORDS or not left:
            yield block
            block = []
    consumer.close()


def decode(order: dict[str, Any], values: list[bytes]) -> pa.Table:
    schema = pa.schema([(name, TYPES[kind]) for name, kind in order["columns"]])
    if order["shape"] == "avro":
        parsed = fastavro.parse_schema(order["avro_schema"])
        rows = [fastavro.schemaless_reader(io.BytesIO(value), parsed) for value in values]
        return pa.Table.from_pylist(rows, schema=schema)
    if order["shape"] == "debezium":
        values = [orjson.dumps(orjson.loads(value)["after"]) for value in values]
    options = arrow_json.ParseOptions(explicit_schema=schema)
    return arrow_json.read_json(io.BytesIO(b"\n".join(values)), parse_options=options)


def main() -> None:
    order = json.load(sys.stdin)
    os.environ["DLT_DATA_DIR"] = os.path.abspath(f"dlt_{order['table']}")  # noqa: PTH100
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt

    keyed = order["mode"] != "append"

    @dlt.resource(
        name=order["table"],
        write_disposition={"disposition": "merge", "strategy": "upsert"} if keyed else "append",
        primary_key="id" if keyed else None,
    )
    def events() -> Iterator[pa.Table]:
        for values in read(order):
            yield decode(order, values)

    place = order["postgres"]
    dsn = (
        f"postgresql://{place['user']}:{place['password']}@{place['host']}:{place['port']}"
        f"/{place['dbname']}"
    )
    pipeline = dlt.pipeline(
        pipeline_name=order["table"],
        destination=dlt.destinations.postgres(dsn),
        dataset_name="public",
    )
    started = time.time()
    print(json.dumps({"started": started}))
    pipeline.run(events(), loader_file_format="parquet")
    print(json.dumps({"seconds": time.time() - started}))


if __name__ == "__main__":
    main()
