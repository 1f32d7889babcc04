import time
import traceback

import pytest

from kafka_pg_pipeline.adapters.kafka.producer import produce_values
from kafka_pg_pipeline.errors import AuthenticationError
from kafka_pg_pipeline.settings.models import KafkaSettings
from kafka_pg_pipeline_tests.kafka.conftest import PASSWORD
from kafka_pg_pipeline_tests.kafka.harness import read_until
from kafka_pg_pipeline_tests.kafka.resources import assert_released, count_resources


def login(broker, password=PASSWORD, mechanism="PLAIN"):
    return KafkaSettings(
        bootstrap_servers=broker.sasl_servers,
        security_protocol="SASL_PLAINTEXT",
        allow_insecure=True,
        sasl_mechanism=mechanism,
        sasl_username="me",
        sasl_password=password,
    )


def test_right_password_opens_inspector_reader_and_producer(broker, topics, inspect, read):
    topic = topics.create()
    settings = login(broker)
    assert produce_values(settings, topic, [(None, b"x")]).acknowledged == 1
    assert inspect(other=settings).fetch_snapshot(topic).bounds(0).end_offset == 1
    records, _ = read_until(read(topic, {0: 0}, other=settings), {0: 1})
    assert len(records) == 1


@pytest.mark.parametrize("use", ["inspect", "read", "produce"])
@pytest.mark.parametrize("wrong", [{"password": "canary"}, {"mechanism": "SCRAM-SHA-256"}])
def test_wrong_login_is_told_at_once_with_its_cure(broker, topics, inspect, read, use, wrong):
    topic = topics.create()
    settings = login(broker, **wrong)
    uses = {
        "inspect": lambda: inspect(other=settings).fetch_identity(topic),
        "read": lambda: read(topic, {0: 0}, other=settings),
        "produce": lambda: produce_values(settings, topic, [(None, b"x")]),
    }
    before = count_resources()
    started = time.monotonic()
    with pytest.raises(AuthenticationError, match=r"kafka\.sasl_mechanism") as caught:
        uses[use]()
    assert time.monotonic() - started < 7
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert_released(before)
