"""Tables of a source PostgreSQL that Debezium follows, each with a connector of its own."""

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import Consumer, TopicPartition
from psycopg2 import sql

from kafka_pg_pipeline.settings.models import PostgresSettings
from kafka_pg_pipeline_tests.connect_worker import ConnectWorker
from kafka_pg_pipeline_tests.fix_servers import connect

SOURCE_SETTINGS = {"wal_level": "logical", "max_replication_slots": 20, "max_wal_senders": 20}
_TIMEOUT_SECONDS = 60
_POLL_SECONDS = 0.1


class Record(NamedTuple):
    """A record as it lies in the topic."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class DebeziumSource:
    """One table ``items`` in a schema of its own, and the connector that follows it."""

    name: str
    postgres: PostgresSettings
    worker: ConnectWorker
    bootstrap_servers: str

    @property
    def table(self) -> str:
        return f"{self.name}.items"

    @property
    def topic(self) -> str:
        """Where Debezium puts the table's changes."""
        return f"dbz.{self.table}"

    def execute(self, *statements: str) -> None:
        """Run statements, each in a transaction of its own; {table}, {schema} are this source's."""
        with closing(connect(self.postgres)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(self._compose(statement))

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(connect(self.postgres)) as connection, connection.cursor() as cursor:
            cursor.execute(self._compose(statement))
            return cursor.fetchall()

    def follow(
        self, configuration: Mapping[str, str] | None = None, *, partitions: int = 1
    ) -> None:
        """Start the connector: a snapshot of the table, then each change.

        Args:
            configuration: More of the connector's; wins over ours.
            partitions: How many the topic gets.
        """
        self.worker.put(self.name, {**self._configure(partitions), **(configuration or {})})
        self.wait_until_caught_up()

    def wait_until_caught_up(self) -> None:
        """Wait until the topic holds every change made so far.

        Connect commits the position of a record when it and all before it, in whatever topics,
        are acknowledged. Debezium puts a logical message into a topic too: one sent behind the
        changes moves the position past them.
        """
        ((end,),) = self.query("SELECT pg_current_wal_lsn() - '0/0'")
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while not self._has_passed(int(end)):
            assert time.monotonic() < deadline, "Debezium does not catch up"
            self.query("SELECT pg_logical_emit_message(true, 'mark', '')")
            time.sleep(_POLL_SECONDS)

    def read_records(self) -> list[Record]:
        """All records of the topic, in the order of partition and offset."""
        return read_topic(self.bootstrap_servers, self.topic)

    def _has_passed(self, end: int) -> bool:
        assert self.worker.check(self.name)
        position = self.worker.fetch_position(self.name)
        return "lsn" in position and "snapshot" not in position and position["lsn"] >= end

    def _compose(self, statement: str) -> sql.Composed:
        return sql.SQL(statement).format(
            table=sql.Identifier(self.name, "items"), schema=sql.Identifier(self.name)
        )

    def _configure(self, partitions: int) -> dict[str, str]:
        password = self.postgres.password
        return {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "plugin.name": "pgoutput",
            "database.hostname": self.postgres.host,
            "database.port": str(self.postgres.port),
            "database.user": self.postgres.user,
            "database.password": password.get_secret_value() if password else "",
            "database.dbname": self.postgres.dbname,
            "topic.prefix": "dbz",
            "schema.include.list": self.name,
            "slot.name": self.name,
            "publication.name": self.name,
            "publication.autocreate.mode": "filtered",
            "skipped.operations": "none",
            "topic.creation.default.partitions": str(partitions),
            "topic.creation.default.replication.factor": "1",
            "poll.interval.ms": "50",
        }


@contextmanager
def open_source(
    postgres: PostgresSettings, worker: ConnectWorker, bootstrap_servers: str
) -> Iterator[DebeziumSource]:
    """A source whose schema is empty; nothing is left of it afterwards."""
    source = DebeziumSource(f"src_{uuid.uuid4().hex[:12]}", postgres, worker, bootstrap_servers)
    source.execute("CREATE SCHEMA {schema}")
    try:
        yield source
    finally:
        worker.delete(source.name)
        _drop_slot(source)
        source.execute(f"DROP PUBLICATION IF EXISTS {source.name}", "DROP SCHEMA {schema} CASCADE")


def _drop_slot(source: DebeziumSource) -> None:
    """A connector leaves its slot behind, and holds it for a moment."""
    name = f"slot_name = '{source.name}'"
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while source.query(f"SELECT 1 FROM pg_replication_slots WHERE active AND {name}"):
        assert time.monotonic() < deadline, "the connector does not let its slot go"
        time.sleep(_POLL_SECONDS)
    source.query(
        f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE {name}"
    )


def read_topic(bootstrap_servers: str, topic: str) -> list[Record]:
    """All records of a topic, in the order of partition and offset; none when it is missing."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"oracle-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    with closing(consumer):
        partitions = consumer.list_topics(topic, 30).topics[topic].partitions
        found = []
        for number in sorted(partitions):
            place = TopicPartition(topic, number, 0)
            _, end = consumer.get_watermark_offsets(place, 30)
            consumer.assign([place])
            position = 0
            while position < end:
                for message in consumer.consume(end - position, 5):
                    assert message.error() is None
                    found.append(_read_message(message))
                    position = message.offset() + 1
        return found


def _read_message(message: Any) -> Record:
    return Record(
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        tuple(message.headers() or ()),
    )
