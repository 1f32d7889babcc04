"""One broker's life."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kafka_pg_pipeline.local.cluster_id import build_cluster_id
from kafka_pg_pipeline.local.distribution import (
    ZOOKEEPER_KAFKA_VERSION,
    fetch_distribution,
    find_distribution,
)
from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.local.kafka_probe import count_brokers
from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline_tests.local import clients


def test_started_broker_takes_and_gives_records(broker: KafkaServer) -> None:
    clients.create_topic(broker, "round-trip")
    clients.produce(broker, "round-trip", b"one", b"two")
    assert clients.consume(broker, "round-trip", 2) == [b"one", b"two"]


def test_broker_and_controller_listen_on_loopback_only(broker: KafkaServer) -> None:
    assert broker.pid is not None
    assert clients.list_listening_addresses(broker.pid) <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_second_start_leaves_the_broker_alone(broker: KafkaServer) -> None:
    before = broker.pid
    broker.start()
    assert broker.pid == before


def test_another_object_for_the_directory_sees_the_same_broker(broker: KafkaServer) -> None:
    other = KafkaServer(broker.directory)
    assert other.is_running()
    assert other.bootstrap_servers == broker.bootstrap_servers


def test_extra_properties_win(broker: KafkaServer) -> None:
    text = (broker.directory / "server.properties").read_text()
    assert "message.max.bytes=654321\n" in text
    assert "delete.topic.enable=true\n" in text


def test_restart_keeps_port_identity_and_records(broker: KafkaServer) -> None:
    clients.create_topic(broker, "kept")
    clients.produce(broker, "kept", b"x")
    port, identity = broker.port, (broker.directory / "data" / "meta.properties").read_text()
    broker.restart()
    assert broker.port == port
    assert (broker.directory / "data" / "meta.properties").read_text() == identity
    assert clients.consume(broker, "kept", 1) == [b"x"]


def test_killed_broker_is_gone_and_comes_back_on_its_port(broker: KafkaServer) -> None:
    port = broker.port
    broker.kill()
    assert not broker.is_running()
    broker.start()
    assert broker.port == port
    assert count_brokers("127.0.0.1", port) == 1


def test_paused_broker_runs_but_does_not_answer_until_resumed(broker: KafkaServer) -> None:
    broker.pause()
    try:
        assert broker.is_running()
        assert count_brokers("127.0.0.1", broker.port, timeout_seconds=0.5) == 0
    finally:
        broker.resume()
    assert count_brokers("127.0.0.1", broker.port) == 1


def test_paused_broker_can_be_stopped(broker: KafkaServer) -> None:
    broker.pause()
    broker.stop()
    assert not broker.is_running()
    broker.start()


def test_wanted_port_in_use_is_one_error_that_names_the_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(LocalStackError, match=rf"port {port} .*Kafka.*pid {os.getpid()}"):
            KafkaServer(tmp_path, port=port, die_with_parent=True).start()


def test_remembered_port_in_use_is_chosen_anew(broker: KafkaServer) -> None:
    taken = broker.port
    broker.stop()
    with socket.create_server(("127.0.0.1", taken)):
        broker.start()
    assert broker.port != taken


def test_broker_that_ends_while_starting_shows_its_log(tmp_path: Path) -> None:
    server = KafkaServer(tmp_path, properties={"log.retention.hours": "soon"}, die_with_parent=True)
    with pytest.raises(LocalStackError, match=r"(?s)log\.retention\.hours"):
        server.start()
    assert not server.is_running()


def test_never_started_broker_has_no_address(tmp_path: Path) -> None:
    server = KafkaServer(tmp_path / "none")
    assert not server.is_running()
    with pytest.raises(LocalStackError, match="never started"):
        _ = server.bootstrap_servers


def test_cluster_ids_are_what_kafka_accepts() -> None:
    assert all(len(text) == 22 and text[0] != "-" for text in (build_cluster_id(),) * 50)


@pytest.fixture(scope="module")
def old_kafka_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out like an unpacked Kafka 3.0.0."""
    home = tmp_path_factory.mktemp("work") / "kafka_2.13-3.0.0"
    (home / "libs").mkdir(parents=True)
    for jar in fetch_distribution(ZOOKEEPER_KAFKA_VERSION).class_path.split(os.pathsep):
        (home / "libs" / Path(jar).name).symlink_to(jar)
    return home


@pytest.fixture(scope="module")
def old_broker(
    old_kafka_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaServer]:
    distribution = find_distribution(working_directory=old_kafka_home.parent)
    server = KafkaServer(
        tmp_path_factory.mktemp("old"), distribution=distribution, die_with_parent=True
    )
    with server:
        yield server


def test_folder_in_the_working_directory_wins_over_the_download(old_kafka_home: Path) -> None:
    found = find_distribution(working_directory=old_kafka_home.parent)
    assert (found.version, found.origin) == ("3.0.0", "kafka_2.13-3.0.0")
    assert found.needs_zookeeper


def test_kafka_home_wins_over_the_folder(
    old_kafka_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka_2.13-3.9.1.jar").touch()
    (tmp_path / "libs" / "kafka_2.13-3.9.1-sources.jar").touch()
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))
    found = find_distribution(working_directory=old_kafka_home.parent)
    assert (found.version, found.needs_zookeeper) == ("3.9.1", False)


def test_kafka_home_without_kafka_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))
    with pytest.raises(LocalStackError, match="named by KAFKA_HOME"):
        find_distribution()


def test_old_kafka_with_zookeeper_takes_and_gives_records(old_broker: KafkaServer) -> None:
    assert old_broker.version == "3.0.0"
    clients.create_topic(old_broker, "old")
    clients.produce(old_broker, "old", b"one")
    assert clients.consume(old_broker, "old", 1) == [b"one"]


def test_old_broker_comes_back_after_a_kill(old_broker: KafkaServer) -> None:
    port = old_broker.port
    old_broker.kill()
    old_broker.start()
    assert old_broker.port == port


def test_stop_takes_zookeeper_along(old_broker: KafkaServer) -> None:
    old_broker.stop()
    marker = str(old_broker.directory / "zookeeper.properties")
    for process in psutil.process_iter(["cmdline"]):
        assert marker not in (process.info["cmdline"] or ())
    old_broker.start()
    assert clients.list_listening_addresses(old_broker.pid or 0) == {"127.0.0.1"}


def test_signals_go_to_nobody_else_when_the_broker_is_gone(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text(
        f'{{"broker": {{"pid": {os.getpid()}, "fingerprint": "another life"}}, "port": 1}}'
    )
    received: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        server = KafkaServer(tmp_path)
        server.stop()
        server.pause()
        server.kill()
    finally:
        signal.signal(signal.SIGTERM, former)
    assert received == []
    assert not server.is_running()
