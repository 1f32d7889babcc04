import logging
import ssl

import kafka.errors as driver
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from kafka_pg_pipeline.adapters.kafka.client_logs import quiet_client_logs
from kafka_pg_pipeline.adapters.kafka.connection import (
    ClientKeeper,
    build_client_options,
    open_client,
)
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.settings.models import KafkaSettings
from kafka_pg_pipeline_tests.kafka.resources import assert_released, count_resources

SECURE = {
    "bootstrap_servers": "a:1,b:2",
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-256",
    "sasl_username": "me",
    "sasl_password": "canary",
}


def build(**changes):
    return build_client_options(KafkaSettings(**{**SECURE, **changes}), "me-1")


def test_every_security_setting_reaches_the_client():
    options = build()
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert options["client_id"] == "me-1"
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_mechanism"] == "SCRAM-SHA-256"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("me", "canary")
    assert options["ssl_context"].check_hostname is True
    assert options["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert options["ssl_context"].minimum_version is ssl.TLSVersion.TLSv1_2


def test_request_timeout_stays_above_the_longest_fetch():
    for seconds in (1, 15, 300):
        options = build(request_timeout_seconds=seconds)
        assert 500 < options["request_timeout_ms"] < 9 * 60 * 1000
        assert options["bootstrap_timeout_ms"] == 8_000


@pytest.mark.parametrize("make", [KafkaConsumer, KafkaAdminClient, KafkaProducer])
def test_options_are_known_to_every_client(make):
    unknown = set(build(security_protocol="SSL")) - set(make.DEFAULT_CONFIG)
    assert not unknown


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bootstrap_servers": " , "}, "KAFKA_BOOTSTRAP_SERVERS"),
        ({"bootstrap_servers": "localhost"}, "'localhost' is not host:port"),
        ({"bootstrap_servers": "localhost:99999"}, "is not host:port"),
        ({"ssl_cafile": "/no/such/ca.pem"}, "ssl_cafile"),
        ({"ssl_certfile": "/no/such/cert.pem", "ssl_keyfile": "/no/key.pem"}, "ssl_certfile"),
    ],
)
def test_unusable_settings_are_told_before_connecting(changes, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        build(**changes)
    assert "canary" not in str(caught.value)


def test_password_in_clear_may_be_allowed():
    assert "ssl_context" not in build(security_protocol="SASL_PLAINTEXT", allow_insecure=True)


@pytest.mark.parametrize("make", [KafkaConsumer, KafkaAdminClient, KafkaProducer])
def test_twenty_failing_constructors_leave_no_thread_and_no_descriptor(make):
    options = {
        **build_client_options(KafkaSettings(bootstrap_servers="127.0.0.1:1"), "leak"),
        "bootstrap_timeout_ms": 100,
    }

    def fail():
        with pytest.raises(driver.KafkaTimeoutError):
            open_client(make, ClientKeeper(), options)

    fail()
    before = count_resources()
    for _ in range(20):
        fail()
    assert_released(before)


def test_client_given_up_while_being_made_is_not_made():
    keeper = ClientKeeper()
    keeper.close()
    before = count_resources()
    with pytest.raises(ConnectionAbortedError):
        keeper()
    assert_released(before)


def test_client_that_cannot_be_built_leaves_no_descriptor():
    before = count_resources()
    for _ in range(5):
        with pytest.raises(ValueError, match="client_dns_lookup"):
            open_client(
                lambda kafka_client: kafka_client(client_dns_lookup="nonsense"), ClientKeeper(), {}
            )
    assert_released(before)


def test_client_logs_are_capped_and_hold_no_bytes_of_the_wire(caplog):
    quiet_client_logs()
    quiet_client_logs()
    parser = logging.getLogger("kafka.protocol.parser")
    with caplog.at_level(logging.WARNING, logger="kafka"):
        parser.error("Unable to decode %d-byte buffer: %r", 6, b"canary")
        parser.debug("Recv: %r", b"canary")
    assert "canary" not in caplog.text
    assert "<6 bytes>" in caplog.text
    assert len(parser.filters) == 1
    assert logging.getLogger("kafka").level >= logging.WARNING
