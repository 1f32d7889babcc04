"""Copies of dead letters on a topic of their own: the record as it was, and what was wrong."""

from collections.abc import Sequence

from kafka_pg_pipeline.adapters.kafka.producer import Message, produce_messages
from kafka_pg_pipeline.domain.letters import OpenedLetter
from kafka_pg_pipeline.settings.models import KafkaSettings

_PREFIX = "kafka_pg."


class KafkaLetterPublisher:
    """The port LetterPublisher; opens a producer for each call."""

    def __init__(
        self, settings: KafkaSettings, topic: str, *, stream: str, source: str, client_id: str
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._origin = (("stream", stream), ("topic", source))
        self._client_id = client_id

    def publish(self, letters: Sequence[OpenedLetter]) -> tuple[int, ...]:
        """Ids of the letters that all replicas have; the others are refused by the broker."""
        report = produce_messages(
            self._settings,
            self._topic,
            (self._message(opened) for opened in letters),
            client_id=self._client_id,
            idempotent=False,
        )
        refused = {failure.index for failure in report.failures}
        return tuple(
            opened.letter.id for index, opened in enumerate(letters) if index not in refused
        )

    def _message(self, opened: OpenedLetter) -> Message:
        """The letter as a record.

        kafka-python can write neither a header without a value nor a record without key and
        value: an empty one stands for each.
        """
        letter, record = opened.letter, opened.record
        about = (
            *self._origin,
            ("partition", str(letter.partition)),
            ("offset", str(letter.offset)),
            ("stage", letter.stage),
            ("reason", letter.reason),
            ("column", letter.column),
            ("sqlstate", letter.sqlstate),
        )
        headers = [(name, value or b"") for name, value in record.headers]
        headers += [(_PREFIX + name, text.encode()) for name, text in about if text is not None]
        has_nothing = record.key is None and record.value is None
        return Message(record.key, b"" if has_nothing else record.value, tuple(headers))
