"""Records to COPY lines: one builder a batch, grouped by the columns that the lines fill."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any
from uuid import uuid4

from kafka_pg_pipeline.domain.batches import BatchCounts, CopyChunk
from kafka_pg_pipeline.domain.documents import Change, Decoded
from kafka_pg_pipeline.domain.modes import APPEND, Mode, WriteMode
from kafka_pg_pipeline.domain.records import DeadLetter, Reason, Record, Stage
from kafka_pg_pipeline.domain.tables import Column, TargetTable
from kafka_pg_pipeline.domain.verdicts import Rejected, Unfit
from kafka_pg_pipeline.errors import KafkaUnavailableError
from kafka_pg_pipeline.pipeline.decode_document import DocumentDecoder
from kafka_pg_pipeline.pipeline.decode_json import UNSET
from kafka_pg_pipeline.pipeline.encode_deletions import DeletionEncoder
from kafka_pg_pipeline.pipeline.encode_record import RecordBlock, RecordWriter, RunContext
from kafka_pg_pipeline.pipeline.shape import RowShape
from kafka_pg_pipeline.ports import RecordDecoder

# Records that are encoded at once, column by column, while none of them surprises. Larger blocks
# gain next to nothing and lose more to a surprise.
_BLOCK = 256


class RowEncoder:
    """Encodes the records of one topic for one table; makes a builder for each batch.

    ``value_decoder`` and ``key_decoder`` turn values and keys into JSON documents; without them
    values are JSON, and keys are text. ``shape`` says how documents become rows.
    """

    def __init__(
        self,
        target: TargetTable,
        context: RunContext,
        *,
        shape: RowShape | None = None,
        mode: WriteMode = APPEND,
        value_decoder: RecordDecoder | None = None,
        key_decoder: RecordDecoder | None = None,
    ) -> None:
        shape = shape or RowShape()
        target = replace(target, columns=tuple(_require_key(target.columns, mode)))
        others = [column for column in target.columns if not column.is_from_value]
        self.mode = mode
        self.prepare = shape.prepare
        self.value_decoder = value_decoder
        self.other_names = tuple(column.name for column in others)
        # The table of a topic without a record that may be read; see ``ensure_target``.
        self.is_blank = target.oid == 0 and not target.columns
        self.decoder = DocumentDecoder(
            target, shape.mapping, shape.evolution, required=mode.key, foreign=shape.foreign
        )
        self.record_writer = RecordWriter(others, context, shape.invalid_text, key_decoder)
        self.deletions = DeletionEncoder(target, context, mode, shape, key_decoder)

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

    def decode(self, record: Record) -> Decoded:
        """What a record says.

        Raises:
            Rejected: its value is not of the format.
            RegistryUnavailableError: its schema could not be fetched.
        """
        if record.value is None:
            return _TOMBSTONE
        if self.value_decoder is None:
            return Decoded(record.value)
        return self.value_decoder.decode(record.value)

    def encode(self, block: RecordBlock, document: bytes | None) -> tuple[Any, ...]:
        """The items of the one record of a block, as ``names``; UNSET where a default applies.

        Raises:
            Rejected: the document, or one of the record's attributes, cannot become a row.
        """
        return self.decoder.decode(document) + self.record_writer.write(block)

    def encode_block(
        self, records: RecordBlock, documents: Sequence[bytes | None]
    ) -> tuple[tuple[str, ...], list[str]] | None:
        """Columns and lines of many records; None where one of them wants a closer look."""
        block = self.decoder.decode_block(documents)
        if block is None:
            return None
        filled, columns = block
        if not columns:
            return None
        names = (*(self.decoder.columns[index].name for index in filled), *self.other_names)
        try:
            rows = zip(*columns, *self.record_writer.write_block(records), strict=True)
            return names, list(map(_line_format(names).__mod__, rows))
        except (Unfit, Rejected):
            return None


class BatchBuilder:
    """Collects the lines of one batch, in the order of its records.

    Lines are kept apart by the columns they fill, since a record that lacks the field of a column
    with a default leaves it out, so that PostgreSQL's default applies. ``records`` counts all
    records added, and ``record_bytes`` their keys, values and headers. ``batch_id`` is the
    batch's, which its rows may hold.
    """

    def __init__(self, encoder: RowEncoder) -> None:
        self._encoder = encoder
        self.batch_id = uuid4()
        self._load_id = str(self.batch_id)
        self._chunks: dict[tuple[Change, tuple[str, ...]], _Lines] = {}
        self.records = 0
        self.record_bytes = 0
        self.dead_letters: list[DeadLetter] = []
        self.settled: dict[int, BatchCounts] = {}
        self.truncates = False

    def add(self, records: Sequence[Record]) -> None:
        """Encode the records of one partition, in offset order.

        Raises:
            KafkaUnavailableError: there is no table yet, since the look at the topic's first
                records did not show these.
            RegistryUnavailableError: a schema could not be fetched.
        """
        if self._encoder.is_blank:
            raise KafkaUnavailableError(
                "there are records that a look at the topic did not show; nothing was moved, a "
                "later run looks again"
            )
        for start in range(0, len(records), _BLOCK):
            self._add_block(records[start : start + _BLOCK])

    def chunks(self) -> tuple[CopyChunk, ...]:
        """The lines so far, one chunk for each change and list of columns."""
        return tuple(
            CopyChunk(names, tuple(lines.texts), tuple(lines.records), change)
            for (change, names), lines in self._chunks.items()
        )

    def _add_block(self, records: Sequence[Record]) -> None:
        values = [record.value for record in records]
        keys = [record.key for record in records]
        self.records += len(records)
        self.record_bytes += sum(map(len, filter(None, values))) + sum(map(len, filter(None, keys)))
        self.record_bytes += sum(map(_count_bytes, filter(None, map(_fetch_headers, records))))
        encoder = self._encoder
        if encoder.value_decoder is None and encoder.prepare is None and None not in values:
            self._write(self._block(records), values)
        else:
            self._change(records)

    def _change(self, records: Sequence[Record]) -> None:
        """Do what each record says, in their order."""
        written: list[Record] = []
        documents: list[bytes | None] = []
        deleted: list[bool] = []
        for record in records:
            try:
                decoded = self._encoder.decode(record)
                document, change = decoded.document, decoded.change
                if document is not None and self._encoder.prepare is not None:
                    document = self._encoder.prepare(record, document)
                    if document is None:
                        self._settle(record, BatchCounts(filtered=1))
                        continue
            except Rejected as verdict:
                self._reject(record, verdict)
                continue
            if change is Change.WRITE or self._encoder.mode.mode is Mode.APPEND:
                written.append(record)
                documents.append(document)
                deleted.append(change is Change.DELETE)
            elif self._encoder.mode.mode is not Mode.UPSERT or not self._encoder.mode.deletes:
                self._settle(record, BatchCounts(ignored=1))
            elif change is Change.DELETE:
                self._delete(record, document)
            else:
                self._write(self._block(written, deleted), documents)
                written, documents, deleted = [], [], []
                self._truncate(record)
        self._write(self._block(written, deleted), documents)

    def _block(self, records: Sequence[Record], deleted: Sequence[bool] = ()) -> RecordBlock:
        return RecordBlock(records, deleted or [False] * len(records), self._load_id)

    def _write(self, written: RecordBlock, documents: Sequence[bytes | None]) -> None:
        if not written.records:
            return
        block = self._encoder.encode_block(written, documents)
        if block is None:
            for one, document in zip(written.split(), documents, strict=True):
                self._write_one(one, document)
            return
        names, texts = block
        lines = self._lines(Change.WRITE, names)
        lines.texts += texts
        lines.records += written.records

    def _write_one(self, block: RecordBlock, document: bytes | None) -> None:
        record = block.records[0]
        try:
            row = self._encoder.encode(block, document)
            names = self._encoder.names
            if UNSET in row:
                names, row = _leave_out_unset(names, row)
            if not names:
                # COPY cannot write a row of defaults alone.
                raise Rejected(Stage.ENCODE, Reason.MISSING_VALUE)
        except Rejected as verdict:
            self._reject(record, verdict)
        else:
            self._add_line(Change.WRITE, names, row, record)

    def _delete(self, record: Record, document: bytes | None) -> None:
        deletions = self._encoder.deletions
        try:
            row = deletions.encode(self._block([record], [True]), document)
        except Rejected as verdict:
            self._reject(record, verdict)
        else:
            self._add_line(Change.DELETE, deletions.names, row, record)

    def _truncate(self, record: Record) -> None:
        """Nothing of what came before is left, in the table or in this batch."""
        for lines in self._chunks.values():
            for overtaken in lines.records:
                self._settle(overtaken, BatchCounts(superseded=1))
        self._chunks.clear()
        self.truncates = True
        self._settle(record, BatchCounts(deleted=1))

    def _settle(self, record: Record, counts: BatchCounts) -> None:
        known = self.settled.get(record.partition, BatchCounts())
        self.settled[record.partition] = known + counts

    def _reject(self, record: Record, verdict: Rejected) -> None:
        reason = verdict.reason
        if reason is Reason.MISSING_VALUE and verdict.column in self._encoder.mode.key:
            reason = Reason.MISSING_KEY
        self.dead_letters.append(DeadLetter(record, verdict.stage, reason, verdict.column))

    def _add_line(
        self, change: Change, names: tuple[str, ...], row: tuple[Any, ...], record: Record
    ) -> None:
        lines = self._lines(change, names)
        lines.texts.append(_line_format(names) % row)
        lines.records.append(record)

    def _lines(self, change: Change, names: tuple[str, ...]) -> "_Lines":
        return self._chunks.setdefault((change, names), _Lines())


@dataclass(slots=True)
class _Lines:
    """Lines for one list of columns, and the record that each was made from."""

    texts: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


_fetch_headers = attrgetter("headers")
_TOMBSTONE = Decoded(None, Change.DELETE)


def _require_key(columns: Sequence[Column], mode: WriteMode) -> list[Column]:
    """The columns, those of the key such as must have a value of the record's."""
    return [column.as_required() if column.name in mode.key else column for column in columns]


def _count_bytes(headers: Sequence[tuple[str, bytes | None]]) -> int:
    return sum(len(key) + len(value or b"") for key, value in headers)


def _line_format(names: tuple[str, ...]) -> str:
    return "\t".join(["%s"] * len(names))


def _leave_out_unset(
    names: tuple[str, ...], row: tuple[Any, ...]
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    filled = [index for index, item in enumerate(row) if item is not UNSET]
    return tuple(names[index] for index in filled), tuple(row[index] for index in filled)
