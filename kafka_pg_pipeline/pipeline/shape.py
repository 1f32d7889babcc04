"""What the file says of how a stream's records become rows, ready for its encoder."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from kafka_pg_pipeline.domain.policies import InvalidText
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.domain.verdicts import Rejected
from kafka_pg_pipeline.pipeline.evolve import TableEvolution
from kafka_pg_pipeline.pipeline.flatten import Flattener
from kafka_pg_pipeline.pipeline.mapping import FieldMapping
from kafka_pg_pipeline.pipeline.repair_text import repair_document
from kafka_pg_pipeline.pipeline.transform import load_transform
from kafka_pg_pipeline.ports import RecordDecoder, TargetEvolution
from kafka_pg_pipeline.settings.models import StreamSettings

_OnDocument = Callable[[bytes], bytes]
_OnRecord = Callable[[Record, bytes], bytes | None]


@dataclass(frozen=True)
class RowShape:
    """How records become rows; its evolution counts what it changed, so that a run has one each.

    ``foreign`` is what to say if none of the first fields has a column, where that is wrong.
    """

    mapping: FieldMapping = field(default_factory=FieldMapping)
    evolution: TableEvolution = field(default_factory=TableEvolution)
    invalid_text: InvalidText = InvalidText.DEAD_LETTER
    flatten: _OnDocument | None = None
    transform: _OnRecord | None = None
    foreign: str | None = None

    @property
    def prepare(self) -> _OnRecord | None:
        """What is done with a value's document before columns are filled; None for nothing.

        It makes None of a record that is left out, and raises Rejected.
        """
        if self.transform is None and self._is_plain:
            return None
        return self._prepare

    def prepare_key(self, document: bytes) -> bytes:
        """The document of a key, as that of a value would be; it is not transformed.

        Raises:
            Rejected: see ``Flattener``.
        """
        document = repair_document(document, self.invalid_text)
        return document if self.flatten is None else self.flatten(document)

    @property
    def _is_plain(self) -> bool:
        return self.flatten is None and self.invalid_text is InvalidText.DEAD_LETTER

    def _prepare(self, record: Record, document: bytes) -> bytes | None:
        document = repair_document(document, self.invalid_text)
        made = document if self.transform is None else self.transform(record, document)
        return made if made is None or self.flatten is None else self.flatten(made)


def shape_of(stream: StreamSettings, port: TargetEvolution | None) -> RowShape:
    """The shape of a stream's rows, for one run.

    Raises:
        ConfigurationError: there is no such function as `transform` names.
    """
    mapping = FieldMapping.of(stream)
    kept = [column.field or name for name, column in stream.columns.items()]
    flattener = Flattener(stream.separator, kept=kept) if stream.nested == "flatten" else None
    return RowShape(
        mapping=mapping,
        evolution=TableEvolution(stream.evolution, mapping, port),
        invalid_text=stream.invalid_text,
        flatten=flattener,
        transform=load_transform(stream.transform, stream.topic) if stream.transform else None,
    )


def documents_of(
    records: Iterable[Record], shape: RowShape, decoder: RecordDecoder | None = None
) -> Iterator[bytes]:
    """The documents that rows would be made of; without those that are left out or rejected."""
    for record in records:
        if record.value is None:
            continue
        try:
            document = record.value if decoder is None else decoder.decode(record.value).document
            if document is not None and shape.prepare is not None:
                document = shape.prepare(record, document)
        except Rejected:
            continue
        if document is not None:
            yield document
