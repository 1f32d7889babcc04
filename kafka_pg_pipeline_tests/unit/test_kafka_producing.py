from types import SimpleNamespace

import pytest

from kafka_pg_pipeline.adapters.kafka import producer as producer_module
from kafka_pg_pipeline.adapters.kafka.producer import Message, _Deliveries, _iter_paced


class Producer:
    """Takes values for ever and acknowledges one only when asked for it."""

    def __init__(self):
        self.waiting = 0
        self.most_waiting = 0

    def send(self, _topic, *, key, value, headers):
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        return SimpleNamespace(get=self._acknowledge)

    def _acknowledge(self, timeout):
        self.waiting -= 1
        return SimpleNamespace(partition=0)


@pytest.mark.parametrize(
    ("limit", "size", "most"), [("_WINDOW_RECORDS", 1, 50), ("_WINDOW_BYTES", 10, 5)]
)
def test_values_in_flight_are_bounded_by_count_and_bytes(monkeypatch, limit, size, most):
    monkeypatch.setattr(producer_module, limit, 50)
    producer = Producer()
    deliveries = _Deliveries("t", None, patience_seconds=1)
    for index in range(1_000):
        deliveries.send(producer, index, Message(None, b"x" * size))
    deliveries.settle_all()
    assert producer.most_waiting == most
    assert deliveries.report().acknowledged == 1_000


def test_value_larger_than_the_window_still_goes_alone(monkeypatch):
    monkeypatch.setattr(producer_module, "_WINDOW_BYTES", 50)
    producer = Producer()
    deliveries = _Deliveries("t", None, patience_seconds=1)
    for index in range(3):
        deliveries.send(producer, index, Message(None, b"x" * 100))
    deliveries.settle_all()
    assert producer.most_waiting == 1


def test_pace_waits_for_the_time_that_the_rate_allows():
    now = [10.0]

    def sleep(seconds):
        now[0] += seconds

    times = [now[0] for _ in _iter_paced([(None, b"")] * 5, 2.0, lambda: now[0], sleep)]
    assert times == [10.0, 10.5, 11.0, 11.5, 12.0]
