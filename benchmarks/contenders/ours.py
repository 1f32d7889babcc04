"""``kafka-pg load`` with one of its readers: the whole product, exactly once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
from memory import MemoryWatch
from shapes import SHAPES, write_avro_schema
from stage import Order, Stage

from contenders.contender import Took

MODES = {
    "append": "mode: append",
    "insert-ignore": "mode: insert-ignore\n    key: [id]",
    "upsert": "mode: upsert\n    key: [id]",
    "upsert-existing": "mode: upsert\n    key: [id]",
    "newest-wins": "mode: upsert\n    key: [id]\n    newest_wins: true\n"
    "    metadata: [partition, offset, incarnation]",
}
VERSION_COLUMNS = "kafka_partition integer, kafka_offset bigint, kafka_incarnation integer"


def load(stage: Stage, order: Order, reader: str, max_lanes: str = "auto") -> Took:
    """A new stream into the order's table; timed by the loader, from its plan to its report."""
    configuration = configure(stage, order, reader, max_lanes)
    command = [sys.executable, "-m", "kafka_pg_pipeline", "load", "--json", "-c"]
    started = time.time()
    with configuration.with_suffix(".log").open("wb") as errors:
        process = subprocess.Popen(
            [*command, str(configuration)],
            env={**os.environ, **environment(order)},
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    with MemoryWatch(process.pid) as memory:
        output, _ = process.communicate()
    if process.returncode != 0:
        log = configuration.with_suffix(".log").read_text()
        raise click.ClickException(f"kafka-pg load failed:\n{log[-2000:]}{output.decode()[-500:]}")
    report: dict[str, Any] = json.loads(output)
    (stream,) = report.get("streams", [report])
    return Took(started, stream["seconds"], memory.peak_bytes)


def configure(stage: Stage, order: Order, reader: str, max_lanes: str = "auto") -> Path:
    """The file of a pipeline whose one stream fills the order's table."""
    lines = [
        f"kafka: {{reader: {reader}}}",
        f"postgres: {{schema: {order.table}_state}}",
        f"streams:\n  {order.table}:\n    topic: {order.topic}\n    table: public.{order.table}",
        f"    format: {SHAPES[order.shape].format}",
        f"    {MODES[order.mode]}",
        f"    max_lanes: {max_lanes}",
    ]
    if order.shape == "avro":
        write_avro_schema(str(stage.home / "event.avsc"))
        lines.append("    schema_file: event.avsc")
    path = stage.home / f"{order.table}.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def environment(order: Order) -> dict[str, str]:
    """Where its servers are."""
    postgres = order.postgres
    return {
        "KAFKA_BOOTSTRAP_SERVERS": order.bootstrap_servers,
        "PGHOST": postgres["host"],
        "PGPORT": str(postgres["port"]),
        "PGUSER": postgres["user"],
        "PGPASSWORD": postgres["password"],
        "PGDATABASE": postgres["dbname"],
    }
