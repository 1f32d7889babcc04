import gzip
import traceback

import kafka.errors as driver
import pytest
from kafka import TopicPartition
from kafka.codec import gzip_decode

from kafka_pg_pipeline.adapters.kafka.errors import Place, is_transient, translate_error
from kafka_pg_pipeline.errors import (
    AuthenticationError,
    ConfigurationError,
    InvariantError,
    KafkaUnavailableError,
    LogRewrittenError,
    RetentionGapError,
    TopicMissingError,
    UndecodableBatchError,
)

PLACE = Place("broker:9092", "orders", 3, 42)
TP = TopicPartition("orders", 3)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (driver.SaslAuthenticationFailedError("no"), AuthenticationError, "kafka.sasl_username"),
        (driver.UnsupportedSaslMechanismError(), AuthenticationError, "kafka.sasl_mechanism"),
        (driver.TopicAuthorizationFailedError({"orders"}), AuthenticationError, "grant"),
        (driver.ClusterAuthorizationFailedError(), AuthenticationError, "grant"),
        (driver.UnknownTopicOrPartitionError(), TopicMissingError, "'orders'"),
        (driver.InvalidTopicError(), TopicMissingError, "'orders'"),
        (driver.OffsetOutOfRangeError({TP: 17}), RetentionGapError, "orders[3]@17"),
        (driver.LogTruncationError({TP: None}), LogRewrittenError, "orders[3]"),
        (driver.CorruptRecordError("x"), UndecodableBatchError, "orders[3]@42"),
        (
            driver.UnsupportedCodecError("Libraries for lz4 compression codec not found"),
            UndecodableBatchError,
            "pip install 'kafka-python[lz4]'",
        ),
        (driver.IncompatibleBrokerVersion(), ConfigurationError, "2.4 or newer"),
        (driver.KafkaConfigurationError("bad"), ConfigurationError, "settings"),
        (driver.KafkaTimeoutError(), KafkaUnavailableError, "broker:9092"),
        (driver.NodeNotReadyError(1), KafkaUnavailableError, "'orders'"),
        (driver.KafkaConnectionError("111 ECONNREFUSED"), KafkaUnavailableError, "broker:9092"),
        (driver.UnknownBrokerIdError(-1), KafkaUnavailableError, "broker:9092"),
        (ConnectionResetError(), KafkaUnavailableError, "ConnectionResetError"),
        (KeyError(TP), KafkaUnavailableError, "KeyError"),
        (RuntimeError("NetworkSelector closed!"), KafkaUnavailableError, "RuntimeError"),
        (AttributeError("bug"), InvariantError, "AttributeError"),
    ],
)
def test_driver_errors_are_sorted(error, kind, words):
    translated = translate_error(error, PLACE)
    assert type(translated) is kind
    assert words in str(translated)


def test_our_own_errors_pass_unchanged():
    error = TopicMissingError("x")
    assert translate_error(error, PLACE) is error


def test_content_stays_out_of_message_and_cause():
    structure = UnicodeDecodeError("utf-8", b"\xffcanary", 0, 1, "invalid start byte")
    broken = driver.CorruptRecordError(f"Found invalid record structure: {structure!r}")
    translated = translate_error(broken, PLACE)
    assert "canary" not in "".join(traceback.format_exception(translated))


def test_a_bug_of_ours_is_placed_but_its_text_is_not_shown():
    try:
        raise TypeError("canary")
    except TypeError as error:
        translated = translate_error(error, PLACE)
    assert "test_kafka_errors.py:" in str(translated)
    assert "canary" not in "".join(traceback.format_exception(translated))


def test_whatever_a_codec_raises_is_an_undecodable_batch():
    with pytest.raises(gzip.BadGzipFile) as caught:
        gzip_decode(b"not gzip at all")
    translated = translate_error(caught.value, PLACE)
    assert type(translated) is UndecodableBatchError
    assert "orders[3]@42" in str(translated)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (driver.NotLeaderForPartitionError(), True),
        (driver.UnknownBrokerIdError(), True),
        (KeyError(), True),
        (KafkaUnavailableError(), True),
        (TopicMissingError(), False),
        (driver.SaslAuthenticationFailedError(), False),
        (driver.TopicAuthorizationFailedError(), False),
        (TypeError(), False),
    ],
)
def test_only_outages_are_tried_again(error, expected):
    assert is_transient(error) is expected
