"""Copies of dead letters for a topic: after their commit, at least once each.

The table is the truth: a letter is marked once the broker has acknowledged its copy, so that a
crash before the mark copies it once more, and none is forgotten.
"""

import logging

from kafka_pg_pipeline import failpoints
from kafka_pg_pipeline.domain.letters import ChunkLimits
from kafka_pg_pipeline.errors import PipelineError
from kafka_pg_pipeline.ports import LetterCopies, LetterPublisher

logger = logging.getLogger(__name__)

# A publisher names as many refused letters one by one.
_CHUNK = ChunkLimits(max_rows=1_000, max_bytes=16 * 1024 * 1024)


class LetterCopier:
    """Copies the dead letters of one stream to the topic that the stream names for them."""

    def __init__(
        self, stream: str, topic: str, copies: LetterCopies, publisher: LetterPublisher
    ) -> None:
        self._stream = stream
        self._topic = topic
        self._copies = copies
        self._publisher = publisher

    def copy(self) -> tuple[str, ...]:
        """Copy every unresolved letter that was never copied; warnings where that failed.

        Never raises for it: the letters are in the table.
        """
        try:
            refused = self._copy_all()
        except PipelineError as error:
            return self._warn(f"dead letters could not be copied to topic {self._topic}: {error}")
        if refused:
            return self._warn(f"topic {self._topic} refused the copies of {refused} dead letters")
        return ()

    def _copy_all(self) -> int:
        refused, after_id = 0, 0
        while letters := self._copies.fetch_uncopied(after_id, _CHUNK):
            failpoints.reach("before_letters_copied")
            copied = self._publisher.publish(letters)
            failpoints.reach("after_letters_copied")
            self._copies.mark_copied(copied)
            refused += len(letters) - len(copied)
            after_id = letters[-1].letter.id
        return refused

    def _warn(self, what: str) -> tuple[str, ...]:
        warning = (
            f"{what}. They are kept in the table of dead letters; the next "
            f"`kafka-pg load {self._stream}`, or run in Dagster, copies them"
        )
        logger.warning("%s: %s", self._stream, warning)
        return (warning,)
