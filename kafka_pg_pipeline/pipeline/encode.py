"""Records to COPY lines: one builder a batch, grouped by the columns that the lines fill."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any
from uuid import uuid4

from kafka_pg_pipeline.domain.batches import CopyChunk
from kafka_pg_pipeline.domain.records import DeadLetter, Reason, Record, Stage
from kafka_pg_pipeline.domain.tables import TargetTable
from kafka_pg_pipeline.domain.verdicts import Rejected, Unfit
from kafka_pg_pipeline.errors import KafkaUnavailableError
from kafka_pg_pipeline.pipeline.decode_document import DocumentDecoder
from kafka_pg_pipeline.pipeline.decode_json import UNSET
from kafka_pg_pipeline.pipeline.encode_record import (
    MetadataUnfit,
    RecordBlock,
    RecordWriter,
    RunContext,
)
from kafka_pg_pipeline.pipeline.shape import RowShape

# Records that are encoded at once, column by column, while none of them surprises. Larger blocks
# gain next to nothing and lose more to a surprise.
_BLOCK = 256


class RowEncoder:
    """Encodes the records of one topic for one table; makes a builder for each batch."""

    def __init__(
        self, target: TargetTable, context: RunContext, shape: RowShape | None = None
    ) -> None:
        shape = shape or RowShape()
        others = [column for column in target.columns if not column.is_from_value]
        self.other_names = tuple(column.name for column in others)
        # The table of a topic without a record that may be read; see ``ensure_target``.
        self.is_blank = target.oid == 0 and not target.columns
        self.decoder = DocumentDecoder(
            target, shape.mapping, shape.evolution, foreign=shape.foreign
        )
        self.record_writer = RecordWriter(others, context, shape.invalid_text)

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, in the order in which lines fill them; a new field may change them."""
        return tuple(column.name for column in self.decoder.columns) + self.other_names

    @property
    def untaken(self) -> frozenset[str]:
        """The fields met so far that go nowhere for want of a column."""
        return self.decoder.untaken

    def start_batch(self) -> "BatchBuilder":
        """An empty batch."""
        return BatchBuilder(self)

    def encode(self, record: Record, load_id: str) -> tuple[Any, ...]:
        """One record's items in the order of ``names``, UNSET where a default applies.

        Raises:
            Rejected: the record's value cannot become a row.
            MetadataUnfit: one of its attributes cannot.
        """
        return self.decoder.decode(record.value) + self.record_writer.write(
            _block([record], load_id)
        )

    def encode_block(
        self, records: Sequence[Record], values: Sequence[bytes | None], load_id: str
    ) -> tuple[tuple[str, ...], list[str]] | None:
        """Columns and lines of many records; None where one of them wants a closer look."""
        block = self.decoder.decode_block(values)
        if block is None:
            return None
        filled, columns = block
        if not columns:
            return None
        names = (*(self.decoder.columns[index].name for index in filled), *self.other_names)
        try:
            rows = zip(
                *columns, *self.record_writer.write_block(_block(records, load_id)), strict=True
            )
            return names, list(map(_line_format(names).__mod__, rows))
        except Unfit:
            return None


class BatchBuilder:
    """Collects the lines of one batch, in the order of its records.

    Lines are kept apart by the columns they fill, since a record that lacks the field of a column
    with a default leaves it out, so that PostgreSQL's default applies. ``record_bytes`` counts
    the keys, values and headers of all records, dead letters included; ``rows`` counts lines.
    ``batch_id`` is the batch's, which rows may hold.
    """

    def __init__(self, encoder: RowEncoder) -> None:
        self.batch_id = uuid4()
        self._load_id = str(self.batch_id)
        self._encoder = encoder
        self._chunks: dict[tuple[str, ...], _Lines] = {}
        self.record_bytes = 0
        self.rows = 0
        self.dead_letters: list[DeadLetter] = []

    def add(self, records: Sequence[Record]) -> None:
        """Encode the records of one partition, in offset order.

        Raises:
            KafkaUnavailableError: there is no table yet, since the look at the topic's first
                records did not show these.
        """
        if self._encoder.is_blank:
            raise KafkaUnavailableError(
                "there are records that a look at the topic did not show; nothing was moved, a "
                "later run looks again"
            )
        for start in range(0, len(records), _BLOCK):
            self._add_block(records[start : start + _BLOCK])

    def chunks(self) -> tuple[CopyChunk, ...]:
        """The lines so far, one chunk for each list of columns."""
        return tuple(
            CopyChunk(names, tuple(lines.texts), tuple(lines.records))
            for names, lines in self._chunks.items()
        )

    def _add_block(self, records: Sequence[Record]) -> None:
        values = [record.value for record in records]
        keys = [record.key for record in records]
        self.record_bytes += sum(map(len, filter(None, values))) + sum(map(len, filter(None, keys)))
        self.record_bytes += sum(map(_count_bytes, filter(None, map(_fetch_headers, records))))
        block = self._encoder.encode_block(records, values, self._load_id)
        if block is None:
            for record in records:
                self._add_one(record)
            return
        names, texts = block
        lines = self._lines(names)
        lines.texts += texts
        lines.records += records
        self.rows += len(texts)

    def _add_one(self, record: Record) -> None:
        try:
            row = self._encoder.encode(record, self._load_id)
            names = self._encoder.names
            if UNSET in row:
                names, row = _leave_out_unset(names, row)
            if not names:
                # COPY cannot write a row of defaults alone.
                raise Rejected(Stage.ENCODE, Reason.MISSING_VALUE)
        except Rejected as verdict:
            letter = DeadLetter(record, verdict.stage, verdict.reason, verdict.column)
            self.dead_letters.append(letter)
        except MetadataUnfit as verdict:
            letter = DeadLetter(record, Stage.ENCODE, verdict.reason, verdict.column.name)
            self.dead_letters.append(letter)
        else:
            lines = self._lines(names)
            lines.texts.append(_line_format(names) % row)
            lines.records.append(record)
            self.rows += 1

    def _lines(self, names: tuple[str, ...]) -> "_Lines":
        return self._chunks.setdefault(names, _Lines())


@dataclass(slots=True)
class _Lines:
    """Lines for one list of columns, and the record that each was made from."""

    texts: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


_fetch_headers = attrgetter("headers")


def _count_bytes(headers: Sequence[tuple[str, bytes | None]]) -> int:
    return sum(len(key) + len(value or b"") for key, value in headers)


def _block(records: Sequence[Record], load_id: str) -> RecordBlock:
    keys = [record.key for record in records]
    return RecordBlock(records, keys, [record.value is None for record in records], load_id)


def _line_format(names: tuple[str, ...]) -> str:
    return "\t".join(["%s"] * len(names))


def _leave_out_unset(
    names: tuple[str, ...], row: tuple[Any, ...]
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    filled = [index for index, item in enumerate(row) if item is not UNSET]
    return tuple(names[index] for index in filled), tuple(row[index] for index in filled)
