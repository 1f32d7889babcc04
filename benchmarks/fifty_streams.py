"""Many streams under ``kafka-pg dev``: latency, runs a minute, CPU, memory and storage.

Some topics are busy, some quiet. Each record says when it was made, and the ledger says when its
batch was committed: what lies between is a record's way from producer to row. The sensor and the
daemon are those of ``kafka-pg dev``, with Dagster's storage in SQLite.
"""

import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import dagster as dg
import psutil
import psycopg2
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from kafka_pg_pipeline.cli.local_servers import read_dagster_yaml
from kafka_pg_pipeline.local.endpoints import LocalEndpoints
from kafka_pg_pipeline.local.ports import pick_free
from kafka_pg_pipeline.local.stack import LocalStack

# Seconds between two records of a topic: a fifth is busy, and half are quiet.
KINDS = {"busy": 0.02, "usual": 1.0, "quiet": 20.0}
SHARES = ("busy", "quiet", "usual", "quiet", "quiet", "usual", "busy", "quiet", "usual", "quiet")
PARTITIONS = (1, 1, 1, 1, 1, 1, 1, 1, 2, 3)
DAY = 86_400.0
LATENCIES = """
SELECT extract(epoch FROM ledger.committed_at) * 1000 - record.sent
FROM {table} AS record
JOIN kafka_pg.ledger AS ledger
  ON ledger.stream = %(stream)s AND ledger.partition = record.kafka_partition
 AND record.kafka_offset >= ledger.start_offset AND record.kafka_offset < ledger.next_offset
WHERE record.sent >= %(since)s
"""


@dataclass(frozen=True)
class Stream:
    """One stream and how often its topic gets a record."""

    name: str
    kind: str
    partitions: int

    @property
    def topic(self) -> str:
        return f"bench.{self.name}"


@dataclass
class Usage:
    """CPU seconds and the largest memory of Dagster's processes, by what they are."""

    cpu: Counter[str] = field(default_factory=Counter)
    memory: Counter[str] = field(default_factory=Counter)


def make_streams(number: int) -> list[Stream]:
    return [
        Stream(
            f"s{index:02d}",
            SHARES[index % len(SHARES)],
            PARTITIONS[index % len(PARTITIONS)],
        )
        for index in range(number)
    ]


def write_configuration(streams: list[Stream], path: Path) -> None:
    sections = [
        f"  {stream.name}:\n    topic: {stream.topic}\n    table: public.{stream.name}\n"
        "    columns: {id: bigint, sent: bigint}\n    metadata: [partition, offset]\n"
        for stream in streams
    ]
    path.write_text("streams:\n" + "".join(sections))


def create_topics(streams: list[Stream], bootstrap_servers: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    topics = [NewTopic(stream.topic, stream.partitions, 1) for stream in streams]
    for future in admin.create_topics(topics).values():
        future.result(30)


def produce(
    streams: list[Stream], bootstrap_servers: str, stop: threading.Event, made: Counter[str]
) -> None:
    """Records at each topic's own pace, a little irregular, until the stop."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 5})
    due = {stream: time.time() + random.random() * KINDS[stream.kind] for stream in streams}
    while not stop.is_set():
        now = time.time()
        for stream, moment in due.items():
            if moment <= now:
                value = {"id": made[stream.name], "sent": int(time.time() * 1000)}
                producer.produce(stream.topic, json.dumps(value).encode())
                made[stream.name] += 1
                due[stream] = moment + random.uniform(0.5, 1.5) * KINDS[stream.kind]
        producer.poll(0)
        stop.wait(0.005)
    producer.flush(30)


def kind_of(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    for word, kind in (
        ("spawn_main", "runs"),
        ("grpc", "code server"),
        ("dagster_webserver", "webserver"),
        ("daemon", "daemon"),
    ):
        if word in words:
            return kind
    return "other"


def watch(process: psutil.Process, stop: threading.Event, usage: Usage) -> None:
    """Add up what the processes use; a run lives for a few seconds only."""
    last: dict[int, tuple[str, float]] = {}
    while not stop.wait(0.25):
        memory: Counter[str] = Counter()
        for child in process.children(recursive=True):
            try:
                kind, times = kind_of(child), child.cpu_times()
                memory[kind] += child.memory_info().rss
            except psutil.Error:
                continue
            spent = times.user + times.system
            before = last.get(child.pid, (kind, 0.0))[1]
            usage.cpu[kind] += max(0.0, spent - before)
            last[child.pid] = (kind, spent)
        for kind, rss in memory.items():
            usage.memory[kind] = max(usage.memory[kind], rss)


@contextmanager
def dagster_dev(configuration: Path, home: Path) -> Iterator[psutil.Process]:
    command = [sys.executable, "-m", "kafka_pg_pipeline", "dev", "-c", str(configuration)]
    environment = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONWARNINGS": "ignore"}
    with (home / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-p", str(pick_free())], env=environment, stdout=log, stderr=log
        )
        try:
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def wait_for_first_run(instance: dg.DagsterInstance) -> None:
    deadline = time.monotonic() + 120
    while instance.get_runs_count() == 0:
        if time.monotonic() > deadline:
            raise TimeoutError("Dagster started no run for two minutes")
        time.sleep(0.5)


def percentiles(values: list[float]) -> tuple[float, float, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[94], max(values)


@dataclass(frozen=True)
class Outcome:
    """What was measured."""

    made: int
    rows: int
    latencies: dict[str, list[float]]
    runs: Counter[str]
    ticks: list[float]
    dagster_bytes: int
    ledger_bytes: int
    failed: int
    usage: Usage


def read_ticks(instance: dg.DagsterInstance, since: float) -> list[float]:
    """Seconds that each tick of the sensor took."""
    [state] = [s for s in instance.all_instigator_state() if s.name == "new_offsets_sensor"]
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since)
    return [tick.end_timestamp - tick.timestamp for tick in ticks if tick.end_timestamp]


def read_outcome(
    streams: list[Stream],
    connection: psycopg2.extensions.connection,
    instance: dg.DagsterInstance,
    *,
    since: float,
    made: Counter[str],
    grown: Callable[[], int],
    usage: Usage,
) -> Outcome:
    latencies: dict[str, list[float]] = {kind: [] for kind in KINDS}
    rows = 0
    with connection, connection.cursor() as cursor:
        for stream in streams:
            table = f"public.{stream.name}"
            cursor.execute(f"SELECT count(*), count(DISTINCT id) FROM {table}")
            number, distinct = cursor.fetchone() or (0, 0)
            if number != distinct:
                raise AssertionError(f"{stream.name}: {number} rows of {distinct} records")
            rows += number
            arguments = {"stream": stream.name, "since": int(since * 1000)}
            cursor.execute(LATENCIES.format(table=table), arguments)
            latencies[stream.kind] += [float(row[0]) / 1000 for row in cursor.fetchall()]
        cursor.execute(
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'kafka_pg' AND c.relkind = 'r'"
        )
        ledger_bytes = int((cursor.fetchone() or (0,))[0])
    runs = instance.get_runs()
    return Outcome(
        made=made.total(),
        rows=rows,
        latencies=latencies,
        runs=Counter(run.job_name.split("_")[0] for run in runs),
        ticks=read_ticks(instance, since),
        dagster_bytes=grown(),
        ledger_bytes=ledger_bytes,
        failed=sum(run.status is dg.DagsterRunStatus.FAILURE for run in runs),
        usage=usage,
    )


def wait_until_landed(
    streams: list[Stream], connection: psycopg2.extensions.connection, made: int
) -> None:
    query = " + ".join(f"(SELECT count(*) FROM public.{stream.name})" for stream in streams)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT {query}")
            if (cursor.fetchone() or (0,))[0] == made:
                return
        time.sleep(1)


def connect(endpoints: LocalEndpoints) -> psycopg2.extensions.connection:
    return psycopg2.connect(
        host=endpoints.host,
        port=endpoints.port,
        user=endpoints.user,
        password=endpoints.password,
        dbname=endpoints.dbname,
    )


def run(streams: list[Stream], minutes: float, endpoints: LocalEndpoints, home: Path) -> Outcome:
    configuration = home / "pipeline.yaml"
    write_configuration(streams, configuration)
    create_topics(streams, endpoints.bootstrap_servers)
    os.environ.update(endpoints.environment())
    dagster_home = home / "dagster"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").write_bytes(read_dagster_yaml())
    made: Counter[str] = Counter()
    usage = Usage()
    enough, over = threading.Event(), threading.Event()
    producer = threading.Thread(
        target=produce, args=(streams, endpoints.bootstrap_servers, enough, made)
    )
    with dagster_dev(configuration, dagster_home) as process:
        producer.start()
        with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
            wait_for_first_run(instance)
            time.sleep(30)  # the first runs create the tables, and find a backlog
            since, before = time.time(), size_of(dagster_home)
            watcher = threading.Thread(target=watch, args=(process, over, usage))
            watcher.start()
            time.sleep(minutes * 60)
            over.set()
            enough.set()
            after = size_of(dagster_home)
            watcher.join()
            producer.join()
            connection = connect(endpoints)
            wait_until_landed(streams, connection, made.total())
            return read_outcome(
                streams,
                connection,
                instance,
                since=since,
                made=made,
                grown=lambda: after - before,
                usage=usage,
            )


@click.command()
@click.option("--streams", "number", default=50, show_default=True)
@click.option("--minutes", default=10.0, show_default=True)
def main(number: int, minutes: float) -> None:
    """Fifty streams, quiet and busy, under kafka-pg dev."""
    with tempfile.TemporaryDirectory(prefix="kafka_pg_bench_") as folder:
        home = Path(folder)
        os.environ["KAFKA_PG_HOME"] = str(home / "local")
        stack = LocalStack(die_with_parent=True)
        endpoints = stack.up()
        try:
            streams = make_streams(number)
            outcome = run(streams, minutes, endpoints, home)
        finally:
            stack.down()
    show(Console(), streams, minutes, outcome)
    if outcome.rows != outcome.made:
        raise SystemExit(f"{outcome.made} records were made, {outcome.rows} rows are there")


def show(console: Console, streams: list[Stream], minutes: float, outcome: Outcome) -> None:
    kinds = Counter(stream.kind for stream in streams)
    console.print(
        f"{len(streams)} streams, {sum(s.partitions for s in streams)} partitions, "
        f"{minutes:g} minutes; {outcome.made:,} records made, {outcome.rows:,} rows; "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, Dagster {dg.__version__}"
    )
    latency = Table("topics", "number", "a record every", "p50", "p95", "most", title="latency")
    everything = [value for values in outcome.latencies.values() for value in values]
    for kind, values in (*outcome.latencies.items(), ("all", everything)):
        p50, p95, most = percentiles(values)
        pace = f"{KINDS[kind]:g} s" if kind in KINDS else ""
        count = str(kinds[kind]) if kind in KINDS else str(len(streams))
        latency.add_row(kind, count, pace, f"{p50:.1f} s", f"{p95:.1f} s", f"{most:.1f} s")
    console.print(latency)
    seconds = minutes * 60
    use = Table("processes", "CPU, of one core", "memory, at most", title="Dagster")
    for kind, spent in outcome.usage.cpu.most_common():
        use.add_row(
            kind, f"{spent / seconds:.0%}", f"{outcome.usage.memory[kind] / 2**20:,.0f} MiB"
        )
    console.print(use)
    p50, p95, most = percentiles(outcome.ticks)
    total = outcome.runs.total()
    console.print(
        f"ticks of the sensor: {len(outcome.ticks)}, p50 {p50:.2f} s, p95 {p95:.2f} s, "
        f"most {most:.2f} s\n"
        f"runs: {total} ({dict(outcome.runs)}), {total / (minutes + 0.5):.1f} a minute, "
        f"{outcome.failed} failed\n"
        f"storage: Dagster {outcome.dagster_bytes * DAY / seconds / 2**20:,.0f} MiB a day, "
        f"ledger and positions {outcome.ledger_bytes * DAY / seconds / 2**20:,.0f} MiB a day"
    )


if __name__ == "__main__":
    main()
