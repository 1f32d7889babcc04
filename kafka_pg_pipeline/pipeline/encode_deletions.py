"""Records that delete a row, as COPY lines: the key, and what tells how old the record is."""

from collections.abc import Mapping, Sequence
from typing import Any

from kafka_pg_pipeline.domain.modes import WriteMode
from kafka_pg_pipeline.domain.records import Reason, Record, Stage
from kafka_pg_pipeline.domain.tables import Column, MetadataField
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.pipeline.decode_json import JsonDecoder
from kafka_pg_pipeline.pipeline.documents import as_object, text_document
from kafka_pg_pipeline.pipeline.encode_metadata import MetadataWriter
from kafka_pg_pipeline.ports import RecordDecoder

_VERSION = (MetadataField.PARTITION, MetadataField.OFFSET, MetadataField.INCARNATION)


class DeletionEncoder:
    """Encodes what a deletion needs of the columns of one table.

    ``names`` are the columns in the order of an encoded row: those of the key, and where the
    newest wins those that hold the version.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        topic: str,
        mode: WriteMode,
        key_decoder: RecordDecoder | None,
        incarnations: Mapping[int, int],
    ) -> None:
        needed = [
            column
            for column in columns
            if column.name in mode.key or (mode.newest_wins and column.metadata in _VERSION)
        ]
        values = [column for column in needed if column.metadata is None]
        metadata = [column for column in needed if column.metadata is not None]
        self.names = tuple(column.name for column in [*values, *metadata])
        self._fields = tuple(column.field or column.name for column in values)
        self._decoder = JsonDecoder(values)
        self._metadata = MetadataWriter(metadata, topic, incarnations)
        self._key_decoder = key_decoder

    def encode(self, record: Record, document: bytes | None) -> tuple[Any, ...]:
        """The items of ``names``; ``document`` is the row as it was, None where it is unknown.

        The key then comes from the record's own key: from its fields of the same names, or where
        it is no object it is the one key column itself.

        Raises:
            Rejected: there is no key, or it does not fit the columns.
        """
        key = self._read_key(record) if document is None else document
        return self._decoder.decode(key) + self._metadata.write(record)

    def _read_key(self, record: Record) -> bytes:
        if record.key is None:
            raise Rejected(Stage.DECODE, Reason.MISSING_KEY)
        if self._key_decoder is None:
            return as_object(text_document(record.key), self._fields)
        document = self._key_decoder.decode(record.key).document
        if document is None:
            raise Rejected(Stage.DECODE, Reason.MISSING_KEY)
        return as_object(document, self._fields)
