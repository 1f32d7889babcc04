"""What is done with a document before its fields meet columns: repaired, transformed, flattened."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from kafka_pg_pipeline.domain.policies import InvalidText
from kafka_pg_pipeline.domain.records import Record
from kafka_pg_pipeline.pipeline.flatten import Flattener
from kafka_pg_pipeline.pipeline.repair_text import repair_document
from kafka_pg_pipeline.pipeline.transform import load_transform
from kafka_pg_pipeline.settings.models import StreamSettings


@dataclass(frozen=True)
class Preparation:
    """The steps that a stream names; without any documents stay as they are."""

    invalid_text: InvalidText = InvalidText.DEAD_LETTER
    transform: Callable[[Record, bytes], bytes | None] | None = None
    flatten: Callable[[bytes], bytes] | None = None

    @cached_property
    def is_idle(self) -> bool:
        """Whether documents stay as they are."""
        repairs = self.invalid_text is not InvalidText.DEAD_LETTER
        return not repairs and self.transform is None and self.flatten is None

    def of_value(self, record: Record, document: bytes) -> bytes | None:
        """The document of a record's value; None where the record is left out.

        Raises:
            Rejected: a step cannot do it.
        """
        repaired = repair_document(document, self.invalid_text)
        made = repaired if self.transform is None else self.transform(record, repaired)
        return made if made is None or self.flatten is None else self.flatten(made)

    def of_key(self, document: bytes) -> bytes:
        """The document of a key, as that of a value would be, but for the transform.

        Raises:
            Rejected: a step cannot do it.
        """
        repaired = repair_document(document, self.invalid_text)
        return repaired if self.flatten is None else self.flatten(repaired)


def preparation_of(stream: StreamSettings) -> Preparation:
    """The steps of a stream.

    Raises:
        ConfigurationError: there is no such function as `transform` names.
    """
    kept = [column.field or name for name, column in stream.columns.items()]
    return Preparation(
        invalid_text=stream.invalid_text,
        transform=load_transform(stream.transform, stream.topic) if stream.transform else None,
        flatten=Flattener(stream.separator, kept=kept) if stream.nested == "flatten" else None,
    )
