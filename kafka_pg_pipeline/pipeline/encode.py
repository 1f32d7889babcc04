"""Records to COPY lines: one builder a batch, grouped by the columns that the lines fill."""

from collections.abc import Sequence
from typing import Any

from kafka_pg_pipeline.domain.batches import CopyChunk
from kafka_pg_pipeline.domain.records import DeadLetter, Record, Stage
from kafka_pg_pipeline.domain.tables import TargetTable
from kafka_pg_pipeline.pipeline.decode_json import UNSET, JsonDecoder, Rejected
from kafka_pg_pipeline.pipeline.record_metadata import MetadataUnfit, MetadataWriter


class RowEncoder:
    """Encodes the records of one topic for one table; makes a builder for each batch."""

    def __init__(self, target: TargetTable, *, topic: str) -> None:
        values = [column for column in target.columns if column.metadata is None]
        metadata = [column for column in target.columns if column.metadata is not None]
        self.names = tuple(column.name for column in (*values, *metadata))
        self.has_defaults = any(column.has_default for column in values)
        self.decoder = JsonDecoder(values)
        self.metadata = MetadataWriter(metadata, topic)

    def start_batch(self) -> "BatchBuilder":
        """An empty batch."""
        return BatchBuilder(self)


class BatchBuilder:
    """Collects the lines of one batch, in the order of its records.

    Lines are kept apart by the columns they fill, since a record that lacks the field of a column
    with a default leaves it out, so that PostgreSQL's default applies.
    """

    def __init__(self, encoder: RowEncoder) -> None:
        self._encoder = encoder
        self._all_columns = "\t".join(["%s"] * len(encoder.names))
        self._chunks: dict[tuple[str, ...], tuple[list[str], list[Record]]] = {}
        self.record_bytes = 0
        self.rows = 0
        self.dead_letters: list[DeadLetter] = []

    def add(self, records: Sequence[Record]) -> None:
        """Encode the records of one partition, in offset order."""
        decode, describe = self._encoder.decoder.decode, self._encoder.metadata.write
        has_defaults, line_format = self._encoder.has_defaults, self._all_columns
        lines, kept = self._chunk(self._encoder.names)
        size = 0
        before = len(self.dead_letters)
        for record in records:
            value = record.value
            size += len(value or b"") + len(record.key or b"")
            try:
                row = decode(value) + describe(record)
            except (Rejected, MetadataUnfit) as verdict:
                self.dead_letters.append(_dead_letter(record, verdict))
                continue
            if has_defaults and UNSET in row:
                self._add_partial(record, row)
                continue
            lines.append(line_format % row)
            kept.append(record)
        self.record_bytes += size
        self.rows += len(records) - (len(self.dead_letters) - before)

    def chunks(self) -> tuple[CopyChunk, ...]:
        """The lines so far, one chunk for each list of columns."""
        return tuple(
            CopyChunk(names, tuple(lines), tuple(records))
            for names, (lines, records) in self._chunks.items()
            if lines
        )

    def _chunk(self, names: tuple[str, ...]) -> tuple[list[str], list[Record]]:
        return self._chunks.setdefault(names, ([], []))

    def _add_partial(self, record: Record, row: tuple[Any, ...]) -> None:
        filled = [
            (name, item)
            for name, item in zip(self._encoder.names, row, strict=True)
            if item is not UNSET
        ]
        lines, kept = self._chunk(tuple(name for name, _ in filled))
        lines.append("\t".join(str(item) for _, item in filled))
        kept.append(record)


def _dead_letter(record: Record, verdict: Rejected | MetadataUnfit) -> DeadLetter:
    if isinstance(verdict, Rejected):
        return DeadLetter(record, verdict.stage, verdict.reason, verdict.column)
    return DeadLetter(record, Stage.ENCODE, verdict.reason, verdict.column.name)
