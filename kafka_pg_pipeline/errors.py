"""The exception tree, sorted by what helps: fix the input, wait and retry, or decide.

PipelineError
 ├── ConfigurationError          the configuration file, an option or a name is wrong
 ├── TransientError              the same call may succeed later; nothing was moved
 │    ├── KafkaUnavailableError
 │    │    └── TopicUnavailableError  a part of one topic has no leader; others may be fine
 │    ├── RegistryUnavailableError
 │    ├── AivenUnavailableError  Aiven's API does not answer, or a service is being rebuilt
 │    ├── PostgresUnavailableError
 │    ├── ContentionError        a lock, deadlock or serialization conflict outlasted its retries
 │    ├── LaneEndedError         a process that loaded some of the partitions ended too early
 │    └── OutcomeUnknownError    COMMIT was sent and its outcome could not be learned in time
 └── TerminalError               a person has to look; nothing was moved
      ├── PausedError            somebody paused the stream, and this was asked for by name
      ├── AuthenticationError    credentials or rights
      ├── ServicePoweredOffError  the Aiven service does not run
      ├── TopicMissingError
      ├── TargetError            the table is missing or does not fit the stream
      ├── IncarnationChangedError  the topic or the cluster is not the one loaded before
      ├── LogShorterError        the log ends before the stored position
      ├── LogRewrittenError      the last loaded record is another one now
      ├── RetentionGapError      records were deleted before they were loaded
      ├── UndecodableBatchError  no client can decode this part of the log
      ├── DeadLetterBudgetError  too many rejected records: the mapping is wrong, not the data
      └── InvariantError         something that must not happen did; stop and look

Messages name the coordinates (``topic[partition]@offset``) and the cure. They never hold a
secret, a connection string or any part of a record's content.
"""


class PipelineError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigurationError(PipelineError):
    """The configuration file, an option or a name is wrong; the message names where."""


class TransientError(PipelineError):
    """The same call may succeed later; no position was moved."""


class KafkaUnavailableError(TransientError):
    """No broker answered in time."""


class TopicUnavailableError(KafkaUnavailableError):
    """The cluster answers, but a part of this topic has no leader now."""


class RegistryUnavailableError(TransientError):
    """The schema registry did not answer in time."""


class AivenUnavailableError(TransientError):
    """Aiven's API did not answer in time, or one of its services is not ready yet."""


class PostgresUnavailableError(TransientError):
    """The database could not be reached, or the connection was lost before COMMIT."""


class ContentionError(TransientError):
    """A lock, a deadlock or a serialization conflict outlasted the retries."""


class LaneEndedError(TransientError):
    """A process that loaded some of a stream's partitions was ended, or ended by itself."""


class OutcomeUnknownError(TransientError):
    """COMMIT was sent and its outcome could not be learned; the next run decides by itself."""


class TerminalError(PipelineError):
    """Retrying cannot help; a person has to look. No position was moved."""


class PausedError(TerminalError):
    """Somebody paused the stream, so that what was asked for was not done, or not all of it."""


class AuthenticationError(TerminalError):
    """Credentials were refused or a right is missing."""


class ServicePoweredOffError(TerminalError):
    """The Aiven service is powered off, or in a state that nobody knows."""


class TopicMissingError(TerminalError):
    """The topic does not exist on the broker."""


class TargetError(TerminalError):
    """The target table is missing or does not fit the stream."""


class IncarnationChangedError(TerminalError):
    """The topic or the cluster is not the one whose records were loaded before."""


class LogShorterError(TerminalError):
    """The log ends before the stored position."""


class LogRewrittenError(TerminalError):
    """The record at the stored tail is not the one that was loaded."""


class RetentionGapError(TerminalError):
    """Records were deleted by retention before they were loaded."""


class UndecodableBatchError(TerminalError):
    """The client cannot decode the log at this offset (corruption, or a missing codec).

    ``start_offset`` is the first offset that could not be read, ``end_offset`` the first one
    behind the batch; each is None where the client does not know it.
    """

    def __init__(
        self,
        message: str,
        *,
        partition: int | None = None,
        start_offset: int | None = None,
        end_offset: int | None = None,
    ) -> None:
        super().__init__(message)
        self.partition = partition
        self.start_offset = start_offset
        self.end_offset = end_offset


class DeadLetterBudgetError(TerminalError):
    """More records of one batch were rejected than the stream allows."""


class InvariantError(TerminalError):
    """A promise of the delivery protocol was found broken."""
