"""A whole Dagster (webserver, daemon, code server) as a child process, on loopback."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from kafka_pg_pipeline.cli.local_servers import read_dagster_yaml
from kafka_pg_pipeline.local.ports import pick_free

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
REPOSITORY = {
    "repositoryName": "__repository__",
    "repositoryLocationName": "kafka_pg_pipeline",
}


@dataclass(frozen=True)
class DagsterDev:
    url: str
    home: Path
    log: Path

    def query(self, text: str, **variables: Any) -> dict[str, Any]:
        answer = requests.post(
            f"{self.url}/graphql", json={"query": text, "variables": variables}, timeout=30
        )
        answer.raise_for_status()
        document = answer.json()
        assert "errors" not in document, document["errors"]
        return dict(document["data"])

    def run_ids(self) -> list[str]:
        data = self.query("{ runsOrError { ... on Runs { results { runId } } } }")
        return [run["runId"] for run in data["runsOrError"]["results"]]

    def has_unfinished_runs(self) -> bool:
        data = self.query(
            "{ runsOrError(filter: {statuses: [QUEUED, STARTING, STARTED]})"
            " { ... on Runs { results { runId } } } }"
        )
        return bool(data["runsOrError"]["results"])

    def status(self, run_id: str) -> str:
        data = self.query(
            "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id
        )
        return str(data["runOrError"]["status"])

    def launch(self, job: str) -> str:
        """What the launchpad's button does; the run's id."""
        data = self.query(
            """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
                 ... on LaunchRunSuccess { run { runId } } } }""",
            params={"selector": {**REPOSITORY, "jobName": job}, "runConfigData": {}},
        )
        return str(data["launchRun"]["run"]["runId"])

    def terminate(self, run_id: str) -> None:
        """What the UI's "Terminate" does."""
        self.query(
            """mutation($id: String!) { terminateRun(runId: $id) {
                 ... on TerminateRunSuccess { run { runId } } } }""",
            id=run_id,
        )

    def load_error(self) -> str | None:
        """Why the code location could not be loaded, as the UI shows it, causes and all."""
        data = self.query(
            """{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {
                 ... on PythonError { message errorChain { error { message } } } } } } } }"""
        )
        entries = data["workspaceOrError"].get("locationEntries") or [{}]
        error = entries[0].get("locationOrLoadError") or {}
        if "message" not in error:
            return None
        causes = [link["error"]["message"] for link in error["errorChain"]]
        return "\n".join([error["message"], *causes])

    def sensor_ticks(self, sensor: str) -> list[dict[str, Any]]:
        data = self.query(
            """query($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) {
                 ... on Sensor { sensorState { ticks(limit: 20) { status skipReason } } } } }""",
            selector={**REPOSITORY, "sensorName": sensor},
        )
        return list(data["sensorOrError"]["sensorState"]["ticks"])


def child_environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        **extra,
        "DAGSTER_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }


@contextmanager
def dagster_dev(home: Path, extra: Mapping[str, str]) -> Iterator[DagsterDev]:
    """Start ``dagster dev`` and wait until it answers; all it started ends with the block."""
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_bytes(read_dagster_yaml())
    port = pick_free()
    log = home / "dev.log"
    command = [
        str(PROGRAMS / "dagster"),
        "dev",
        "-w",
        "workspace.yaml",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=child_environment(home, extra),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            dev = DagsterDev(f"http://127.0.0.1:{port}", home, log)
            _wait_until_loaded(dev, process)
            yield dev
        finally:
            _stop(process)


def _wait_until_loaded(dev: DagsterDev, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, dev.log.read_text()[-3000:]
        try:
            data = dev.query(
                "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
            )
        except requests.RequestException:
            data = {}
        if data.get("repositoriesOrError", {}).get("nodes") or (data and dev.load_error()):
            return
        time.sleep(0.5)
    raise AssertionError(dev.log.read_text()[-3000:])


def _stop(process: "subprocess.Popen[bytes]") -> None:
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGINT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    for child in family:
        if child.is_running():
            child.kill()
    psutil.wait_procs(family, 10)
