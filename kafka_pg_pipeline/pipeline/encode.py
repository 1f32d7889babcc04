"""Records to COPY lines: one builder a batch, grouped by the columns that the lines fill."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from operator import add
from typing import Any
from uuid import uuid4

from kafka_pg_pipeline.domain.batches import BatchCounts, CopyChunk
from kafka_pg_pipeline.domain.copy_text import CopyLines
from kafka_pg_pipeline.domain.documents import Change, Decoded
from kafka_pg_pipeline.domain.modes import Mode
from kafka_pg_pipeline.domain.record_runs import ListedRecords, RecordRun
from kafka_pg_pipeline.domain.records import DeadLetter, Reason, Record, Stage
from kafka_pg_pipeline.domain.tables import TargetTable
from kafka_pg_pipeline.domain.verdicts import Rejected, Unfit
from kafka_pg_pipeline.errors import KafkaUnavailableError
from kafka_pg_pipeline.pipeline.chunk_lines import ChunkLines
from kafka_pg_pipeline.pipeline.decode_document import DocumentDecoder
from kafka_pg_pipeline.pipeline.decode_json import UNSET
from kafka_pg_pipeline.pipeline.documents import Said, fetch_types, read_key, read_values
from kafka_pg_pipeline.pipeline.encode_deletions import DeletionEncoder
from kafka_pg_pipeline.pipeline.encode_record import RecordBlock, RecordWriter, RunContext
from kafka_pg_pipeline.pipeline.latest_lines import LatestLines
from kafka_pg_pipeline.pipeline.shape import RowShape
from kafka_pg_pipeline.pipeline.write_lines import write_lines

# Records that are encoded at once, column by column, while none of them surprises. Larger blocks
# gain next to nothing and lose more to a surprise.
_BLOCK = 256

# Of records of one partition, in offset order; as many come back, in the same order.
Keep = Callable[[RecordRun], RecordRun]


class RowEncoder:
    """Encodes the records of one topic for one table; makes a builder for each batch.

    ``at_hand`` are the records whose schemas tell the types of fields that are new among them.
    """

    def __init__(
        self, target: TargetTable, context: RunContext, shape: RowShape | None = None
    ) -> None:
        self.shape = shape or RowShape()
        self._target = target
        self.at_hand: Sequence[Record] = ()
        others = [column for column in target.columns if not column.is_from_value]
        self.other_names = tuple(column.name for column in others)
        # The table of a topic without a record that may be read; see ``ensure_target``.
        self.is_blank = target.oid == 0 and not target.columns
        self.decoder = DocumentDecoder(
            target,
            self.shape.mapping,
            self.shape.evolution,
            foreign=self.shape.foreign,
            fetch_types=self._fetch_types,
        )
        self.takes_values_as_they_are = (
            self.shape.decoders.value is None and self.shape.preparation.is_idle
        )
        self.record_writer = RecordWriter(others, context, self.shape.preparation.invalid_text)
        self.deletions = DeletionEncoder(target, context, self.shape)

    @property
    def untaken(self) -> frozenset[str]:
        """The fields met so far that go nowhere for want of a column."""
        return self.decoder.untaken

    def start_batch(self, keep: Keep = lambda records: records) -> "BatchBuilder":
        """An empty batch; ``keep`` makes of records that became lines what is kept of them."""
        return BatchBuilder(self, keep)

    def read(self, records: RecordRun) -> list[Said]:
        """What each record says.

        Raises:
            RegistryUnavailableError: a schema could not be fetched.
        """
        return read_values(records, self.shape.decoders.value, self.shape.preparation)

    def _fetch_types(self) -> Mapping[str, str]:
        return fetch_types(self.at_hand, self.shape.decoders.value)

    def encode(
        self, record: Record, decoded: Decoded, load_id: str
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Columns and items of one record, each as it stands in a line of TEXT.

        Those that a default or the row itself fills are left out.

        Raises:
            Rejected: the document, or something else of the record, cannot become a row.
        """
        decoder = self._lenient if decoded.unchanged else self.decoder
        items = decoder.decode(decoded.document)
        deleted = [decoded.change is not Change.WRITE]
        block = self.block(ListedRecords([record]), deleted, load_id)
        items += self.record_writer.write(block)
        names = tuple(column.name for column in decoder.columns) + self.other_names
        kept = decoder.columns_of(decoded.unchanged)
        if kept or UNSET in items:
            return _leave_out(names, items, kept)
        return names, items

    @cached_property
    def _lenient(self) -> DocumentDecoder:
        """For records that leave out what the row has: PostgreSQL sees what is missing then."""
        columns = [replace(column, nullable=True) for column in self._target.columns]
        target = replace(self._target, columns=tuple(columns))
        return DocumentDecoder(target, self.shape.mapping, self.shape.evolution)

    def block(self, records: RecordRun, deleted: Sequence[bool], load_id: str) -> RecordBlock:
        """Records with what their columns beside the value need.

        Raises:
            Rejected: a key is not of its format.
        """
        keys: list[bytes | None] = [None] * len(records)
        if self.record_writer.takes_key:
            keys = [read_key(record, self.shape.decoders.key) for record in records]
        return RecordBlock(records, keys, deleted, load_id)

    def encode_block(
        self, documents: Sequence[bytes | None], block: RecordBlock
    ) -> tuple[tuple[str, ...], CopyLines] | None:
        """Columns and lines of a block of documents; None where one wants a closer look."""
        found = self.decoder.decode_block(documents)
        if found is None:
            return None
        filled, rows = found
        if not filled:
            return None
        names = (*(self.decoder.columns[index].name for index in filled), *self.other_names)
        try:
            if self.other_names:
                others = zip(*self.record_writer.write_block(block), strict=True)
                rows = list(map(add, rows, others))
            return names, write_lines(rows)
        except Unfit:
            return None


class BatchBuilder:
    """Collects the lines of one batch, in the order of its records.

    Lines are kept apart by the columns they fill, since a record that lacks the field of a column
    with a default leaves it out, so that PostgreSQL's default applies. ``records`` counts all
    records added, and ``record_bytes`` their keys, values and headers. ``batch_id`` is the
    batch's, which rows may hold.
    """

    def __init__(self, encoder: RowEncoder, keep: Keep) -> None:
        self.batch_id = uuid4()
        self._load_id = str(self.batch_id)
        self._encoder = encoder
        self._keep = keep
        self._mode = encoder.shape.mode
        self._chunks: dict[tuple[Change, tuple[str, ...]], ChunkLines] = {}
        self._latest: LatestLines | None = None
        self.records = 0
        self.record_bytes = 0
        self.dead_letters: list[DeadLetter] = []
        self.settled: dict[int, BatchCounts] = {}
        self.truncates = False

    def add(self, records: RecordRun) -> None:
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
        """The lines so far, one chunk for each change, list of columns and format."""
        return tuple(
            chunk
            for (change, names), lines in self._chunks.items()
            for chunk in lines.chunks(names, change)
        )

    def _add_block(self, records: RecordRun) -> None:
        values: list[bytes | None] = records.column("value")
        self.records += len(records)
        self.record_bytes += sum(map(len, filter(None, values)))
        self.record_bytes += sum(map(len, filter(None, records.column("key"))))
        self.record_bytes += sum(map(_count_bytes, filter(None, records.column("headers"))))
        select = self._encoder.shape.select
        if select is not None:
            chosen = ListedRecords(record for record in records if select(record))
            left_out = len(records) - len(chosen)
            self._settle(records[0].partition, BatchCounts(filtered=left_out))
            records, values = chosen, chosen.column("value")
        if not records:
            return
        self._encoder.at_hand = records
        if self._encoder.takes_values_as_they_are and None not in values:
            self._write_documents(records, values)
            return
        said = self._encoder.read(records)
        documents = _plain_documents(said)
        if documents is None:
            self._do(records, said)
        else:
            self._write_documents(records, documents)

    def _write_documents(self, records: RecordRun, documents: Sequence[bytes | None]) -> None:
        if self._write_block(records, documents, [False] * len(records)):
            return
        for record, document in zip(records, documents, strict=True):
            self._write_one(record, Decoded(document))

    def _do(self, records: RecordRun, said_of_all: Sequence[Said]) -> None:
        """Do what each record says, in their order."""
        written: list[Record] = []
        decoded: list[Decoded] = []
        for record, said in zip(records, said_of_all, strict=True):
            if isinstance(said, Rejected):
                self._reject(record, said)
                continue
            if said is None:
                self._settle(record.partition, BatchCounts(filtered=1))
                continue
            if said.change is Change.WRITE or self._mode.mode is Mode.APPEND:
                written.append(record)
                decoded.append(said)
                continue
            self._write(written, decoded)
            written, decoded = [], []
            self._take_away(record, said)
        self._write(written, decoded)

    def _write(self, records: Sequence[Record], decoded: Sequence[Decoded]) -> None:
        if not records:
            return
        if not any(unchanged for _, _, unchanged in decoded):
            documents = [document for document, _, _ in decoded]
            deleted = [change is not Change.WRITE for _, change, _ in decoded]
            if self._write_block(ListedRecords(records), documents, deleted):
                return
        for record, said in zip(records, decoded, strict=True):
            self._write_one(record, said)

    def _write_block(
        self,
        records: RecordRun,
        documents: Sequence[bytes | None],
        deleted: Sequence[bool],
    ) -> bool:
        """Write records at once; False where one of them wants a closer look."""
        if self._latest is not None:
            return False
        try:
            block = self._encoder.block(records, deleted, self._load_id)
        except Rejected:
            return False
        encoded = self._encoder.encode_block(documents, block)
        # Lines of other columns may leave out what an older line of their key has.
        if encoded is None or self._differs(encoded[0]):
            return False
        names, lines = encoded
        self._lines(Change.WRITE, names).add_block(lines, self._keep(records))
        return True

    def _write_one(self, record: Record, decoded: Decoded) -> None:
        try:
            names, row = self._encoder.encode(record, decoded, self._load_id)
            if not names:
                # COPY cannot write a row of defaults alone.
                raise Rejected(Stage.ENCODE, Reason.MISSING_VALUE)
        except Rejected as verdict:
            self._reject(record, verdict)
            return
        if self._latest is None and self._differs(names):
            self._latest = LatestLines(self._mode.key)
            for (change, known), lines in self._chunks.items():
                if change is Change.WRITE:
                    self._latest.put_lines(known, lines.texts())
        if self._latest is not None:
            names, row = self._latest.complete(names, row)
        self._add_line(Change.WRITE, names, row, record)

    def _differs(self, names: tuple[str, ...]) -> bool:
        """Whether a line of these columns is the first in an upsert that not all lines fill."""
        if self._mode.mode is not Mode.UPSERT:
            return False
        return any(
            change is Change.WRITE and known != names and lines
            for (change, known), lines in self._chunks.items()
        )

    def _take_away(self, record: Record, decoded: Decoded) -> None:
        if self._mode.mode is not Mode.UPSERT or not self._mode.deletes:
            self._settle(record.partition, BatchCounts(ignored=1))
        elif decoded.change is Change.DELETE:
            self._delete(record, decoded.document)
        else:
            self._truncate(record)

    def _delete(self, record: Record, document: bytes | None) -> None:
        deletions = self._encoder.deletions
        try:
            names, row = deletions.encode(record, document)
        except Rejected as verdict:
            self._reject(record, verdict)
            return
        if self._latest is not None:
            self._latest.forget(names, row)
        self._add_line(Change.DELETE, names, row, record)

    def _truncate(self, record: Record) -> None:
        """Nothing of what came before is left, in the table or in this batch."""
        for lines in self._chunks.values():
            for partition, number in Counter(lines.partitions()).items():
                self._settle(partition, BatchCounts(superseded=number))
        self._chunks.clear()
        self._latest = None
        self.truncates = True
        self._settle(record.partition, BatchCounts(deleted=1))

    def _settle(self, partition: int, counts: BatchCounts) -> None:
        self.settled[partition] = self.settled.get(partition, BatchCounts()) + counts

    def _reject(self, record: Record, verdict: Rejected) -> None:
        reason = verdict.reason
        if reason is Reason.MISSING_VALUE and verdict.column in self._mode.key:
            reason = Reason.MISSING_KEY
        self.dead_letters.append(DeadLetter(record, verdict.stage, reason, verdict.column))

    def _add_line(
        self, change: Change, names: tuple[str, ...], row: tuple[Any, ...], record: Record
    ) -> None:
        self._lines(change, names).add("\t".join(map(str, row)), record)

    def _lines(self, change: Change, names: tuple[str, ...]) -> ChunkLines:
        return self._chunks.setdefault((change, names), ChunkLines())


def _plain_documents(said: Sequence[Said]) -> list[bytes | None] | None:
    """The documents where each record writes one row and no more is to know; else None."""
    documents = []
    for decoded in said:
        if not isinstance(decoded, Decoded):
            return None
        document, change, unchanged = decoded
        if change is not Change.WRITE or unchanged:
            return None
        documents.append(document)
    return documents


def _count_bytes(headers: Sequence[tuple[str, bytes | None]]) -> int:
    return sum(len(key) + len(value or b"") for key, value in headers)


def _leave_out(
    names: tuple[str, ...], row: tuple[Any, ...], kept: frozenset[str]
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    filled = [
        index for index, item in enumerate(row) if item is not UNSET and names[index] not in kept
    ]
    return tuple(names[index] for index in filled), tuple(row[index] for index in filled)
