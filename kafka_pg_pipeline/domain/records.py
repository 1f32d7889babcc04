"""One record of the log, as the pipeline sees it, and why one could not become a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Record(Protocol):
    """A record with its coordinates; bytes are as they stand in the log.

    kafka-python's ``ConsumerRecord`` satisfies this as it is, so reading copies nothing.
    ``timestamp`` is in milliseconds since the epoch, -1 where the log has none;
    ``timestamp_type`` is 0 for CreateTime and 1 for LogAppendTime. ``headers`` keep their order
    and their duplicates; a header's value may be None.
    """

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def timestamp_type(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class Stage(str, Enum):
    """The step of the pipeline that rejected a record."""

    DECODE = "decode"
    ENCODE = "encode"
    WRITE = "write"


class Reason(str, Enum):
    """Why a record was rejected; stable codes that people filter by."""

    INVALID_JSON = "invalid_json"
    INVALID_UTF8 = "invalid_utf8"
    LONE_SURROGATE = "lone_surrogate"
    NUL_CHARACTER = "nul_character"
    NOT_AN_OBJECT = "not_an_object"
    TOO_DEEP = "too_deep"
    OUT_OF_RANGE = "out_of_range"
    WRONG_TYPE = "wrong_type"
    MISSING_VALUE = "missing_value"
    MISSING_KEY = "missing_key"
    NO_SCHEMA_ID = "no_schema_id"
    UNKNOWN_SCHEMA = "unknown_schema"
    UNDECODABLE = "undecodable"
    NEW_FIELD = "new_field"
    NAME_COLLISION = "name_collision"
    TRANSFORM_FAILED = "transform_failed"
    REJECTED_BY_POSTGRESQL = "rejected_by_postgresql"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not become a row, stored with its bytes beside the batch it came in.

    ``sqlstate`` is set where PostgreSQL itself rejected the row; ``column`` where one column is
    to blame.
    """

    record: Record
    stage: Stage
    reason: Reason
    column: str | None = None
    sqlstate: str | None = None
