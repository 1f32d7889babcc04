"""One stream with its adapters opened: what the CLI, the ops and the sensor work with."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace

from kafka_pg_pipeline.adapters.kafka.inspector import KafkaInspector
from kafka_pg_pipeline.adapters.kafka.letters import KafkaLetterPublisher
from kafka_pg_pipeline.adapters.kafka.reader import open_reader_factory
from kafka_pg_pipeline.adapters.postgres.backfills import PostgresBackfills
from kafka_pg_pipeline.adapters.postgres.catalog import PostgresCatalog
from kafka_pg_pipeline.adapters.postgres.connection import Primary
from kafka_pg_pipeline.adapters.postgres.evolution import PostgresEvolution
from kafka_pg_pipeline.adapters.postgres.failures import PostgresFailures
from kafka_pg_pipeline.adapters.postgres.inspection import PostgresInspection
from kafka_pg_pipeline.adapters.postgres.letters import PostgresLetters
from kafka_pg_pipeline.adapters.postgres.migrations import fetch_pending, migrate
from kafka_pg_pipeline.adapters.postgres.moves import OperatorMoves
from kafka_pg_pipeline.adapters.postgres.positions import PAUSES_SINCE, PostgresPositions
from kafka_pg_pipeline.adapters.postgres.replay import PostgresReplayer
from kafka_pg_pipeline.adapters.postgres.writer import PostgresWriter
from kafka_pg_pipeline.assembly.endpoints import Endpoints
from kafka_pg_pipeline.assembly.formats import open_decoders
from kafka_pg_pipeline.domain.budgets import DeadLetterBudget
from kafka_pg_pipeline.domain.pauses import Pause
from kafka_pg_pipeline.domain.tables import TableName, TargetTable
from kafka_pg_pipeline.domain.windows import parse_window
from kafka_pg_pipeline.errors import TargetError
from kafka_pg_pipeline.pipeline.copy_letters import LetterCopier
from kafka_pg_pipeline.pipeline.load import LoaderPorts, StreamLoader
from kafka_pg_pipeline.pipeline.replay import StreamReplay
from kafka_pg_pipeline.pipeline.shape import RowShape, shape_of
from kafka_pg_pipeline.ports import Decoders, ReaderFactory, TargetEvolution, TopicInspector
from kafka_pg_pipeline.settings.models import StreamSettings
from kafka_pg_pipeline.sql import Migration


@dataclass(frozen=True)
class StreamSession:
    """A stream's adapters over one PostgreSQL connection and one Kafka inspector."""

    name: str
    stream: StreamSettings
    run_id: str
    inspector: TopicInspector
    open_reader: ReaderFactory
    positions: PostgresPositions
    catalog: PostgresCatalog
    open_catalog: Callable[[TableName], PostgresCatalog]
    decoders: Decoders
    inspection: PostgresInspection
    moves: OperatorMoves
    failures: PostgresFailures
    loader: StreamLoader
    ports: LoaderPorts
    letters: PostgresLetters
    replay: StreamReplay
    backfills: PostgresBackfills
    pending_migrations: tuple[Migration, ...] = ()

    def shape(self, port: TargetEvolution) -> RowShape:
        """How records become rows, for one look or one run; ``port`` changes the table."""
        return shape_of(self.stream, port, self.decoders)

    @property
    def has_state(self) -> bool:
        """False only where a read-only session found no tables of the pipeline yet."""
        return self.has_applied(1)

    def has_applied(self, version: int) -> bool:
        """Whether a migration is in effect; a read-only session may find that it is not."""
        return all(migration.version != version for migration in self.pending_migrations)

    def fetch_pause(self) -> Pause | None:
        """The stream's pause; None also where the tables are from before there were pauses."""
        return self.positions.fetch_pause() if self.has_applied(PAUSES_SINCE) else None

    def insist_on_current_tables(self) -> None:
        """Refuse where a read-only session finds the pipeline's tables as an older version made.

        Raises:
            TargetError: naming what brings them up to date.
        """
        if self.pending_migrations and self.has_state:
            raise TargetError(
                "the pipeline's own tables were made by an older version and lack what is asked "
                f"for: the next `kafka-pg load {self.name}`, or run in Dagster, brings them up to "
                "date"
            )


def build_budget(stream: StreamSettings, name: str = "STREAM") -> DeadLetterBudget:
    """How many records of a batch, and of a run, may be rejected."""
    limits = stream.dead_letters
    return DeadLetterBudget(limits.max_records, limits.max_share, limits.max_run_records, name)


@contextmanager
def open_session(
    name: str,
    stream: StreamSettings,
    endpoints: Endpoints,
    *,
    run_id: str,
    read_only: bool = False,
    budget_runs: Sequence[str] = (),
) -> Iterator[StreamSession]:
    """Open a stream; brings the pipeline's own schema up to date first.

    A ``read_only`` session leaves the schema as it is and says what is missing; it is for looking
    at things only. The name may be that of a stream's window, whose books the session then works
    with.

    ``run_id`` is written into the ledger and into the clients' names, so that a zombie can be
    told by the broker's log and by pg_stat_activity. ``budget_runs``: see ``PostgresWriter``.

    Raises:
        AuthenticationError, PostgresUnavailableError: PostgreSQL could not be reached. Kafka is
            reached when it is first asked.

    """
    window = parse_window(name)
    owner = window.stream if window else name
    client_id = f"kafka-pg-{owner}-{run_id}"
    table = TableName.parse(stream.table)
    with ExitStack() as stack:
        primary = Primary(endpoints.postgres, application_name=f"kafka-pg {owner} {run_id}")
        stack.callback(primary.close)
        pending = fetch_pending(primary) if read_only else ()
        if not read_only:
            migrate(primary)
        inspector = stack.enter_context(
            closing(
                KafkaInspector(endpoints.kafka, isolation=stream.isolation, client_id=client_id)
            )
        )
        open_reader = open_reader_factory(
            endpoints.kafka, isolation=stream.isolation, client_id=client_id, stream=name
        )
        positions = PostgresPositions(
            primary,
            stream=name,
            topic=stream.topic,
            incarnation=window.incarnation if window else 1,
        )

        def open_catalog(table: TableName) -> PostgresCatalog:
            return PostgresCatalog(
                primary, stream=name, table=table, rules=stream.rules, mode=stream.write_mode
            )

        catalog = open_catalog(table)
        beside = Primary(endpoints.postgres, application_name=f"kafka-pg {owner} {run_id} ddl")
        stack.callback(beside.close)
        evolution = PostgresEvolution(
            beside,
            PostgresCatalog(
                beside, stream=name, table=table, rules=stream.rules, mode=stream.write_mode
            ),
        )

        decoders = stack.enter_context(open_decoders(name, stream, endpoints.schema_registry))

        def open_writer(target: TargetTable) -> "closing[PostgresWriter]":
            return closing(
                PostgresWriter(
                    endpoints.postgres,
                    target,
                    stream=name,
                    topic=stream.topic,
                    run_id=run_id,
                    loader=f"{socket.gethostname()}:{os.getpid()}",
                    mode=stream.write_mode,
                    budget=build_budget(stream, name),
                    budget_runs=budget_runs,
                )
            )

        def open_replayer(target: TargetTable) -> PostgresReplayer:
            return PostgresReplayer(
                primary,
                target,
                stream=name,
                topic=stream.topic,
                run_id=run_id,
                mode=stream.write_mode,
            )

        letters = PostgresLetters(primary, stream=name, topic=stream.topic)
        ports = LoaderPorts(
            inspector, open_reader, positions, catalog, evolution, open_writer, decoders, run_id
        )
        if stream.dead_letters.topic is not None:
            publisher = KafkaLetterPublisher(
                endpoints.kafka,
                stream.dead_letters.topic,
                stream=name,
                source=stream.topic,
                client_id=client_id,
            )
            copier = LetterCopier(name, stream.dead_letters.topic, letters, publisher)
            ports = replace(ports, copy_letters=copier.copy)
        yield StreamSession(
            name=name,
            stream=stream,
            run_id=run_id,
            inspector=inspector,
            open_reader=open_reader,
            positions=positions,
            catalog=catalog,
            open_catalog=open_catalog,
            decoders=decoders,
            inspection=PostgresInspection(
                primary, stream=name, topic=stream.topic, mode=stream.write_mode
            ),
            moves=OperatorMoves(
                primary, stream=name, topic=stream.topic, table=table, mode=stream.write_mode
            ),
            failures=PostgresFailures(primary),
            loader=StreamLoader(name, stream, ports),
            ports=ports,
            letters=letters,
            replay=StreamReplay(
                name,
                stream,
                run_id=run_id,
                catalog=catalog,
                evolution=evolution,
                decoders=decoders,
                open_replayer=open_replayer,
            ),
            backfills=PostgresBackfills(primary, stream=owner, topic=stream.topic),
            pending_migrations=pending,
        )
