"""What the pipeline needs from the outside, one Protocol each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kafka_pg_pipeline.domain.batches import EncodedBatch, WriteResult
from kafka_pg_pipeline.domain.documents import Decoded
from kafka_pg_pipeline.domain.letters import (
    ChunkLimits,
    LetterFilter,
    OpenedLetter,
    ReplayCounts,
    StoredRecord,
)
from kafka_pg_pipeline.domain.offsets import TopicIdentity, TopicSnapshot
from kafka_pg_pipeline.domain.record_runs import RecordRun
from kafka_pg_pipeline.domain.schemas import RegisteredSchema
from kafka_pg_pipeline.domain.services import AccessRule, Service, ServiceTopic, ServiceUser
from kafka_pg_pipeline.domain.standing import Standing
from kafka_pg_pipeline.domain.tables import Column, Evolved, TargetTable


class TopicInspector(Protocol):
    """Looks at a topic without reading records; every call ends within its own deadline.

    Raises KafkaUnavailableError, TopicMissingError or AuthenticationError.
    """

    def fetch_snapshot(self, topic: str) -> TopicSnapshot:
        """Identity and bounds of all partitions, at the inspector's isolation level."""

    def fetch_identity(self, topic: str) -> TopicIdentity:
        """The topic's identity alone: one metadata round trip."""

    def fetch_offsets_at(self, topic: str, timestamp: int) -> Mapping[int, int]:
        """Per partition the first offset whose timestamp (ms) is not earlier, else its end."""

    def close(self) -> None:
        """Release connections and threads; safe to call twice."""


class RecordReader(Protocol):
    """Reads chosen partitions of one topic from chosen offsets, in one thread.

    After any error the reader is closed and of no further use.
    Raises KafkaUnavailableError, AuthenticationError, RetentionGapError (the start offset is no
    longer there), LogRewrittenError (truncation) or UndecodableBatchError.
    """

    def poll(self, *, max_records: int, timeout_seconds: float) -> Mapping[int, RecordRun]:
        """Records per partition in offset order; empty when none arrived in time."""

    def position(self, partition: int) -> int:
        """First offset that no poll has covered: past control records and compacted holes."""

    def finish(self, partition: int) -> None:
        """Fetch no more of this partition."""

    def close(self) -> None:
        """Release connections and threads; safe to call twice."""


class SchemaRegistry(Protocol):
    """Knows schemas by their ids.

    Raises:
        Rejected: it does not know that one.
        RegistryUnavailableError: it did not answer in time.
        AuthenticationError: it does not let us in.
    """

    def fetch_schema(self, schema_id: int) -> RegisteredSchema:
        """The schema, with those that it refers to."""


class RecordDecoder(Protocol):
    """Turns the bytes of a record's value, or of its key, into a JSON document.

    Raises:
        Rejected: the bytes are not of the format, or name a schema that the registry does not
            know; the record becomes a dead letter.
        RegistryUnavailableError: the schema could not be fetched now; nothing is moved.
    """

    def decode(self, data: bytes) -> Decoded:
        """What the bytes say; see ``Decoded``."""


@runtime_checkable
class TypedDecoder(RecordDecoder, Protocol):
    """A decoder whose schemas say more of a new table's columns than values do."""

    def column_types(self, data: bytes) -> Mapping[str, str]:
        """PostgreSQL's types of some or all fields, by the schema of these bytes."""


@dataclass(frozen=True, slots=True)
class Decoders:
    """How a stream's values and keys are read; without one values are JSON, and keys are text."""

    value: RecordDecoder | None = None
    key: RecordDecoder | None = None


class ReaderFactory(Protocol):
    """Opens a reader of ``topic`` at ``start_offsets`` (partition → offset)."""

    def __call__(self, topic: str, start_offsets: Mapping[int, int]) -> RecordReader: ...


class PositionStore(Protocol):
    """The stream's positions in PostgreSQL: the only truth about where to start."""

    def fetch_standing(self) -> Standing:
        """The positions and the pause, as they are at one moment."""

    def check_in(self, snapshot: TopicSnapshot, start_offsets: Mapping[int, int]) -> Standing:
        """Add positions for partitions that have none, in one transaction; return all.

        ``start_offsets`` count where the stream has no position at all. Where it has some by now,
        a rival's, the partitions that lack one start at their first record. Nothing is added to a
        stream that is paused.

        Raises IncarnationChangedError where the positions are those of another topic.
        """

    def note_target(self, target: TargetTable) -> bool:
        """Remember which table is filled; True where it was another one before.

        Raises TargetError where another stream has loaded the same topic into it.
        """


class BatchWriter(Protocol):
    """Writes a batch in one transaction: rows, dead letters, gaps, ledger and positions."""

    def connect(self, batches: int) -> None:
        """Begin to open what so many batches need; what fails here fails again when they come."""

    def send(self, batch: EncodedBatch) -> None:
        """Begin with a batch before its turn, while another one is written; does not wait.

        It is seen by nobody until it is written, and gone if it never is. At most one batch may
        be ahead of the one that is being written.
        """

    def write(self, batch: EncodedBatch) -> WriteResult:
        """COMMITTED or FENCED; anything else raises and leaves nothing behind.

        Raises PostgresUnavailableError, ContentionError, OutcomeUnknownError, TargetError,
        DeadLetterBudgetError or InvariantError.
        """

    def close(self) -> None:
        """End what is ahead and release the connections; safe to call twice."""


class ProgressListener(Protocol):
    """Told of each committed batch; must not raise."""

    def __call__(self, result: WriteResult) -> None: ...


class StopSignal(Protocol):
    """Asked between batches whether to stop; ``threading.Event`` satisfies it."""

    def is_set(self) -> bool: ...


class TargetCatalog(Protocol):
    """The target table as PostgreSQL knows it. Raises TargetError or AuthenticationError."""

    def fetch_target(self) -> TargetTable | None:
        """The table with the columns that the loader fills, None where there is none."""

    def create_target(self, columns: Sequence[Column]) -> TargetTable:
        """Create the table unless a rival just did; one short transaction with an audit row."""


class TargetEvolution(Protocol):
    """Changes the target table, each time in a short transaction with an audit row.

    Raises ContentionError where another session's lock is in the way, TargetError where the table
    does not take the change, PostgresUnavailableError or AuthenticationError.
    """

    def add_columns(self, columns: Sequence[Column]) -> Evolved:
        """Add those of the columns that the table lacks."""

    def widen_column(self, name: str, type_name: str) -> Evolved:
        """Give the column that type, unless it has it."""


class LetterEncoder(Protocol):
    """Makes a batch of letters' records, by the stream's present mapping.

    Its slices count the letters of each partition, from 0.
    """

    def __call__(self, records: Sequence[StoredRecord]) -> EncodedBatch: ...


class LetterReplayer(Protocol):
    """Makes rows of dead letters, each once. Raises what ``BatchWriter`` raises."""

    def find_last(self, wanted: LetterFilter, limit: int | None) -> int:
        """Id of the last unresolved letter that a replay of ``limit`` takes; 0 where none is."""

    def choose(
        self, wanted: LetterFilter, after_id: int, last_id: int, limits: ChunkLimits
    ) -> tuple[int, ...]:
        """Ids of the next letters, ascending, without a lock; empty where none is left."""

    def has_deletes_since(self, wanted: LetterFilter, last_id: int) -> bool:
        """Whether a record behind one of the letters may have deleted the row of its key."""

    def replay(self, ids: Sequence[int], encode: LetterEncoder, *, rehearsal: bool) -> ReplayCounts:
        """In one transaction: rows of those letters that nobody has resolved, and their marks."""


class LetterCopies(Protocol):
    """Which dead letters are not in the stream's topic of dead letters yet."""

    def fetch_uncopied(self, after_id: int, limits: ChunkLimits) -> tuple[OpenedLetter, ...]:
        """The next unresolved letters that were never copied, ascending by id."""

    def mark_copied(self, ids: Sequence[int]) -> None:
        """Remember that the broker has acknowledged them."""


class LetterPublisher(Protocol):
    """Puts dead letters on a topic.

    Raises KafkaUnavailableError, TopicMissingError or AuthenticationError.
    """

    def publish(self, letters: Sequence[OpenedLetter]) -> tuple[int, ...]:
        """Ids of the letters that all replicas have; the others are refused by the broker."""


class ServiceDirectory(Protocol):
    """Knows the services of one project of a cloud, and how to reach them.

    Raises AivenUnavailableError (no answer in time), AuthenticationError (the token, or a right of
    it) or ConfigurationError (a name that there is not; near ones are named).
    """

    project: str

    def check_project(self) -> None:
        """Return where the project exists and the token may look at it."""

    def fetch_services(self) -> tuple[Service, ...]:
        """All services of the project; secrets may be left out."""

    def fetch_service(self, name: str) -> Service:
        """One service, with its users and their secrets."""

    def fetch_user(self, service: str, name: str) -> ServiceUser:
        """One user of a service, with its secrets."""

    def fetch_ca(self) -> str:
        """The CA that signs the services' certificates, as PEM text."""

    def fetch_topics(self, service: str) -> tuple[ServiceTopic, ...]:
        """Topics of a Kafka service: for display, they may be some minutes old."""

    def create_topic(self, service: str, topic: str, *, partitions: int, replication: int) -> None:
        """Create a topic; one that is there already is left as it is."""

    def create_database(self, service: str, database: str) -> None:
        """Create a database; one that is there already is left as it is."""

    def create_user(self, service: str, user: str) -> None:
        """Create a user; one that is there already is left as it is."""

    def create_access_rule(self, service: str, rule: AccessRule) -> None:
        """Let a Kafka user do something with topics."""

    def close(self) -> None:
        """Release connections; safe to call twice."""
