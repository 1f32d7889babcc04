"""A stream of its own for each test: fresh topic, fresh table schema, fresh pipeline schema.

Producing, counting and comparing is done by clients that are not ours (librdkafka, plain SQL).
"""

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import pytest
import tenacity
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from psycopg2 import sql

from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.assembly.lanes import LaneTask, join_lanes, load_lane, split_plan
from kafka_pg_pipeline.assembly.session import StreamSession, open_session
from kafka_pg_pipeline.assembly.verification import verify_stream
from kafka_pg_pipeline.domain.lanes import exactly
from kafka_pg_pipeline.domain.reports import LoadReport
from kafka_pg_pipeline.pipeline.plan import freeze_plan
from kafka_pg_pipeline.settings.models import KafkaSettings, PostgresSettings, StreamSettings
from kafka_pg_pipeline_tests.encoding import FakeRecord
from kafka_pg_pipeline_tests.fix_servers import connect
from kafka_pg_pipeline_tests.waiting import wait_until

OFFSET_COLUMNS = {"partition": "kafka_partition", "offset": "kafka_offset"}


@dataclass(frozen=True)
class Bench:
    """One stream under test, its servers, and the questions that tests ask.

    With more than one of ``lanes`` a load is split as lanes split it, a thread for each.
    """

    name: str
    stream: StreamSettings
    endpoints: Endpoints
    lanes: int = 1

    # -- Kafka ------------------------------------------------------------------------------

    @property
    def bootstrap_servers(self) -> str:
        return self.endpoints.kafka.bootstrap_servers

    def create_topic(self, partitions: int = 3, **config: str) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        topic = NewTopic(self.stream.topic, partitions, 1, config=config)
        admin.create_topics([topic])[self.stream.topic].result(30)
        # The answer is the controller's; the broker lists the topic a moment later.
        wait_until(lambda: self._count_leaders(admin) == partitions)

    def add_partitions(self, total: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        admin.create_partitions([NewPartitions(self.stream.topic, total)])[
            self.stream.topic
        ].result(30)

    def delete_topic(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        admin.delete_topics([self.stream.topic])[self.stream.topic].result(30)
        wait_until(lambda: self._count_leaders(admin) == 0)

    def _count_leaders(self, admin: AdminClient) -> int:
        """Partitions of the topic that the broker lists, and that can be written to."""
        listed = admin.list_topics(self.stream.topic, 30).topics[self.stream.topic]
        return sum(partition.leader >= 0 for partition in listed.partitions.values())

    def produce(
        self,
        values: Sequence[Any],
        *,
        partition: Callable[[int], int] = lambda index: index % 3,
        **config: Any,
    ) -> None:
        """Produce values (bytes and None as they are, the rest as JSON) and wait for the acks.

        A ``FakeRecord`` is sent with its key, its headers and its timestamp (0 is now).
        """
        # Without idempotence a batch that is sent again lands behind later ones, or twice.
        always = {"bootstrap.servers": self.bootstrap_servers, "enable.idempotence": True}
        producer = Producer({**always, **config})
        failures: list[Any] = []
        for index, value in enumerate(values):
            record = value if isinstance(value, FakeRecord) else FakeRecord(_encode(value))
            producer.produce(
                self.stream.topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                timestamp=record.timestamp,
                partition=partition(index),
                on_delivery=lambda error, _: failures.append(error) if error else None,
            )
            producer.poll(0)
        assert producer.flush(60) == 0
        assert failures == []

    def read_all(self) -> dict[tuple[int, int], bytes | None]:
        """Every committed record by (partition, offset), read by librdkafka."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "group.id": f"oracle-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": False,
            }
        )
        try:
            partitions = consumer.list_topics(self.stream.topic, 30).topics[self.stream.topic]
            pending = {}
            for number in partitions.partitions:
                place = TopicPartition(self.stream.topic, number)
                # The leader of a new topic may not know yet that it is the leader.
                low, high = _patiently(consumer.get_watermark_offsets, place, 30)
                if high > low:
                    pending[number] = high
            consumer.assign([TopicPartition(self.stream.topic, p, 0) for p in pending])
            found: dict[tuple[int, int], bytes | None] = {}
            quiet = 0
            while pending and quiet < 100:
                messages = consumer.consume(10_000, 0.05)  # waits that long for so many
                quiet = 0 if messages else quiet + 1
                for message in messages:
                    assert message.error() is None
                    found[message.partition(), message.offset()] = message.value()
                for position in consumer.position(
                    [TopicPartition(self.stream.topic, p) for p in pending]
                ):
                    if position.offset >= pending[position.partition]:
                        del pending[position.partition]
            return found
        finally:
            consumer.close()

    # -- PostgreSQL -------------------------------------------------------------------------

    def query(self, text: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Rows of a query; {table} and {schema} stand for the target and the pipeline's schema."""
        schema, _, table = self.stream.table.rpartition(".")
        statement = sql.SQL(text).format(
            table=sql.Identifier(schema, table),
            schema=sql.Identifier(self.endpoints.postgres.schema_name),
        )
        connection = connect(self.endpoints.postgres)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, arguments or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def trigger_before_inserts(self, body: str, each: Literal["ROW", "STATEMENT"] = "ROW") -> None:
        """Have PL/pgSQL run before rows come into the table, by a trigger ``before_insert``."""
        self.query(
            "CREATE FUNCTION {table}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {body} END $$;"
            " CREATE TRIGGER before_insert BEFORE INSERT ON {table}"
            f" FOR EACH {each} EXECUTE FUNCTION {{table}}()"
        )

    def count(self) -> int:
        return int(self.query("SELECT count(*) FROM {table}")[0][0])

    def positions(self) -> dict[int, int]:
        statement = "SELECT partition, next_offset FROM {schema}.state WHERE stream = %s ORDER BY 1"
        return dict(self.query(statement, self.name))

    # -- the product ------------------------------------------------------------------------

    def session(self, run_id: str = "test") -> Any:
        return open_session(self.name, self.stream, self.endpoints, run_id=run_id)

    def load(self, *, max_records: int | None = None, run_id: str = "test") -> LoadReport:
        """One run up to the present end."""
        with self.session(run_id) as session:
            if self.lanes == 1:
                return load_in(session, max_records=max_records)
            return self._load_in_lanes(session, max_records)

    def _load_in_lanes(self, session: StreamSession, max_records: int | None) -> LoadReport:
        plan = freeze_plan(session.name, session.stream, session.inspector, max_records=max_records)
        split = split_plan(session, plan, exactly(self.lanes))
        if not split.plans:
            return session.loader.load(plan, stop=threading.Event())
        run_id = session.ports.run_id
        tasks = [
            LaneTask(self.name, self.stream, self.endpoints, run_id, lane, (run_id,))
            for lane in split.plans
        ]
        load = partial(load_lane, stop=threading.Event(), listener=lambda _: None)
        with ThreadPoolExecutor(len(tasks)) as executor:
            reports = list(executor.map(load, tasks))
        report = join_lanes(session, reports, seconds=0.0)
        return replace(report, warnings=(*split.warnings, *report.warnings))

    def findings(self) -> list[str]:
        """What ``verify`` has to say."""
        with self.session() as session:
            return [str(found) for found in verify_stream(session).findings]

    def assert_exactly_once(self) -> None:
        """The oracle: rows and open letters are the committed records, each once; I2 to I4.

        Where the table has a column ``id`` it holds the record's own.
        """
        rows = self.query(
            "SELECT kafka_partition, kafka_offset, to_json(target) ->> 'id' FROM {table} AS target"
        )
        dead = self.query(
            "SELECT partition, record_offset, value FROM {schema}.dead_letter"
            " WHERE resolution IS DISTINCT FROM 'replayed'"
        )
        landed = [(partition, offset) for partition, offset, _ in rows + dead]
        assert len(landed) == len(set(landed)), "an offset landed twice"
        records = self.read_all()
        assert set(landed) == set(records)
        for partition, offset, identifier in rows:
            if identifier is not None:
                assert identifier == str(json.loads(records[partition, offset] or b"")["id"])
        for partition, offset, value in dead:
            assert (None if value is None else bytes(value)) == records[partition, offset]
        assert self.findings() == []

    def with_stream(self, **changes: Any) -> "Bench":
        return replace(self, stream=self.stream.model_copy(update=changes))

    def with_reader(self, reader: Literal["kafka-python", "confluent"]) -> "Bench":
        kafka = self.endpoints.kafka.model_copy(update={"reader": reader})
        return replace(self, endpoints=replace(self.endpoints, kafka=kafka))

    def with_postgres(self, **changes: Any) -> "Bench":
        postgres = self.endpoints.postgres.model_copy(update=changes)
        return replace(self, endpoints=replace(self.endpoints, postgres=postgres))


_patiently = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(KafkaException),
    stop=tenacity.stop_after_delay(30),
    wait=tenacity.wait_fixed(0.1),
    reraise=True,
)


def _encode(value: Any) -> bytes | None:
    return value if isinstance(value, bytes | None) else json.dumps(value).encode()


def load_in(session: StreamSession, *, max_records: int | None = None) -> LoadReport:
    plan = freeze_plan(session.name, session.stream, session.inspector, max_records=max_records)
    return session.loader.load(plan, stop=threading.Event())


@dataclass
class BenchMaker:
    """Makes benches and takes away afterwards what they created in PostgreSQL."""

    lanes: int = 1
    made: list[Bench] = field(default_factory=list)

    def make(self, kafka: KafkaSettings, postgres: PostgresSettings, **changes: Any) -> Bench:
        mark = uuid.uuid4().hex[:12]
        settings: Mapping[str, Any] = {
            "topic": f"test.{mark}",
            "table": f"t_{mark}.events",
            "metadata": OFFSET_COLUMNS,
            **changes,
        }
        endpoints = Endpoints(
            kafka, postgres.model_copy(update={"schema_name": f"kpg_{mark}"}), "test", "test"
        )
        bench = Bench(f"s_{mark}", StreamSettings.model_validate(settings), endpoints, self.lanes)
        bench.query(f"CREATE SCHEMA t_{mark}")
        self.made.append(bench)
        return bench

    def clean_up(self) -> None:
        for bench in self.made:
            mark = bench.name.removeprefix("s_")  # never a schema that others use too
            bench.query(f"DROP SCHEMA IF EXISTS t_{mark}, kpg_{mark} CASCADE")


@pytest.fixture
def bench_maker(pytestconfig: pytest.Config) -> Iterator[BenchMaker]:
    maker = BenchMaker(pytestconfig.getoption("--lanes"))
    yield maker
    maker.clean_up()


@pytest.fixture
def bench(kafka: KafkaSettings, postgres: PostgresSettings, bench_maker: BenchMaker) -> Bench:
    """A stream on the session's servers, its topic not yet created."""
    return bench_maker.make(kafka, postgres)
