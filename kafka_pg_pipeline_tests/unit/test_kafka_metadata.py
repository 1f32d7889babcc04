from types import SimpleNamespace
from uuid import UUID

import kafka.errors as driver
import pytest

from kafka_pg_pipeline.adapters.kafka.metadata import NoTopicsError, fetch_topic_metadata
from kafka_pg_pipeline.errors import TopicMissingError


class Manager:
    """Answers metadata requests as a broker would."""

    def __init__(self, *entries, brokers=(1,)):
        self._entries = entries
        self._brokers = brokers
        self.requests = []

    def send(self, request):
        raise NotImplementedError

    def run(self, _send, request):
        self.requests.append(request)
        wanted = None if request.topics is None else {topic.name for topic in request.topics}
        known = {entry.name: entry for entry in self._entries}
        found = list(known.values())
        if wanted is not None:
            found = [known.get(name, build_topic(name, error_code=3)) for name in wanted]
        return SimpleNamespace(brokers=self._brokers, topics=found, cluster_id="cluster")


def build_topic(name, topic_id=None, leaders=(1,), error_code=0):
    partitions = [
        SimpleNamespace(partition_index=index, leader_id=leader, error_code=0)
        for index, leader in enumerate(leaders)
    ]
    return SimpleNamespace(
        name=name,
        topic_id=topic_id,
        is_internal=False,
        error_code=error_code,
        partitions=list(reversed(partitions)),
    )


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (None, None),
        (UUID(int=0), None),
        (UUID("5f19cf65-9752-40f3-9f3b-b4e889567d11"), "XxnPZZdSQPOfO7ToiVZ9EQ"),
    ],
)
def test_topic_id_is_what_kafkas_tools_print_or_none(sent, expected):
    found = fetch_topic_metadata(Manager(build_topic("t", topic_id=sent)), "t")
    assert found.identity.topic_id == expected
    assert found.identity.cluster_id == "cluster"


def test_partitions_come_in_order_and_leaderless_ones_are_known():
    found = fetch_topic_metadata(Manager(build_topic("t", leaders=(1, -1, 2))), "t")
    assert found.partitions == (0, 1, 2)
    assert found.leaderless == (1,)


def test_identity_costs_one_request_that_creates_nothing():
    manager = Manager(build_topic("t"))
    fetch_topic_metadata(manager, "t")
    assert len(manager.requests) == 1
    assert manager.requests[0].allow_auto_topic_creation is False


def test_missing_topic_names_similar_ones():
    with pytest.raises(TopicMissingError, match=r"did you mean 'orders'\?") as caught:
        fetch_topic_metadata(Manager(build_topic("orders")), "order")
    assert not isinstance(caught.value, NoTopicsError)


def test_cluster_without_any_topic_is_told_apart():
    with pytest.raises(NoTopicsError):
        fetch_topic_metadata(Manager(), "orders")


def test_broker_without_a_cluster_is_no_answer():
    with pytest.raises(driver.MetadataEmptyBrokerList):
        fetch_topic_metadata(Manager(brokers=()), "orders")


@pytest.mark.parametrize(
    ("code", "kind"), [(29, driver.TopicAuthorizationFailedError), (7, driver.RequestTimedOutError)]
)
def test_other_errors_of_a_topic_are_raised(code, kind):
    with pytest.raises(kind):
        fetch_topic_metadata(Manager(build_topic("t", error_code=code)), "t")


def test_election_under_way_leaves_partitions_leaderless():
    found = fetch_topic_metadata(Manager(build_topic("t", leaders=(-1,), error_code=5)), "t")
    assert found.leaderless == (0,)
