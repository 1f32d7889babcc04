"""Records that delete a row, as COPY lines: the key, and what tells how old the record is."""

from dataclasses import replace
from typing import Any

from kafka_pg_pipeline.domain.record_runs import ListedRecords
from kafka_pg_pipeline.domain.records import Reason, Record, Stage
from kafka_pg_pipeline.domain.tables import Column, MetadataField, TargetTable
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.pipeline.decode_document import DocumentDecoder
from kafka_pg_pipeline.pipeline.documents import as_object, read_key
from kafka_pg_pipeline.pipeline.encode_record import RecordBlock, RecordWriter, RunContext
from kafka_pg_pipeline.pipeline.evolve import TableEvolution
from kafka_pg_pipeline.pipeline.shape import RowShape

_VERSION = (MetadataField.PARTITION, MetadataField.OFFSET, MetadataField.INCARNATION)


class DeletionEncoder:
    """Encodes what a deletion needs of the columns of one table.

    These are the columns of the key, and where the newest wins those that hold the version.
    """

    def __init__(self, target: TargetTable, context: RunContext, shape: RowShape) -> None:
        mode = shape.mode

        def is_needed(column: Column) -> bool:
            is_version = mode.newest_wins and column.metadata in _VERSION
            return column.name in mode.key or is_version

        needed = [column for column in target.columns if is_needed(column)]
        values = [column for column in needed if column.is_from_value]
        others = [column for column in needed if not column.is_from_value]
        self._fields = tuple(column.field or column.name for column in values)
        self._names = tuple(column.name for column in others)
        # It is a look at the key's fields alone: the table does not change for the others.
        self._decoder = DocumentDecoder(
            replace(target, columns=tuple(values)), shape.mapping, TableEvolution()
        )
        self._writer = RecordWriter(others, context, shape.preparation.invalid_text)
        self._key_decoder = shape.decoders.key
        self._prepare = shape.preparation.of_key

    def encode(
        self, record: Record, document: bytes | None
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Columns and items; ``document`` is the row as it was, None where it is unknown.

        The key then comes from the record's own key: from its fields of the same names, or where
        it is no object it is the one key column itself.

        Raises:
            Rejected: there is no key, or it does not fit the columns.
        """
        items: tuple[Any, ...] = ()
        if self._fields:
            row = self._read_key(record) if document is None else document
            items = self._decoder.decode(row)
        names = tuple(column.name for column in self._decoder.columns) + self._names
        key = read_key(record, self._key_decoder) if self._writer.takes_key else None
        return names, items + self._writer.write(
            RecordBlock(ListedRecords([record]), [key], [True], "")
        )

    def _read_key(self, record: Record) -> bytes:
        document = read_key(record, self._key_decoder)
        if document is None:
            raise Rejected(Stage.DECODE, Reason.MISSING_KEY)
        return self._prepare(as_object(document, self._fields))
