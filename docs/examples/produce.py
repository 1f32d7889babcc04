"""Puts three orders on the topic shop.orders.FORMAT, as a producer with a schema registry does.

    python docs/examples/produce.py avro | protobuf | json-schema

Kafka is where KAFKA_BOOTSTRAP_SERVERS says, and the registry where SCHEMA_REGISTRY_URL does. The
serializers are those of confluent-kafka: pip install 'confluent-kafka[avro,json,protobuf]'.
"""

import json
import os
import sys
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.timestamp_pb2 import Timestamp

AVRO = """{"type": "record", "name": "Order", "fields": [
  {"name": "id", "type": "long"},
  {"name": "price",
   "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
  {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"""
JSON_SCHEMA = '{"title": "Order", "type": "object", "properties": {"id": {"type": "integer"}}}'
PROTO = """syntax = "proto3"; import "google/protobuf/timestamp.proto";
message Order { int64 id = 1; google.protobuf.Timestamp at = 2; }"""
AT = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def encode(kind: str, number: int, registry: SchemaRegistryClient, topic: str) -> bytes | None:
    context = SerializationContext(topic, MessageField.VALUE)
    order: dict[str, Any] = {"id": number, "price": Decimal("9.90"), "at": AT}
    if kind == "avro":
        return AvroSerializer(registry, AVRO)(order, context)
    if kind == "json-schema":
        plain = {"id": number, "price": 9.9, "at": AT.isoformat()}
        return JSONSerializer(JSON_SCHEMA, registry)(plain, context)
    schema_id = registry.register_schema(f"{topic}-value", Schema(PROTO, "PROTOBUF"))
    # What code that protoc made would write: field 1 a varint, field 2 a message.
    moment = Timestamp(seconds=int(AT.timestamp())).SerializeToString()
    body = bytes([0x08, number, 0x12, len(moment)]) + moment
    return b"\0" + schema_id.to_bytes(4, "big") + b"\0" + body


def main(kind: str) -> None:
    servers = {"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]}
    topic = f"shop.orders.{kind}"
    admin = AdminClient(servers)
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].exception(30)  # it may be there already
    registry = SchemaRegistryClient({"url": os.environ["SCHEMA_REGISTRY_URL"]})
    producer = Producer(servers)
    failures = []

    def note(error, _):
        if error is not None:
            failures.append(error.str())

    for number in range(1, 4):
        value = encode(kind, number, registry, topic)
        producer.produce(topic, value, key=json.dumps(number), on_delivery=note)
    if producer.flush(60) or failures:
        sys.exit(f"the broker did not take all orders for {topic}: {failures}")
    print(f"three orders on {topic}")


if __name__ == "__main__":
    main(sys.argv[1])
