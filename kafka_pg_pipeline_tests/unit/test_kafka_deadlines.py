import threading
import time

import pytest

from kafka_pg_pipeline.adapters.kafka.deadline import DeadlineError, call_with_deadline
from kafka_pg_pipeline.adapters.kafka.liveness import Liveness
from kafka_pg_pipeline.adapters.kafka.watchdog import Watchdog
from kafka_pg_pipeline.errors import KafkaUnavailableError


def test_result_and_error_of_a_call_come_through():
    abandoned = []
    given = {"seconds": 5, "abandon": lambda: abandoned.append(1)}
    assert call_with_deadline(lambda: 42, **given) == 42
    with pytest.raises(ZeroDivisionError):
        call_with_deadline(lambda: 1 / 0, **given)
    assert abandoned == []


def test_call_that_never_returns_is_abandoned_in_time():
    released = threading.Event()
    started = time.monotonic()
    with pytest.raises(DeadlineError, match=r"no answer within 0\.2 s"):
        call_with_deadline(released.wait, seconds=0.2, abandon=released.set)
    assert time.monotonic() - started < 10
    assert released.is_set()


def test_watchdog_ends_a_call_that_overruns():
    released = threading.Event()
    dog = Watchdog(released.set)
    dog.start(0.1)
    assert released.wait(5)
    assert isinstance(dog.stop(), DeadlineError)
    dog.close()


def test_watchdog_leaves_calls_alone_that_end_in_time():
    abandoned = threading.Event()
    dog = Watchdog(abandoned.set)
    for _ in range(3):
        dog.start(0.4)
        time.sleep(0.2)
        assert dog.stop() is None
    time.sleep(0.6)
    assert not abandoned.is_set()
    dog.close()


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_silence_is_looked_into_after_a_third_of_the_patience():
    clock = Clock()
    liveness = Liveness(15.0, clock)
    clock.now += 4.9
    assert not liveness.is_check_due()
    clock.now += 0.2
    assert liveness.is_check_due()
    liveness.record_check(is_behind=False)
    assert not liveness.is_check_due()


def test_standing_still_with_more_to_read_fails_when_the_patience_is_over():
    clock = Clock()
    liveness = Liveness(15.0, clock)
    liveness.record_check(is_behind=True)
    clock.now += 14
    liveness.record_check(is_behind=True)
    clock.now += 2
    with pytest.raises(KafkaUnavailableError, match="none arrived for 15 s"):
        liveness.record_check(is_behind=True)


def test_progress_and_the_end_of_the_log_renew_the_patience():
    clock = Clock()
    liveness = Liveness(15.0, clock)
    for renew in (liveness.record_progress, lambda: liveness.record_check(is_behind=False)):
        liveness.record_check(is_behind=True)
        clock.now += 14
        renew()
        clock.now += 14
        liveness.record_check(is_behind=True)
        renew()
