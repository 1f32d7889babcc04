"""Asks a broker for identity and partitions of topics, in one round trip."""

import base64
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import kafka.errors as driver
from kafka.protocol.metadata import MetadataRequest

from kafka_pg_pipeline.domain.offsets import TopicIdentity
from kafka_pg_pipeline.errors import TopicMissingError

_error_for_code: Any = driver.for_code


class NoTopicsError(TopicMissingError):
    """The topic does not exist, nor does any other.

    Said in passing by brokers with ZooKeeper that have just started: worth another look before
    it is believed.
    """


@dataclass(frozen=True, slots=True)
class TopicMetadata:
    """A topic as one broker knows it; ``leaderless`` partitions cannot be asked right now."""

    identity: TopicIdentity
    partitions: tuple[int, ...]
    leaderless: tuple[int, ...]


def fetch_topic_metadata(manager: Any, topic: str) -> TopicMetadata:
    """One metadata request; never creates the topic.

    Raises:
        TopicMissingError: No such topic; the message names similar ones.
        Exception: Whatever kafka-python raises.
    """
    return _read(_send(manager, [topic]), manager, topic)


def fetch_topics_metadata(manager: Any, topics: Sequence[str]) -> Mapping[str, TopicMetadata]:
    """One metadata request for many topics; those that there is any trouble with are left out.

    Raises:
        Exception: Whatever kafka-python raises.
    """
    response = _send(manager, list(topics))
    _check_brokers(response)
    return {
        found.name: _read_topic(response, found)
        for found in response.topics
        if _error_for_code(found.error_code) is driver.NoError
    }


def learn_topic(manager: Any, topic: str) -> TopicMetadata:
    """As ``fetch_topic_metadata``; the client then knows the partitions' leaders, too.

    Left to itself it learns them with its first poll, and waits 0.1 to 0.2 s before it asks.
    """
    response = _send(manager, [topic])
    metadata = _read(response, manager, topic)
    manager.cluster.update_metadata(response)
    return metadata


def _read(response: Any, manager: Any, topic: str) -> TopicMetadata:
    _check_brokers(response)
    found: Any = next(entry for entry in response.topics if entry.name == topic)
    error = _error_for_code(found.error_code)
    if error in (driver.UnknownTopicOrPartitionError, driver.InvalidTopicError):
        raise _explain_missing(topic, manager)
    if error not in (driver.NoError, driver.LeaderNotAvailableError):
        raise error
    return _read_topic(response, found)


def _check_brokers(response: Any) -> None:
    if not response.brokers:
        # A broker that has just started may not know its cluster yet.
        raise driver.MetadataEmptyBrokerList


def _read_topic(response: Any, found: Any) -> TopicMetadata:
    partitions = sorted(found.partitions, key=lambda entry: int(entry.partition_index))
    return TopicMetadata(
        identity=TopicIdentity(response.cluster_id, _format_topic_id(found.topic_id)),
        partitions=tuple(entry.partition_index for entry in partitions),
        leaderless=tuple(entry.partition_index for entry in partitions if entry.leader_id < 0),
    )


def _send(manager: Any, topics: list[str] | None) -> Any:
    make_request: Any = MetadataRequest
    make_topic: Any = MetadataRequest.MetadataRequestTopic
    request = make_request(
        topics=None if topics is None else [make_topic(name=topic) for topic in topics],
        allow_auto_topic_creation=False,
    )
    return manager.run(manager.send, request)


def _explain_missing(topic: str, manager: Any) -> TopicMissingError:
    entries = _send(manager, None).topics
    names = sorted(entry.name for entry in entries if not entry.is_internal)
    near = difflib.get_close_matches(topic, names, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "create it first"
    message = f"topic {topic!r} does not exist on this cluster; {hint}"
    return TopicMissingError(message) if entries else NoTopicsError(message)


def _format_topic_id(topic_id: UUID | None) -> str | None:
    """As Kafka's own tools print it; brokers before 2.8 have none, or send zeros."""
    if topic_id is None or topic_id.int == 0:
        return None
    return base64.urlsafe_b64encode(topic_id.bytes).decode("ascii").rstrip("=")
