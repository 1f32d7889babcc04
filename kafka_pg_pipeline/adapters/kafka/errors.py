"""Sorts kafka-python's exceptions into the package's own tree, in one place."""

import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kafka.errors as driver

from kafka_pg_pipeline.adapters.kafka.deadline import DeadlineError
from kafka_pg_pipeline.adapters.kafka.refusals import (
    ClientCertificateError,
    ServerCertificateError,
)
from kafka_pg_pipeline.errors import (
    AuthenticationError,
    ConfigurationError,
    InvariantError,
    KafkaUnavailableError,
    LogRewrittenError,
    PipelineError,
    RetentionGapError,
    TopicMissingError,
    UndecodableBatchError,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a driver call was made, for the message: servers, topic and, if known, offset.

    ``partition`` and ``offset`` are set where the caller knows which record stopped it;
    ``stream`` is the word for the stream in the commands that a message names.
    """

    servers: str
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    stream: str = "STREAM"

    def __str__(self) -> str:
        return f"topic {self.topic!r}" if self.topic else self.servers

    @property
    def coordinates(self) -> str | None:
        """``topic[partition]@offset``, where it is known."""
        if self.topic is None or self.partition is None or self.offset is None:
            return None
        return format_coordinates(self.topic, self.partition, self.offset)


def translate_error(error: BaseException, place: Place) -> PipelineError:
    """The error of our tree that ``error`` stands for.

    The cause is kept only where the driver's own text cannot hold record content; a structure
    error of a record quotes the bytes it stumbled on, and tracebacks end up in event logs.
    """
    if isinstance(error, PipelineError):
        return error
    translated = _choose_rule(error)(error, place)
    if not isinstance(translated, UndecodableBatchError) and isinstance(error, _SAFE_CAUSES):
        translated.__cause__ = error
    return translated


def _choose_rule(error: BaseException) -> "_Build":
    if not isinstance(error, driver.KafkaError) and _was_decoding(error):
        return _undecodable
    for kinds, build in _RULES:
        if isinstance(error, kinds):
            return build
    return _unexpected


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later on the same client."""
    if isinstance(error, PipelineError):
        return isinstance(error, KafkaUnavailableError)
    return isinstance(error, _TRANSIENT)


def format_coordinates(topic: str, partition: int, offset: int) -> str:
    """``topic[partition]@offset``, as every message of this package names a record."""
    return f"{topic}[{partition}]@{offset}"


def _authentication(error: BaseException, place: Place) -> PipelineError:
    return AuthenticationError(
        f"the broker refused the credentials ({type(error).__name__}) at {place.servers}; check "
        "kafka.sasl_mechanism, kafka.sasl_username and kafka.sasl_password"
    )


def _unproved_server(error: BaseException, place: Place) -> PipelineError:
    return ConfigurationError(
        f"the broker at {place.servers} cannot be proved to be the one that is meant ({error}): "
        "check kafka.ssl_cafile and the host name in kafka.bootstrap_servers; with Aiven, "
        "aiven.project and aiven.project_cafile"
    )


def _refused_certificate(error: BaseException, place: Place) -> PipelineError:
    return AuthenticationError(
        f"the broker at {place.servers} does not take our certificate ({error}): check "
        "kafka.ssl_certfile and kafka.ssl_keyfile; with Aiven, the next run takes the new one"
    )


def _authorization(error: BaseException, place: Place) -> PipelineError:
    return AuthenticationError(
        f"access denied to {place} ({type(error).__name__}); grant this user DESCRIBE and READ "
        "on the topic (and WRITE to produce)"
    )


def _topic_missing(_: BaseException, place: Place) -> PipelineError:
    return TopicMissingError(
        f"{place} does not exist on {place.servers}; create it, or correct the stream's topic"
    )


def _out_of_range(error: BaseException, place: Place) -> PipelineError:
    return RetentionGapError(
        f"{_tagged_offsets(error) or place} is not in the log any more (deleted by retention or "
        f"by hand, or the log was cut); `kafka-pg status {place.stream}` says what is lost, "
        f"`kafka-pg accept-gap {place.stream}` records it and goes on"
    )


def _truncated(error: BaseException, place: Place) -> PipelineError:
    partitions = getattr(error, "divergent_offsets", None) or {}
    named = ", ".join(sorted(f"{tp.topic}[{tp.partition}]" for tp in partitions)) or str(place)
    return LogRewrittenError(
        f"the broker cut the log of {named} behind records already read (unclean leader "
        f"election); compare the table with the topic, then `kafka-pg reset {place.stream} --to "
        "OFFSETS` moves on"
    )


def _undecodable(error: BaseException, place: Place) -> PipelineError:
    where = place.coordinates or place
    codec = _missing_codec(error)
    if codec is not None:
        return UndecodableBatchError(
            f"the records at {where} are compressed with {codec}, and its library is not "
            f"installed; run: pip install 'kafka-python[{codec}]'",
            partition=place.partition,
            start_offset=place.offset,
        )
    end_offset = None if place.offset is None else _find_batch_end(error, place.offset)
    return UndecodableBatchError(
        f"the batch at or after {where} cannot be decoded ({type(error).__name__}: wrong checksum, "
        "broken structure, or a header name that is not UTF-8). What lies before it, and in other "
        f"partitions, is loaded all the same. {_name_skip(place, end_offset)}",
        partition=place.partition,
        start_offset=place.offset,
        end_offset=end_offset,
    )


def _name_skip(place: Place, end_offset: int | None) -> str:
    """The command that goes on behind a broken batch."""
    end = "END" if end_offset is None else str(end_offset)
    start = "START" if place.offset is None else str(place.offset)
    partition = "P" if place.partition is None else str(place.partition)
    advice = (
        f"Where nobody can restore it, `kafka-pg skip-range {place.stream} --partition {partition} "
        f"--from {start} --to {end} --reason TEXT` records it as a gap and goes on behind it"
    )
    if end_offset is None:
        advice += "; `kafka-dump-log` on the broker shows where the next batch begins"
    return advice


def _incompatible(error: BaseException, place: Place) -> PipelineError:
    return ConfigurationError(
        f"the broker at {place.servers} does not support a request this package needs "
        f"({type(error).__name__}); Apache Kafka 2.4 or newer is needed"
    )


def _configuration(error: BaseException, _: Place) -> PipelineError:
    return ConfigurationError(f"the Kafka client refuses its settings: {error}")


def _unavailable(error: BaseException, place: Place) -> PipelineError:
    detail = str(error) if isinstance(error, DeadlineError) else type(error).__name__
    about = f" about topic {place.topic!r}" if place.topic else ""
    return KafkaUnavailableError(
        f"no usable answer from Kafka at {place.servers}{about} ({detail})"
    )


def _unexpected(error: BaseException, place: Place) -> PipelineError:
    frames = traceback.extract_tb(error.__traceback__)
    raised_at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return InvariantError(
        f"unexpected {type(error).__name__}{raised_at} while working on {place}; please report it"
    )


def _was_decoding(error: BaseException) -> bool:
    """Whether the driver was unpacking records: codecs raise what they like on broken data."""
    return any(
        frame.f_globals.get("__name__", "").startswith(_DECODING_MODULES)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _tagged_offsets(error: BaseException) -> str:
    """``topic[partition]@offset`` of each partition that an out-of-range error names."""
    offsets: Any = error.args[0] if error.args else None
    if not isinstance(offsets, dict):
        return ""
    named = (format_coordinates(tp.topic, tp.partition, at) for tp, at in offsets.items())
    return ", ".join(sorted(named))


def _find_batch_end(error: BaseException, offset: int) -> int | None:
    """First offset behind the batch that the driver was unpacking, by the batch's header.

    The driver's exceptions do not say; its frame does. None where the header itself is broken.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == _UNPACKING:
            end = getattr(frame.f_locals.get("batch"), "next_offset", None)
            if isinstance(end, int) and end > offset:
                return end
    return None


def _missing_codec(error: BaseException) -> str | None:
    if not isinstance(error, driver.UnsupportedCodecError):
        return None
    found = re.search(r"\b(gzip|snappy|lz4|zstd)\b", str(error))
    return found.group(1) if found else None


_Build = Callable[[BaseException, Place], PipelineError]
_Rule = tuple[tuple[type[BaseException], ...], _Build]

# The first rule that fits wins, so the narrower kinds stand first.
_RULES: tuple[_Rule, ...] = (
    (
        (
            driver.SaslAuthenticationFailedError,
            driver.UnsupportedSaslMechanismError,
            driver.IllegalSaslStateError,
        ),
        _authentication,
    ),
    ((ServerCertificateError,), _unproved_server),
    ((ClientCertificateError,), _refused_certificate),
    ((driver.AuthorizationError,), _authorization),
    ((driver.UnknownTopicOrPartitionError, driver.InvalidTopicError), _topic_missing),
    ((driver.OffsetOutOfRangeError,), _out_of_range),
    ((driver.LogTruncationError,), _truncated),
    (
        (driver.CorruptRecordError, driver.UnsupportedCodecError, UnicodeError),
        _undecodable,
    ),
    ((driver.UnsupportedVersionError, driver.UnrecognizedBrokerVersion), _incompatible),
    ((driver.KafkaConfigurationError,), _configuration),
    # KeyError: kafka-python's answer about a partition without leader. RuntimeError: a client
    # that was closed under the call.
    ((driver.KafkaError, OSError, KeyError, RuntimeError), _unavailable),
)

_TRANSIENT = (driver.RetriableError, driver.UnknownBrokerIdError, KeyError, OSError)

_DECODING_MODULES = ("kafka.record", "kafka.codec")
_UNPACKING = "_unpack_records"

_SAFE_CAUSES = (driver.KafkaError, OSError, TimeoutError)
