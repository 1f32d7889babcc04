"""A topic as a window of time sees it: where its records begin, and where looking may stop."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from kafka_pg_pipeline.domain.offsets import TopicIdentity, TopicSnapshot
from kafka_pg_pipeline.domain.windows import Window, WindowSelection
from kafka_pg_pipeline.ports import TopicInspector
from kafka_pg_pipeline.settings.models import StreamSettings


class WindowInspector:
    """A TopicInspector whose ends are those of a window.

    Timestamps need not rise with the offsets, so that a record of the window may lie anywhere up
    to the topic's end. ``lateness_seconds`` bounds the look: nothing is looked for behind the
    first record that is so much later than the window.
    """

    def __init__(
        self,
        inspector: TopicInspector,
        window: Window,
        choose: Callable[[], WindowSelection],
        lateness_seconds: float | None,
    ) -> None:
        self._inspector = inspector
        self._window = window
        self._choose = choose
        self._lateness_seconds = lateness_seconds

    def fetch_snapshot(self, topic: str) -> TopicSnapshot:
        """The topic, each partition up to where the window's records may reach."""
        snapshot = self._inspector.fetch_snapshot(topic)
        late = self._fetch_late(topic)
        selection = self._choose()
        partitions = tuple(
            replace(
                bounds,
                end_offset=selection.end_of(
                    bounds.partition,
                    min(bounds.end_offset, late.get(bounds.partition, bounds.end_offset)),
                ),
            )
            for bounds in snapshot.partitions
        )
        return replace(snapshot, partitions=partitions)

    def fetch_identity(self, topic: str) -> TopicIdentity:
        """The topic's identity alone."""
        return self._inspector.fetch_identity(topic)

    def fetch_offsets_at(self, topic: str, timestamp: int) -> Mapping[int, int]:
        """As the topic has them."""
        return self._inspector.fetch_offsets_at(topic, timestamp)

    def close(self) -> None:
        """Release connections and threads; safe to call twice."""
        self._inspector.close()

    def _fetch_late(self, topic: str) -> Mapping[int, int]:
        if self._lateness_seconds is None:
            return {}
        latest = self._window.end_millisecond + round(self._lateness_seconds * 1000)
        return self._inspector.fetch_offsets_at(topic, latest)


def settings_of(window: Window, stream: StreamSettings) -> StreamSettings:
    """A window as a stream: it starts at its beginning, and goes on where records are lost.

    What retention removes meanwhile is noted as a gap of the window; nobody could get it back.
    """
    return stream.model_copy(
        update={
            "table": window.into or stream.table,
            "start": window.start,
            "on_data_loss": "continue",
        }
    )
