"""One Kafka Connect worker, stand-alone, asked over its REST interface."""

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from kafka_pg_pipeline.local.files import read_tail, summarise
from kafka_pg_pipeline.local.kafka_properties import format_properties
from kafka_pg_pipeline.local.ports import LOOPBACK, pick_free
from kafka_pg_pipeline.local.process import Identity
from kafka_pg_pipeline_tests.java import Java

_MAIN = "org.apache.kafka.connect.cli.ConnectStandalone"
_START_SECONDS = 60
_POLL_SECONDS = 0.05


class ConnectWorker:
    """Runs connectors until it is stopped, or the test session is gone."""

    def __init__(self, directory: Path, java: Java, bootstrap_servers: str) -> None:
        self.log_path = directory / "connect.log"
        self._directory = directory
        self._java = java
        self._bootstrap_servers = bootstrap_servers
        self._url = f"http://{LOOPBACK}:{pick_free()}"
        self._process: Identity | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> "ConnectWorker":
        properties = self._directory / "connect.properties"
        properties.write_text(format_properties(self._configure()))
        command = self._java.build(_MAIN, [str(properties)], directory=self._directory, heap="256m")
        self._process = command.spawn(
            log=self.log_path, die_with_parent=True, death_signal=signal.SIGKILL
        )
        self._wait_until_serving()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()  # what it would save in order, nobody reads again

    def put(self, name: str, configuration: Mapping[str, str]) -> None:
        """Create a connector, or give it another configuration, and wait until its task runs."""
        answer = requests.put(
            f"{self._url}/connectors/{name}/config", json=dict(configuration), timeout=30
        )
        assert answer.ok, answer.text
        self._wait_until_running(name)

    def delete(self, name: str) -> None:
        """Stop a connector and forget it; one that was never made is forgotten already."""
        answer = requests.delete(f"{self._url}/connectors/{name}", timeout=30)
        assert answer.ok or answer.status_code == 404, answer.text

    def check(self, name: str) -> bool:
        """Whether the connector's one task runs; an error when it has failed."""
        answer = requests.get(f"{self._url}/connectors/{name}/status", timeout=30)
        states: list[Any] = answer.json().get("tasks", []) if answer.ok else []
        failed = [state for state in states if state["state"] == "FAILED"]
        assert not failed, failed[0].get("trace")
        return [state["state"] for state in states] == ["RUNNING"]

    def fetch_position(self, name: str) -> dict[str, Any]:
        """Up to where a connector's records are acknowledged; empty when nothing is."""
        answer = requests.get(f"{self._url}/connectors/{name}/offsets", timeout=30)
        found: list[Any] = answer.json().get("offsets", []) if answer.ok else []
        return dict(found[0]["offset"]) if found else {}

    def _configure(self) -> dict[str, str]:
        converter = "org.apache.kafka.connect.json.JsonConverter"
        return {
            "bootstrap.servers": self._bootstrap_servers,
            "listeners": self._url,
            "key.converter": converter,
            "value.converter": converter,
            "offset.storage.file.filename": str(self._directory / "offsets"),
            "offset.flush.interval.ms": "200",
            "plugin.discovery": "service_load",
        }

    def _wait_until_serving(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process is not None
            assert self._process.is_alive(), self._explain()
            assert time.monotonic() < deadline, self._explain()
            time.sleep(_POLL_SECONDS)

    def _wait_until_running(self, name: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self.check(name):
            assert time.monotonic() < deadline, self._explain()
            time.sleep(_POLL_SECONDS)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self._url}/connectors", timeout=5).ok
        except requests.ConnectionError:
            return False

    def _explain(self) -> str:
        return summarise(read_tail(self.log_path))
