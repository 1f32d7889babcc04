"""The stage that all contenders share: one broker, one PostgreSQL, the topics and the tables."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psycopg2
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from rich.progress import track
from shapes import AVRO_SCHEMA, SHAPES

from kafka_pg_pipeline.local.stack import LocalStack

DISTANCE = Path(__file__).with_name("distance.py")
POLL_SECONDS = 0.1
# PostgreSQL's statistics are up to a second late; where they rest for longer, rows are counted.
STILL_SECONDS = 2.0
STALL_SECONDS = 60.0
FEW_REPLIES = 15


@dataclass(frozen=True)
class Task:
    """One row of the result: who loads what, and how."""

    contender: str
    records: int
    partitions: int = 16
    shape: str = "narrow"
    mode: str = "append"
    delay_ms: float | None = None


@dataclass(frozen=True)
class Order:
    """What a contender is told: where the records are, and the empty table that wants them."""

    serial: int
    bootstrap_servers: str
    topic: str
    partitions: int
    records: int
    postgres: dict[str, Any]
    table: str
    shape: str
    mode: str
    columns: list[tuple[str, str]]
    avro_schema: dict[str, Any]


@dataclass(frozen=True)
class Landed:
    """What is in the table, and when it was committed (seconds since the epoch)."""

    rows: int
    first_commit: float
    last_commit: float
    rows_of_first_commit: int


class WrongResultError(click.ClickException):
    """A contender's table does not hold each record once."""


def fill(
    bootstrap_servers: str, records: int, partitions: int, topic: str, make: Callable[[int], bytes]
) -> None:
    """Create a topic with so many records, evenly in its partitions."""
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


class Stage:
    """The servers, and what is done on them before and after a contender's turn."""

    def __init__(self, stack: LocalStack, tools: contextlib.ExitStack) -> None:
        self.home = stack.home
        self.endpoints = stack.endpoints()
        self.kafka_version = str(stack.kafka.version)
        self.round_trips_ms: dict[str, float] = {}
        self._tools = tools
        self._topics: set[str] = set()
        self._lent: dict[str, Any] = {}
        self._ports: dict[float, int] = {}
        self._serial = 0
        self._connection = psycopg2.connect(**self._postgres(None))
        self._connection.autocommit = True

    def lend(self, name: str, make: Callable[[], contextlib.AbstractContextManager[Any]]) -> Any:
        """Something that is started for the first who asks, and ends with the stage."""
        if name not in self._lent:
            self._lent[name] = self._tools.enter_context(make())
        return self._lent[name]

    def prepare(self, task: Task, definition: str, most_records: int | None = None) -> Order:
        """Topic and table of a task; the topic has all records, however few are wanted."""
        shape = SHAPES[task.shape]
        topic = f"bench.{task.shape}.{task.records}.{task.partitions}"
        if topic not in self._topics:
            servers = self.endpoints.bootstrap_servers
            fill(servers, task.records, task.partitions, topic, shape.make)
            self._topics.add(topic)
        self._serial += 1
        order = Order(
            serial=self._serial,
            bootstrap_servers=self.endpoints.bootstrap_servers,
            topic=topic,
            partitions=task.partitions,
            records=min(task.records, most_records or task.records),
            postgres=self._postgres(task.delay_ms),
            table=f"bench_{self._serial}",
            shape=task.shape,
            mode=task.mode,
            columns=[(column.name, column.type) for column in shape.columns],
            avro_schema=AVRO_SCHEMA,
        )
        self._create_table(order, definition)
        return order

    def count_hint(self, table: str) -> int:
        """Rows inserted as PostgreSQL's statistics tell it: cheap, and up to a second late."""
        ((rows,),) = self.query(
            "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = %s", table
        )
        return int(rows)

    def wait_until_full(self, order: Order, check_alive: Callable[[], None]) -> None:
        """Until the table holds every record; for contenders that do not end by themselves.

        Raises:
            WrongResultError: No row came for a minute, and some are missing.
        """
        before, moved, counted = -1, time.monotonic(), time.monotonic()
        while True:
            check_alive()
            now, seen = time.monotonic(), self.count_hint(order.table)
            if seen != before:
                before, moved = seen, now
            if seen >= order.records or now - max(moved, counted) > STILL_SECONDS:
                counted = now
                if (rows := self.count(order.table)) >= order.records:
                    return
                if now - moved > STALL_SECONDS:
                    raise WrongResultError(
                        f"no row came for {STALL_SECONDS:.0f} s: {order.table} has {rows:,} rows "
                        f"of {order.records:,} records"
                    )
            time.sleep(POLL_SECONDS)

    def count(self, table: str) -> int:
        ((rows,),) = self.query(f'SELECT count(*) FROM "{table}"')
        return int(rows)

    def inspect(self, order: Order, contender: str) -> Landed:
        """What landed.

        Raises:
            WrongResultError: The rows are not the records, each of them once.
        """
        ((rows, distinct, total),) = self.query(
            f'SELECT count(*), count(DISTINCT id), coalesce(sum(id), 0) FROM "{order.table}"'
        )
        wanted = order.records
        # Who takes fewer takes any: only their number is known.
        is_whole = order.topic.split(".")[2] == str(wanted)
        if rows != wanted or distinct != wanted:
            raise WrongResultError(
                f"{contender}: {rows:,} rows with {distinct:,} different ids of {wanted:,} records"
            )
        if is_whole and total != wanted * (wanted - 1) // 2:
            raise WrongResultError(f"{contender}: {rows:,} rows, but not those of the topic")
        commits = self.query(
            "SELECT extract(epoch FROM moment)::float8, sum(rows)::bigint FROM (SELECT"
            " pg_xact_commit_timestamp(xmin) AS moment, count(*) AS rows"
            f' FROM "{order.table}" GROUP BY xmin) AS commits GROUP BY 1 ORDER BY 1'
        )
        return Landed(rows, commits[0][0], commits[-1][0], commits[0][1])

    def clear(self, order: Order) -> None:
        """Drop what the task made in PostgreSQL."""
        self.execute(
            f'DROP TABLE IF EXISTS "{order.table}"',
            f'DROP SCHEMA IF EXISTS "{order.table}_state" CASCADE',
            f'DROP SCHEMA IF EXISTS "{order.table}_staging" CASCADE',
        )

    def execute(self, *statements: str) -> None:
        with self._connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def fetch_postgres_version(self) -> str:
        ((version,),) = self.query("SHOW server_version")
        return str(version).split()[0]

    def close(self) -> None:
        self._connection.close()

    # -- steps -------------------------------------------------------------------------------

    def _create_table(self, order: Order, definition: str) -> None:
        self.execute(f'CREATE TABLE "{order.table}" ({definition})')
        if order.mode == "upsert-existing":
            self.execute(
                f'INSERT INTO "{order.table}" (id) SELECT generate_series(0, {order.records - 1})'
            )
        self.execute(f'ANALYZE "{order.table}"', "CHECKPOINT")

    def _postgres(self, delay_ms: float | None) -> dict[str, Any]:
        """Where PostgreSQL is, at a distance or, for None, without anything between."""
        here = self.endpoints
        if delay_ms is not None and delay_ms not in self._ports:
            self._ports[delay_ms] = self._open_distance(delay_ms)
            self._measure_round_trip(delay_ms)
        return {
            "host": here.host,
            "port": here.port if delay_ms is None else self._ports[delay_ms],
            "user": here.user,
            "password": here.password,
            "dbname": here.dbname,
        }

    def _open_distance(self, delay_ms: float) -> int:
        here = self.endpoints
        process = self._tools.enter_context(
            subprocess.Popen(
                [sys.executable, str(DISTANCE), here.host, str(here.port), str(delay_ms)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert process.stdout is not None
        return int(process.stdout.readline())

    def _measure_round_trip(self, delay_ms: float) -> None:
        connection = psycopg2.connect(**self._postgres(delay_ms))
        times = []
        with contextlib.closing(connection), connection.cursor() as cursor:
            for _ in range(FEW_REPLIES):
                started = time.monotonic()
                cursor.execute("SELECT 1")
                times.append(time.monotonic() - started)
        self.round_trips_ms[f"{delay_ms:g} ms"] = round(sorted(times)[FEW_REPLIES // 2] * 1000, 2)


@contextlib.contextmanager
def open_stage() -> Iterator[Stage]:
    """Servers of our own in a temporary directory, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="kafka_pg_bench_") as folder:
        stack = LocalStack(Path(folder), die_with_parent=True)
        # When which row was committed, for contenders that cannot tell.
        stack.postgres.settings["track_commit_timestamp"] = "on"
        stack.up()
        try:
            with contextlib.ExitStack() as tools:
                stage = Stage(stack, tools)
                tools.callback(stage.close)
                yield stage
        finally:
            stack.down()
