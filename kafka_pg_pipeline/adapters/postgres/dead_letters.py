"""Dead letters on their way into the table: staged by COPY first, then moved by the server.

They are as large as the records they hold. Sent by the client after the positions were locked,
over a slow line, they would keep others waiting, and the server would take the transaction for
idle and end it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2 import sql

from kafka_pg_pipeline.adapters.postgres.connection import Cursor, Statements
from kafka_pg_pipeline.adapters.postgres.staging import copy_lines, names_of
from kafka_pg_pipeline.domain.batches import EncodedBatch
from kafka_pg_pipeline.domain.copy_text import NULL, TextLines, escape
from kafka_pg_pipeline.domain.records import DeadLetter
from kafka_pg_pipeline.errors import InvariantError

_STAGE = sql.Identifier("pg_temp", "kafka_pg_dead_letter")
_COLUMNS = (
    "partition",
    "incarnation",
    "epoch",
    "record_offset",
    "record_timestamp",
    "timestamp_type",
    "key",
    "value",
    "header_keys",
    "header_values",
    "stage",
    "reason",
    "column_name",
    "sqlstate",
)


def stage_dead_letters(cursor: Cursor, statements: Statements, batch: EncodedBatch) -> None:
    """COPY a batch's dead letters into a temporary table of the transaction."""
    positions = {piece.position.partition: piece.position for piece in batch.slices}
    cursor.execute(statements["create_dead_letter_stage"])
    lines = []
    for letter in batch.dead_letters:
        position = positions[letter.record.partition]
        lines.append("\t".join(_fields(letter, position.incarnation, position.epoch)))
    copy_lines(cursor, _STAGE, names_of(_COLUMNS), TextLines(lines))


def insert_dead_letters(
    cursor: Cursor, statements: Statements, batch: EncodedBatch, key: Mapping[str, Any]
) -> None:
    """Move the staged dead letters into the table; ``key`` names stream and topic.

    Raises:
        InvariantError: not all of them arrived.

    """
    cursor.execute(statements["insert_dead_letters"], {**key, "batch_id": str(batch.batch_id)})
    if cursor.rowcount != len(batch.dead_letters):
        raise InvariantError(
            f"{cursor.rowcount} of {len(batch.dead_letters)} dead letters were stored"
        )


def _fields(letter: DeadLetter, incarnation: int, epoch: int) -> tuple[str, ...]:
    record = letter.record
    return (
        str(record.partition),
        str(incarnation),
        str(epoch),
        str(record.offset),
        str(record.timestamp),
        str(record.timestamp_type),
        _bytes(record.key),
        _bytes(record.value),
        _array([key.encode() for key, _ in record.headers]),
        _array([value for _, value in record.headers]),
        letter.stage.value,
        letter.reason.value,
        escape(letter.column),
        escape(letter.sqlstate),
    )


def _bytes(value: bytes | None) -> str:
    """A bytea's text, whose backslash is the only character to escape."""
    return NULL if value is None else "\\\\x" + value.hex()


def _array(values: Sequence[bytes | None]) -> str:
    """bytea[] text: elements in quotes, their backslashes doubled."""
    items = ("NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values)
    return escape("{" + ",".join(items) + "}")
