"""Records that delete a row, as COPY lines: the key, and what tells how old the record is."""

from dataclasses import replace
from typing import Any

from kafka_pg_pipeline.domain.modes import WriteMode
from kafka_pg_pipeline.domain.records import Reason, Record, Stage
from kafka_pg_pipeline.domain.tables import MetadataField, TargetTable
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.pipeline.decode_document import DocumentDecoder
from kafka_pg_pipeline.pipeline.documents import as_object, key_document
from kafka_pg_pipeline.pipeline.encode_record import RecordBlock, RecordWriter, RunContext
from kafka_pg_pipeline.pipeline.evolve import TableEvolution
from kafka_pg_pipeline.pipeline.shape import RowShape
from kafka_pg_pipeline.ports import RecordDecoder

_VERSION = (MetadataField.PARTITION, MetadataField.OFFSET, MetadataField.INCARNATION)


class DeletionEncoder:
    """Encodes what a deletion needs of the columns of one table.

    These are the columns of the key, and where the newest wins those that hold the version.
    """

    def __init__(
        self,
        target: TargetTable,
        context: RunContext,
        mode: WriteMode,
        shape: RowShape,
        key_decoder: RecordDecoder | None,
    ) -> None:
        needed = tuple(
            column
            for column in target.columns
            if column.name in mode.key or (mode.newest_wins and column.metadata in _VERSION)
        )
        others = [column for column in needed if not column.is_from_value]
        self._decoder = DocumentDecoder(
            replace(target, columns=needed), shape.mapping, TableEvolution(), required=mode.key
        )
        self._others = tuple(column.name for column in others)
        self._writer = RecordWriter(others, context, shape.invalid_text, key_decoder)
        self._prepare = shape.prepare_key
        self._key_decoder = key_decoder

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in the order of an encoded row."""
        return tuple(column.name for column in self._decoder.columns) + self._others

    def encode(self, block: RecordBlock, document: bytes | None) -> tuple[Any, ...]:
        """The items of ``names``; ``document`` is the row as it was, None where it is unknown.

        The key then comes from the record's own key: from its fields of the same names, or where
        it is no object it is the one key column itself.

        Raises:
            Rejected: there is no key, or it does not fit the columns.
        """
        if not self._decoder.columns:
            return self._writer.write(block)
        key = self._read_key(block.records[0]) if document is None else document
        return self._decoder.decode(key) + self._writer.write(block)

    def _read_key(self, record: Record) -> bytes:
        document = key_document(record.key, self._key_decoder)
        if document is None:
            raise Rejected(Stage.DECODE, Reason.MISSING_KEY)
        fields = tuple(column.field or column.name for column in self._decoder.columns)
        return self._prepare(as_object(document, fields))
