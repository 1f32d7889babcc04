"""Latency: from a record's timestamp to its committed row, under ``kafka-pg load --until forever``.

A steady producer, then silence. What counts as committed is the ledger's own time of each batch.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import psutil
import psycopg2
from confluent_kafka import Producer
from results import MEBIBYTE, describe_machine, save
from rich.console import Console
from rich.table import Table
from shapes import narrow
from stage import fill

from kafka_pg_pipeline.local.stack import LocalStack

TOPIC = "bench.latency"
READERS = ("kafka-python", "confluent")
# The shares of all records whose latency is kept, for the curve.
SHARES = [*(number / 200 for number in range(1, 200)), 0.999, 1.0]
NAMED = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
WARM_UP_SECONDS = 5.0
LATENCIES = """
SELECT percentile_cont(%s::double precision[]) WITHIN GROUP (ORDER BY extract(
           epoch FROM line.committed_at - landed.kafka_timestamp)::double precision),
       count(*)
FROM public.latency AS landed
JOIN kafka_pg.ledger AS line
    ON line.partition = landed.kafka_partition
   AND landed.kafka_offset >= line.start_offset AND landed.kafka_offset < line.next_offset
WHERE landed.kafka_timestamp >= to_timestamp(%s)
"""
COMMITS = (
    "SELECT count(DISTINCT batch_id) FROM kafka_pg.ledger WHERE committed_at >= to_timestamp(%s)"
)


def produce(servers: str, rate: int, seconds: float, partitions: int) -> int:
    """Produce at a steady rate, in slices of 10 ms; returns how many."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "acks": "all"})
    started, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - started) < seconds:
        for _ in range(int(rate * elapsed) - sent):
            producer.produce(TOPIC, narrow(sent), partition=sent % partitions)
            sent += 1
        producer.poll(0)
        time.sleep(0.01)
    producer.flush(60)
    return sent


def watch_cpu(process: psutil.Process, seconds: float) -> float:
    """Share of one core that a process takes."""
    process.cpu_percent()
    time.sleep(seconds)
    return process.cpu_percent()


def measure(
    stack: LocalStack, rate: int, seconds: float, partitions: int, reader: str, idle: float
) -> dict[str, Any]:
    endpoints = stack.endpoints()
    fill(endpoints.bootstrap_servers, 1, partitions, TOPIC, narrow)
    configuration = Path(os.environ["KAFKA_PG_HOME"]) / "latency.yaml"
    configuration.write_text(
        f"kafka: {{reader: {reader}}}\n"
        f"streams:\n  latency:\n    topic: {TOPIC}\n    table: public.latency\n"
        "    metadata: [partition, offset, timestamp]\n"
    )
    command = [sys.executable, "-m", "kafka_pg_pipeline", "load", "--until", "forever", "--json"]
    loader = subprocess.Popen(
        [*command, "-c", str(configuration)],
        env={**os.environ, **endpoints.environment()},
        stdout=subprocess.DEVNULL,
    )
    connection = psycopg2.connect(
        host=endpoints.host,
        port=endpoints.port,
        user=endpoints.user,
        password=endpoints.password,
        dbname=endpoints.dbname,
    )
    connection.autocommit = True
    cursor = connection.cursor()
    try:
        time.sleep(WARM_UP_SECONDS)
        process = psutil.Process(loader.pid)
        started = time.time()
        cpu: list[float] = []
        watching = threading.Thread(target=lambda: cpu.append(watch_cpu(process, seconds)))
        watching.start()
        sent = produce(endpoints.bootstrap_servers, rate, seconds, partitions)
        watching.join()
        time.sleep(3)
        cursor.execute(LATENCIES, [SHARES, started])
        quantiles, rows = cursor.fetchone()
        cursor.execute(COMMITS, [started])
        commits = cursor.fetchone()[0]
        quiet = time.time()
        idle_cpu = watch_cpu(process, idle)
        cursor.execute(COMMITS, [quiet])
        idle_commits = cursor.fetchone()[0]
        memory = process.memory_info().rss
        cursor.execute("SHOW server_version")
        postgres = cursor.fetchone()[0].split()[0]
    finally:
        loader.send_signal(signal.SIGTERM)
        code = loader.wait(30)
        connection.close()
    found = dict(zip(SHARES, quantiles, strict=True))
    return {
        "title": f"kafka-pg load, {reader}",
        "sent": sent,
        "rows": rows,
        **{name: found[share] for name, share in NAMED.items()},
        "commits_per_second": commits / seconds,
        "cpu_percent": cpu[0],
        "idle_commits": idle_commits,
        "idle_cpu_percent": idle_cpu,
        "memory_mib": memory // MEBIBYTE,
        "exit_code": code,
        "seconds_by_share": [[share, round(value, 4)] for share, value in found.items()],
        "machine": describe_machine(str(stack.kafka.version), postgres),
    }


@click.command()
@click.option("--rate", default=10_000, show_default=True, help="records a second")
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--idle", default=20.0, show_default=True, help="seconds of silence afterwards")
@click.option("--partitions", default=16, show_default=True)
@click.option("--reader", "readers", multiple=True, default=READERS, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
@click.option(
    "--save", "keep", is_flag=True, help="keep it as benchmarks/results/DATE-latency.json"
)
def main(
    rate: int,
    seconds: float,
    idle: float,
    partitions: int,
    readers: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
    keep: bool,  # noqa: FBT001
) -> None:
    """Seconds from a record's timestamp to its committed row, at a steady rate."""
    rows = []
    for reader in readers:
        with tempfile.TemporaryDirectory(prefix="kafka_pg_bench_") as home:
            os.environ["KAFKA_PG_HOME"] = home
            stack = LocalStack(die_with_parent=True)
            stack.up()
            try:
                rows.append(measure(stack, rate, seconds, partitions, reader, idle))
            finally:
                stack.down()
    machines = [row.pop("machine") for row in rows]
    date = datetime.now(timezone.utc).date().isoformat()
    result = {"case": "latency", "date": date, "machine": machines[0], "rate": rate, "rows": rows}
    if as_json:
        print(json.dumps(result))
    else:
        show(rows, f"{rate:,} records/s for {seconds:.0f} s")
    if keep:
        print(f"kept as {save(result)}")


def show(rows: list[dict[str, Any]], title: str) -> None:
    table = Table("what", *(row["title"] for row in rows), title=title)
    for name in [name for name in rows[0] if name not in ("title", "seconds_by_share")]:
        values = [row[name] for row in rows]
        table.add_row(name, *(f"{v:,.3f}" if isinstance(v, float) else f"{v:,}" for v in values))
    Console().print(table)


if __name__ == "__main__":
    main()
