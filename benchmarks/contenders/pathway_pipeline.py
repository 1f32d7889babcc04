"""Pathway from Kafka to PostgreSQL. A script of the peers' Python; it goes on until it is ended.

At least once (exactly once needs its enterprise edition). ``append`` writes its stream of changes,
whose two columns ``time`` and ``diff`` it cannot leave out; upsert writes its snapshot. Its JSON
parser takes no moment that ends in Z, and its expressions no column called id, so moments stay the
text that they are, in columns of text. One thread, its default: with two, each reads, and the
topic's partitions change hands at the start, which doubled 29,061 of 200,000 records here. Its
reader of Debezium takes only changes that carry their schema, so ours are read as JSON, from the
paths behind ``after``.
"""

import json
import sys
import time
from typing import Any

import pathway as pw

TYPES = {
    "bigint": int,
    "double precision": float,
    "text": str,
    "boolean": bool,
    "timestamptz": str,
}
# Its default of 1.5 s would let it read all that we have before it writes any.
COMMIT_MS = 200


def build(order: dict[str, Any]) -> None:
    keyed = order["mode"] != "append"
    schema = pw.schema_builder(
        {
            name: pw.column_definition(dtype=TYPES[kind], primary_key=keyed and name == "id")
            for name, kind in order["columns"]
        }
    )
    kafka = {
        "bootstrap.servers": order["bootstrap_servers"],
        "group.id": f"pathway_{order['table']}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": "false",
    }
    is_change = order["shape"] == "debezium"
    table = pw.io.kafka.read(
        kafka,
        topic=order["topic"],
        schema=schema,
        format="json",
        autocommit_duration_ms=COMMIT_MS,
        json_field_paths={name: f"/after/{name}" for name, _ in order["columns"]}
        if is_change
        else None,
    )
    pw.io.postgres.write(
        table,
        order["postgres"],
        order["table"],
        **({"output_table_type": "snapshot", "primary_key": [table["id"]]} if keyed else {}),
    )


if __name__ == "__main__":
    order = json.load(sys.stdin)
    build(order)
    print(json.dumps({"started": time.time()}), flush=True)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
