"""Lanes: seconds of ``kafka-pg load`` in one lane, in several, and in as many as it chooses.

One broker and one PostgreSQL on this machine; each load is of a stream of its own, into a new
table, in turns. The seconds are those of the whole command, its start included; in brackets the CPU
time of all its processes together.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from kafka_pg_pipeline.local.stack import LocalStack


def fill(bootstrap_servers: str, topic: str, records: int, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    producer = Producer(
        {"bootstrap.servers": bootstrap_servers, "compression.type": "snappy", "linger.ms": 50}
    )
    for number in range(records):
        value = {"id": number, "category": f"category-{number % 17}", "value": number % 1000 / 8}
        while True:
            try:
                producer.produce(topic, json.dumps(value), partition=number % partitions)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(120):
        raise click.ClickException("the broker did not acknowledge all records")


class Loads:
    """Loads of fresh streams, one after the other."""

    def __init__(self, environment: dict[str, str], home: Path, reader: str) -> None:
        self._environment = {**os.environ, **environment, "KAFKA_PG_HOME": str(home)}
        self._home = home
        self._reader = reader
        self._number = 0

    def run(self, topic: str, lanes: str, records: int) -> tuple[float, float]:
        self._number += 1
        name = f"lanes_{self._number}"
        file = self._home / f"{name}.yaml"
        stream = {"topic": topic, "table": f"public.{name}", "metadata": ["partition", "offset"]}
        file.write_text(json.dumps({"kafka": {"reader": self._reader}, "streams": {name: stream}}))
        options = ["load", "--json", "--lanes", lanes, "-c", str(file)]
        started, used = time.monotonic(), count_cpu_seconds()
        done = subprocess.run(
            [sys.executable, "-m", "kafka_pg_pipeline", *options],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
            text=True,
        )
        seconds, used = time.monotonic() - started, count_cpu_seconds() - used
        report: dict[str, Any] = json.loads(done.stdout)["streams"][0]
        if report["rows"] != records:
            raise click.ClickException(f"{report['rows']} rows of {records} records")
        return seconds, used


def count_cpu_seconds() -> float:
    """Of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@click.command()
@click.option("--backlog", multiple=True, type=int, default=[1_000, 100_000, 1_000_000])
@click.option("--partitions", default=16, show_default=True)
@click.option("--lanes", multiple=True, default=["1", "2", "auto"], show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--reader", default="kafka-python", show_default=True)
def main(
    backlog: tuple[int, ...], partitions: int, lanes: tuple[str, ...], rounds: int, reader: str
) -> None:
    """Seconds of kafka-pg load by lanes and backlog."""
    table = Table("backlog", *(f"lanes {number}" for number in lanes), "of the first")
    with tempfile.TemporaryDirectory(prefix="kafka_pg_bench_") as home:
        os.environ["KAFKA_PG_HOME"] = home
        stack = LocalStack(die_with_parent=True)
        endpoints = stack.up()
        try:
            loads = Loads(endpoints.environment(), Path(home), reader)
            for records in backlog:
                topic = f"bench.lanes.{records}"
                fill(endpoints.bootstrap_servers, topic, records, partitions)
                found: dict[str, list[tuple[float, float]]] = {number: [] for number in lanes}
                for turn in range(rounds):
                    for number in lanes if turn % 2 == 0 else reversed(lanes):
                        found[number].append(loads.run(topic, number, records))
                medians = [
                    tuple(map(statistics.median, zip(*found[number], strict=True)))
                    for number in lanes
                ]
                ratios = ", ".join(f"{m[0] / medians[0][0]:.2f}" for m in medians[1:])
                cells = (f"{seconds:.2f} s ({used:.2f})" for seconds, used in medians)
                table.add_row(f"{records:,}", *cells, ratios)
        finally:
            stack.down()
    Console().print(
        f"{reader}, {partitions} partitions, {os.cpu_count()} cores, medians of {rounds}", table
    )


if __name__ == "__main__":
    main()
