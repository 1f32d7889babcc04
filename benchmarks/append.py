"""Append: rows per second of kafka-pg load beside what bounds it, all in one run.

One broker and one PostgreSQL on this machine, one topic of records
``{"id", "category", "value", "ts"}``. Every contender runs in a process of its own.
"""

import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import psycopg2
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as ConfluentPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console
from rich.progress import track
from rich.table import Table

from kafka_pg_pipeline.local.stack import LocalEndpoints, LocalStack

TOPIC = "bench.append"
NAIVE_RECORDS = 50_000
MEBIBYTE = 1024 * 1024


def record(number: int) -> bytes:
    value = f"{number % 1000}.{number % 97:02d}"
    return (
        f'{{"id":{number},"category":"category-{number % 17}","value":{value},'
        f'"ts":"2026-01-01T{number % 24:02d}:{number % 60:02d}:00Z"}}'
    ).encode()


def fill(
    bootstrap_servers: str,
    records: int,
    partitions: int,
    topic: str = TOPIC,
    make: Callable[[int], bytes] = record,
) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "compression.type": "snappy",
            "linger.ms": 50,
            "queue.buffering.max.messages": 500_000,
        }
    )
    for number in track(range(records), description=f"filling {topic}", transient=True):
        while True:
            try:
                producer.produce(topic, make(number), partition=number % partitions)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 10_000 == 0:
            producer.poll(0)
    if producer.flush(120):
        raise click.ClickException("the broker did not acknowledge all records")


# -- contenders: each prints {"rows": …, "seconds": …} on its last line ---------------------------


def read_only(bootstrap_servers: str, records: int, partitions: int) -> tuple[int, float]:
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        enable_incremental_fetch_sessions=False,
        max_poll_records=5_000,
        fetch_max_bytes=8 * MEBIBYTE,
    )
    names = [TopicPartition(TOPIC, number) for number in range(partitions)]
    consumer.assign(names)
    for name in names:
        consumer.seek(name, 0)
    count, started = 0, time.monotonic()
    while count < records:
        count += sum(map(len, consumer.poll(timeout_ms=1_000).values()))
    seconds = time.monotonic() - started
    consumer.close()
    return count, seconds


def read_only_confluent(bootstrap_servers: str, records: int, partitions: int) -> tuple[int, float]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "bench",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 10,
        }
    )
    consumer.assign([ConfluentPartition(TOPIC, number, 0) for number in range(partitions)])
    count, started = 0, time.monotonic()
    while count < records:
        for message in consumer.consume(5_000, 1.0):
            count += message.value() is not None
    seconds = time.monotonic() - started
    consumer.close()
    return count, seconds


def copy_only(dsn: dict[str, Any], records: int) -> tuple[int, float]:
    lines = "".join(
        f"{n}\tcategory-{n % 17}\t{n % 1000}.{n % 97:02d}\t2026-01-01T00:00:00Z\n"
        for n in range(records)
    ).encode()
    connection = psycopg2.connect(**dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE bench_copy (id bigint, category text, value float8, ts timestamptz)"
        )
    started = time.monotonic()
    with connection, connection.cursor() as cursor:
        cursor.copy_expert("COPY bench_copy FROM STDIN", io.BytesIO(lines), size=1 << 18)
    return records, time.monotonic() - started


def naive_inserts(
    bootstrap_servers: str, dsn: dict[str, Any], partitions: int
) -> tuple[int, float]:
    connection = psycopg2.connect(**dsn)
    cursor = connection.cursor()
    cursor.execute(
        "CREATE TABLE bench_naive (id bigint, category text, value float8, ts timestamptz)"
    )
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", group_id=None
    )
    names = [TopicPartition(TOPIC, number) for number in range(partitions)]
    consumer.assign(names)
    consumer.seek_to_beginning(*names)
    count, started = 0, time.monotonic()
    while count < NAIVE_RECORDS:
        for batch in consumer.poll(timeout_ms=1_000).values():
            for message in batch:
                row = json.loads(message.value)
                cursor.execute(
                    "INSERT INTO bench_naive VALUES (%s, %s, %s, %s)",
                    (row["id"], row["category"], row["value"], row["ts"]),
                )
                count += 1
            connection.commit()
    seconds = time.monotonic() - started
    consumer.close()
    return count, seconds


def load(environment: dict[str, str], number: int, reader: str) -> tuple[int, float, int]:
    """``kafka-pg load`` of a new stream; rows, the loader's seconds, peak memory in bytes."""
    name = f"bench_{reader.replace('-', '_')}_{number}"
    configuration = Path(environment["KAFKA_PG_HOME"]) / f"{name}.yaml"
    configuration.write_text(
        f"kafka: {{reader: {reader}}}\n"
        f"streams:\n  {name}:\n    topic: {TOPIC}\n    table: public.{name}\n"
        "    metadata: [partition, offset]\n"
    )
    command = [sys.executable, "-m", "kafka_pg_pipeline", "load", "--json", "-c", configuration]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    peak = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024
    report = json.loads(done.stdout)
    streams = report.get("streams", [report])
    return streams[0]["rows"], streams[0]["seconds"], peak


READERS = {"load": "kafka-python", "load-fast": "confluent"}
CONTENDERS = ("load", "read", "load-fast", "read-fast", "copy", "naive")
RATIOS = (
    ("load", "read"),
    ("load-fast", "read-fast"),
    ("load-fast", "load"),
    ("load", "copy"),
    ("load", "naive"),
)


def measure(
    name: str, arguments: list[str], rounds: int, script: str = __file__
) -> tuple[int, float, int]:
    """Median seconds over rounds, each in a process of its own; rows and highest peak memory."""
    results = []
    for number in range(rounds):
        command = [sys.executable, script, "--contender", name, "--round", str(number)]
        done = subprocess.run([*command, *arguments], stdout=subprocess.PIPE, check=True, text=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
    seconds = statistics.median(result["seconds"] for result in results)
    return results[0]["rows"], seconds, max(result["peak"] for result in results)


def run_contender(
    name: str, number: int, endpoints: LocalEndpoints, records: int, partitions: int
) -> dict[str, float]:
    dsn = {
        "host": endpoints.host,
        "port": endpoints.port,
        "user": endpoints.user,
        "password": endpoints.password,
        "dbname": endpoints.dbname,
    }
    servers = endpoints.bootstrap_servers
    environment = {**endpoints.environment(), "KAFKA_PG_HOME": os.environ["KAFKA_PG_HOME"]}
    if name in READERS:
        rows, seconds, peak = load(environment, number, READERS[name])
        return {"rows": rows, "seconds": seconds, "peak": peak}
    plain: dict[str, Callable[[], tuple[int, float]]] = {
        "read": lambda: read_only(servers, records, partitions),
        "read-fast": lambda: read_only_confluent(servers, records, partitions),
        "copy": lambda: copy_only(dsn, records),
        "naive": lambda: naive_inserts(servers, dsn, partitions),
    }
    rows, seconds = plain[name]()
    for table in ("bench_copy", "bench_naive"):
        connection = psycopg2.connect(**dsn)
        with connection, connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {table}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rows": rows, "seconds": seconds, "peak": peak}


@click.command()
@click.option("--records", default=1_000_000, show_default=True)
@click.option("--partitions", default=16, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--only", multiple=True, type=click.Choice(CONTENDERS))
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
@click.option("--contender", hidden=True)
@click.option("--round", "number", default=0, hidden=True)
def main(
    records: int,
    partitions: int,
    rounds: int,
    only: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
    contender: str | None,
    number: int,
) -> None:
    """Rows per second of kafka-pg load (append) beside what bounds it."""
    if contender:
        endpoints = LocalStack().endpoints()
        print(json.dumps(run_contender(contender, number, endpoints, records, partitions)))
        return
    console = Console(stderr=as_json)
    with tempfile.TemporaryDirectory(prefix="kafka_pg_bench_") as home:
        os.environ["KAFKA_PG_HOME"] = home
        stack = LocalStack(die_with_parent=True)
        endpoints = stack.up()
        try:
            fill(endpoints.bootstrap_servers, records, partitions)
            arguments = ["--records", str(records), "--partitions", str(partitions)]
            results = {name: measure(name, arguments, rounds) for name in only or CONTENDERS}
        finally:
            stack.down()
    show(console, results, records, partitions, rounds)
    if as_json:
        print(
            json.dumps(
                {
                    name: dict(zip(("rows", "seconds", "peak_bytes"), result, strict=True))
                    for name, result in results.items()
                }
            )
        )


def show(
    console: Console,
    results: dict[str, tuple[int, float, int]],
    records: int,
    partitions: int,
    rounds: int,
) -> None:
    titles = {
        "load": "kafka-pg load, append, kafka-python",
        "read": "kafka-python, reading alone",
        "load-fast": "kafka-pg load, append, confluent",
        "read-fast": "confluent-kafka, reading alone",
        "copy": "COPY alone, text made before",
        "naive": f"naive INSERT loop, {NAIVE_RECORDS:,} records",
    }
    table = Table("what", "rows", "seconds", "rows/s", "peak memory")
    for name, (rows, seconds, peak) in results.items():
        rate = f"{rows / seconds:,.0f}"
        table.add_row(
            titles[name], f"{rows:,}", f"{seconds:.2f}", rate, f"{peak / MEBIBYTE:,.0f} MiB"
        )
    console.print(
        f"{records:,} records, {partitions} partitions, snappy; median of {rounds}; "
        f"{os.cpu_count()} cores, Python {platform.python_version()}"
    )
    console.print(table)
    speed = {name: rows / seconds for name, (rows, seconds, _) in results.items()}
    for ours, other in RATIOS:
        if ours in speed and other in speed:
            console.print(f"{ours} / {other}: {speed[ours] / speed[other]:.2f}")


if __name__ == "__main__":
    main()
