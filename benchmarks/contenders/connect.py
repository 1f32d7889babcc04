"""Kafka Connect with the Debezium JDBC sink.

One stand-alone worker for all rounds, with the heap of Kafka's own start script; what it has
warmed up in a round serves it in the next. Tuned as Debezium's documentation says: batches of
3,000 records (and as many a poll), a task for four partitions of our 16, the driver's rewriting of
batches, and ``dialect.postgres.unnest.insert.enabled``, which sends a batch as one statement.
The records carry no schema, so the converter is given it once (``schema.content``).
"""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import click
import psutil
import requests
from peers import fetch_connect
from stage import Order, Stage

from contenders.contender import Took
from kafka_pg_pipeline.local.files import read_tail
from kafka_pg_pipeline.local.kafka_properties import format_properties
from kafka_pg_pipeline.local.ports import LOOPBACK, pick_free
from kafka_pg_pipeline.local.process import Command, Identity

MAIN = "org.apache.kafka.connect.cli.ConnectStandalone"
HEAP = ("-Xms256M", "-Xmx2G")
BATCH_RECORDS = "3000"
TASKS = 4
START_SECONDS = 90
TYPES: dict[str, dict[str, str]] = {
    "bigint": {"type": "int64"},
    "double precision": {"type": "double"},
    "text": {"type": "string"},
    "boolean": {"type": "boolean"},
    "timestamptz": {"type": "string", "name": "io.debezium.time.ZonedTimestamp"},
}


class Worker:
    """A Connect worker, asked over its REST interface."""

    def __init__(self, home: Path, bootstrap_servers: str) -> None:
        self._home = home
        self._bootstrap_servers = bootstrap_servers
        self._url = f"http://{LOOPBACK}:{pick_free()}"
        self._log = home / "connect.log"
        self._process: Identity | None = None

    def __enter__(self) -> "Worker":
        java, jars = fetch_connect()
        properties = self._home / "connect.properties"
        properties.write_text(format_properties(self._configure()))
        command = Command(
            arguments=[
                str(java),
                *HEAP,
                "-Xshare:auto",
                f"-Djava.io.tmpdir={self._home}",
                "-Djava.net.preferIPv4Stack=true",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp",
                os.pathsep.join(map(str, jars)),
                MAIN,
                str(properties),
            ],
            environment={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            directory=self._home,
        )
        self._process = command.spawn(
            log=self._log, die_with_parent=True, death_signal=signal.SIGKILL
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise click.ClickException(f"Kafka Connect does not start:\n{self.explain()}")
            time.sleep(0.2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()

    def put(self, name: str, configuration: Mapping[str, str]) -> None:
        address = f"{self._url}/connectors/{name}/config"
        answer = requests.put(address, json=dict(configuration), timeout=60)
        if not answer.ok:
            raise click.ClickException(f"Kafka Connect refuses the connector: {answer.text[:2000]}")

    def delete(self, name: str) -> None:
        requests.delete(f"{self._url}/connectors/{name}", timeout=60)

    def check(self, name: str) -> None:
        """Raise when one of the tasks has failed."""
        answer = requests.get(f"{self._url}/connectors/{name}/status", timeout=30)
        states: list[Any] = answer.json().get("tasks", []) if answer.ok else []
        for state in states:
            if state["state"] == "FAILED":
                raise click.ClickException(f"a task has failed: {state.get('trace', '')[:3000]}")

    def peak_bytes(self) -> int:
        """Resident memory: a JVM gives little of it back."""
        assert self._process is not None
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def explain(self) -> str:
        return read_tail(self._log)[-3000:]

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self._url}/connectors", timeout=5).ok
        except requests.RequestException:
            return False

    def _configure(self) -> dict[str, str]:
        return {
            "bootstrap.servers": self._bootstrap_servers,
            "listeners": self._url,
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "offset.storage.file.filename": str(self._home / "connect.offsets"),
            "plugin.discovery": "service_load",
        }


def sink(stage: Stage, order: Order, *, unnest: bool) -> Took:
    worker = stage.lend("connect", lambda: Worker(stage.home, order.bootstrap_servers))
    started = time.time()
    worker.put(order.table, configure(order, unnest=unnest))
    try:
        stage.wait_until_full(order, lambda: worker.check(order.table))
        peak = worker.peak_bytes()
    finally:
        worker.delete(order.table)
    return Took(started, None, peak)


def configure(order: Order, *, unnest: bool) -> dict[str, str]:
    place = order.postgres
    keyed = order.mode != "append"
    return {
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": str(min(TASKS, order.partitions)),
        "topics": order.topic,
        "connection.url": f"jdbc:postgresql://{place['host']}:{place['port']}/{place['dbname']}"
        "?reWriteBatchedInserts=true",
        "connection.username": place["user"],
        "connection.password": place["password"],
        "collection.name.format": order.table,
        "schema.evolution": "none",
        "insert.mode": "upsert" if keyed else "insert",
        "primary.key.mode": "record_value" if keyed else "none",
        **({"primary.key.fields": "id"} if keyed else {}),
        "batch.size": BATCH_RECORDS,
        "dialect.postgres.unnest.insert.enabled": str(unnest).lower(),
        "consumer.override.max.poll.records": BATCH_RECORDS,
        "consumer.override.auto.offset.reset": "earliest",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "value.converter.schema.content": json.dumps(describe(order)),
    }


def describe(order: Order) -> dict[str, Any]:
    """The records' schema as Connect writes it; for Debezium that of its envelope."""
    row = {
        "type": "struct",
        "optional": False,
        "fields": [
            {"field": name, "optional": True, **TYPES[kind]} for name, kind in order.columns
        ],
    }
    if order.shape != "debezium":
        return row
    source = [{"field": name, "type": "string"} for name in ("version", "connector", "name")]
    return {
        "type": "struct",
        "name": "bench.Envelope",
        "version": 2,
        "fields": [
            {**row, "optional": True, "name": "bench.Value", "field": "before"},
            {**row, "optional": True, "name": "bench.Value", "field": "after"},
            {
                "type": "struct",
                "name": "io.debezium.connector.postgresql.Source",
                "field": "source",
                "fields": [*source, {"field": "ts_ms", "type": "int64"}],
            },
            {"field": "op", "type": "string"},
            {"field": "ts_ms", "type": "int64", "optional": True},
        ],
    }
