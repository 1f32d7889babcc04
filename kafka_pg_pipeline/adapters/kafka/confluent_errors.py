"""Turns librdkafka's error codes into kafka-python's errors, which are sorted in one place."""

from typing import Any

import kafka.errors as driver
from confluent_kafka import KafkaError
from kafka import TopicPartition

# Codes of the client itself are below zero; those of brokers are the protocol's own.
_LOCAL_ERRORS: dict[int, type[driver.KafkaError]] = {
    KafkaError._AUTHENTICATION: driver.SaslAuthenticationFailedError,  # noqa: SLF001 - its name
    KafkaError._UNSUPPORTED_FEATURE: driver.UnsupportedVersionError,  # noqa: SLF001
    KafkaError._LOG_TRUNCATION: driver.LogTruncationError,  # noqa: SLF001
    KafkaError._BAD_MSG: driver.CorruptRecordError,  # noqa: SLF001
    KafkaError._BAD_COMPRESSION: driver.CorruptRecordError,  # noqa: SLF001
    KafkaError._UNDERFLOW: driver.CorruptRecordError,  # noqa: SLF001
    KafkaError._NOT_IMPLEMENTED: driver.CorruptRecordError,  # noqa: SLF001
}
# What the client says of its search for a group's coordinator, of which readers make no use.
_GROUP_CODES = frozenset(
    {
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
    }
)
_error_for_code: Any = driver.for_code


def is_final(error: KafkaError) -> bool:
    """Whether the client will not get over it by trying again, as it does by itself."""
    code = error.code()
    if code in _GROUP_CODES:
        return False
    if code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
        return True
    kind = _LOCAL_ERRORS.get(code) if code < 0 else _error_for_code(code)
    return kind is not None and not issubclass(kind, driver.RetriableError)


def to_driver_error(
    error: KafkaError, topic: str, partition: int | None = None, offset: int | None = None
) -> driver.KafkaError:
    """The error that kafka-python would have raised; its text is never taken along."""
    code = error.code()
    if code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
        return driver.OffsetOutOfRangeError({TopicPartition(topic, partition): offset})
    if code < 0:
        return _LOCAL_ERRORS.get(code, driver.KafkaConnectionError)()
    made: driver.KafkaError = _error_for_code(code)()
    return made
