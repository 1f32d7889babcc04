"""Creates the demo's own topic; nothing else in the package ever creates one."""

from collections.abc import Callable
from typing import Any

import kafka.errors as driver
from kafka import KafkaAdminClient

from kafka_pg_pipeline.adapters.kafka.connection import (
    ClientKeeper,
    build_client_options,
    open_client,
)
from kafka_pg_pipeline.adapters.kafka.errors import is_transient
from kafka_pg_pipeline.adapters.kafka.guard import Guard
from kafka_pg_pipeline.adapters.kafka.metadata import fetch_topic_metadata
from kafka_pg_pipeline.adapters.kafka.retry import retry_transient
from kafka_pg_pipeline.errors import TopicMissingError
from kafka_pg_pipeline.settings.models import KafkaSettings

_DEADLINE_SECONDS = 30.0


def ensure_topic(
    settings: KafkaSettings, topic: str, partitions: int, *, client_id: str = "kafka-pg-topics"
) -> bool:
    """Create ``topic`` when it is missing.

    Returns:
        Whether it was created. An existing topic stays as it is, whatever its partitions.
    """
    options = build_client_options(settings, client_id)
    guard = Guard(options, ClientKeeper(), topic)
    make: Callable[..., Any] = KafkaAdminClient
    try:
        return guard.run(
            lambda: _ensure(
                open_client(make, guard.keeper, options), guard.keeper.manager, topic, partitions
            ),
            seconds=_DEADLINE_SECONDS,
        )
    finally:
        guard.keeper.close()


def _ensure(admin: Any, manager: Any, topic: str, partitions: int) -> bool:
    try:
        fetch_topic_metadata(manager, topic)
    except TopicMissingError:
        return retry_transient(
            lambda: _create(admin, topic, partitions),
            seconds=_DEADLINE_SECONDS / 3,
            is_retried=_is_starting,
        )
    return False


def _is_starting(error: BaseException) -> bool:
    """What a broker answers to a request to create while it does not yet know itself."""
    return is_transient(error) or isinstance(
        error, (driver.UnknownError, driver.InvalidReplicationFactorError)
    )


def _create(admin: Any, topic: str, partitions: int) -> bool:
    try:
        admin.create_topics({topic: {"num_partitions": partitions}})
    except driver.TopicAlreadyExistsError:
        return False
    admin.wait_for_topics([topic])
    return True
