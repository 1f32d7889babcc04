"""Looks at topics through kafka-python's admin client, under a deadline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.protocol.consumer import IsolationLevel

from kafka_pg_pipeline.adapters.kafka.connection import (
    ClientKeeper,
    build_client_options,
    open_client,
)
from kafka_pg_pipeline.adapters.kafka.guard import Guard
from kafka_pg_pipeline.adapters.kafka.metadata import (
    TopicMetadata,
    fetch_topic_metadata,
    fetch_topics_metadata,
)
from kafka_pg_pipeline.adapters.kafka.reachability import DIAGNOSIS_SECONDS
from kafka_pg_pipeline.adapters.kafka.retry import retry_transient
from kafka_pg_pipeline.domain.offsets import PartitionBounds, TopicIdentity, TopicSnapshot
from kafka_pg_pipeline.errors import TopicMissingError, TopicUnavailableError
from kafka_pg_pipeline.settings.models import KafkaSettings

T = TypeVar("T")

# By topic and partition.
_Offsets = Mapping[tuple[str, int], int]

_RETRY_SHARE = 0.5  # of the deadline; the rest is for the last attempt and for clearing up


@dataclass(frozen=True, slots=True)
class _Session:
    """An open admin client and the network client under it."""

    admin: Any
    keeper: ClientKeeper


class KafkaInspector:
    """TopicInspector on kafka-python; keeps its connections between calls.

    Every public call ends within ``deadline_seconds``. After an error the connections are
    dropped, and the next call makes new ones. One call at a time, from whatever thread.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        isolation: Literal["read_committed", "read_uncommitted"],
        client_id: str,
        deadline_seconds: float = 20.0,
    ) -> None:
        self._options = build_client_options(settings, client_id)
        self._isolation: Any = (
            IsolationLevel.READ_COMMITTED
            if isolation == "read_committed"
            else IsolationLevel.READ_UNCOMMITTED
        )
        self._deadline_seconds = deadline_seconds
        self._keeper: ClientKeeper | None = None
        self._session: _Session | None = None

    def fetch_snapshot(self, topic: str) -> TopicSnapshot:
        """Identity and bounds of all partitions, at the inspector's isolation level."""
        return self._run(topic, lambda session: self._snapshot(session, topic))

    def fetch_snapshots(self, topics: Sequence[str]) -> Mapping[str, TopicSnapshot]:
        """Snapshots of many topics in a few round trips; those with any trouble are left out.

        Which trouble that is, ``fetch_snapshot`` tells.
        """
        return self._run(None, lambda session: self._snapshots_at_hand(session, topics))

    def fetch_identity(self, topic: str) -> TopicIdentity:
        """The topic's identity alone: one metadata round trip."""
        return self._run(
            topic, lambda session: fetch_topic_metadata(session.keeper.manager, topic).identity
        )

    def fetch_offsets_at(self, topic: str, timestamp: int) -> Mapping[int, int]:
        """Per partition the first offset whose timestamp (ms) is not earlier, else its end."""
        return self._run(topic, lambda session: self._offsets_at(session, topic, timestamp))

    def close(self) -> None:
        """Release connections and threads; safe to call twice."""
        keeper, self._keeper, self._session = self._keeper, None, None
        if keeper is not None:
            keeper.close()

    def _run(self, topic: str | None, action: Callable[[_Session], T]) -> T:
        """``action`` on an open session, with bounded retries, under the deadline."""
        keeper = self._keeper = self._keeper or ClientKeeper()
        guard = Guard(self._options, keeper, topic)
        try:
            return guard.run(
                lambda: self._attempt(keeper, action),
                seconds=max(self._deadline_seconds - DIAGNOSIS_SECONDS, self._deadline_seconds / 2),
            )
        except TopicMissingError:
            raise
        except BaseException:
            self.close()
            raise

    def _attempt(self, keeper: ClientKeeper, action: Callable[[_Session], T]) -> T:
        session = self._session
        if session is None or session.keeper is not keeper:
            make: Callable[..., Any] = KafkaAdminClient
            session = _Session(open_client(make, keeper, self._options), keeper)
            self._session = session
        opened = session
        return retry_transient(
            lambda: action(opened), seconds=self._deadline_seconds * _RETRY_SHARE
        )

    def _snapshot(self, session: _Session, topic: str) -> TopicSnapshot:
        metadata = self._fetch_complete_metadata(session, topic)
        return self._snapshots(session, {topic: metadata})[topic]

    def _snapshots_at_hand(
        self, session: _Session, topics: Sequence[str]
    ) -> Mapping[str, TopicSnapshot]:
        known = fetch_topics_metadata(session.keeper.manager, topics)
        led = {topic: metadata for topic, metadata in known.items() if not metadata.leaderless}
        return self._snapshots(session, led) if led else {}

    def _snapshots(
        self, session: _Session, known: Mapping[str, TopicMetadata]
    ) -> Mapping[str, TopicSnapshot]:
        begin = self._list_offsets(session, known, OffsetSpec.EARLIEST)
        # The stable end before the high watermark: both only grow, so end <= high watermark.
        end = self._list_offsets(session, known, OffsetSpec.LATEST)
        high = self._list_high_watermarks(session, known, end)
        return {
            topic: TopicSnapshot(
                topic=topic,
                identity=metadata.identity,
                partitions=tuple(
                    PartitionBounds(
                        partition,
                        begin[topic, partition],
                        end[topic, partition],
                        high[topic, partition],
                    )
                    for partition in metadata.partitions
                ),
            )
            for topic, metadata in known.items()
        }

    def _offsets_at(self, session: _Session, topic: str, timestamp: int) -> Mapping[int, int]:
        known = {topic: self._fetch_complete_metadata(session, topic)}
        # Negative numbers are commands to the broker (latest, earliest), not times.
        found = self._list_offsets(session, known, max(0, timestamp))
        end = self._list_offsets(session, known, OffsetSpec.LATEST)
        return {
            partition: end[topic, partition] if offset < 0 else offset
            for (_, partition), offset in found.items()
        }

    def _fetch_complete_metadata(self, session: _Session, topic: str) -> TopicMetadata:
        metadata = fetch_topic_metadata(session.keeper.manager, topic)
        if metadata.leaderless:
            names = ", ".join(f"{topic}[{partition}]" for partition in metadata.leaderless)
            raise TopicUnavailableError(
                f"no broker leads {names}; wait until the cluster has elected a leader, or start "
                "the broker that holds it"
            )
        return metadata

    def _list_high_watermarks(
        self, session: _Session, known: Mapping[str, TopicMetadata], end: _Offsets
    ) -> _Offsets:
        if self._isolation is IsolationLevel.READ_UNCOMMITTED:
            return end
        return self._list_offsets(
            session, known, OffsetSpec.LATEST, isolation=IsolationLevel.READ_UNCOMMITTED
        )

    def _list_offsets(
        self,
        session: _Session,
        known: Mapping[str, TopicMetadata],
        spec: Any,
        *,
        isolation: Any = None,
    ) -> _Offsets:
        """Offsets of all partitions; -1 where a timestamp has none. Never a part of them."""
        wanted = [(topic, number) for topic in known for number in known[topic].partitions]
        answer = session.admin.list_partition_offsets(
            {TopicPartition(*place): spec for place in wanted},
            isolation_level=self._isolation if isolation is None else isolation,
        )
        offsets = {(key.topic, key.partition): found.offset for key, found in answer.items()}
        missing = [place for place in wanted if offsets.get(place) is None]
        if missing:
            names = ", ".join(f"{topic}[{partition}]" for topic, partition in missing)
            raise TopicUnavailableError(f"the broker did not say the offsets of {names}; try again")
        return {place: offsets[place] for place in wanted}
