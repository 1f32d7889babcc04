"""The local stack: one Kafka and one PostgreSQL, kept under one directory."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafka_pg_pipeline.local.artefacts import Progress
from kafka_pg_pipeline.local.distribution import KafkaDistribution, find_distribution
from kafka_pg_pipeline.local.endpoints import LocalEndpoints, default_home
from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.local.files import explaining, locked, make_private_directory
from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.local.postgres_server import PostgresServer

_log = logging.getLogger(__name__)
_CURE = "set KAFKA_PG_HOME to a directory of yours"


@dataclass(frozen=True)
class ServerStatus:
    """What is known of one server; ``address`` and ``version`` are None before its first start."""

    name: str
    running: bool
    pid: int | None
    address: str | None
    version: str | None
    directory: Path
    log: Path


@dataclass(frozen=True)
class LocalStatus:
    """What is known of a stack."""

    home: Path
    kafka: ServerStatus
    postgres: ServerStatus

    @property
    def is_up(self) -> bool:
        """Whether both servers run."""
        return self.kafka.running and self.postgres.running

    @property
    def is_any_up(self) -> bool:
        """Whether one of them runs."""
        return self.kafka.running or self.postgres.running


class LocalStack:
    """Starts, stops and describes the servers of one home directory.

    Safe to use from several processes at once. The servers go on when the caller ends, and
    keep their data over ``down`` and ``up``.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        distribution: KafkaDistribution | None = None,
        kafka_port: int = 0,
        postgres_port: int = 0,
        die_with_parent: bool = False,
    ) -> None:
        """Describe a stack; does nothing yet.

        Args:
            home: Where everything lies; ``default_home()`` when None.
            distribution: The Kafka to run; ``find_distribution()`` when None.
            kafka_port: Kafka's port; 0 takes the one of the last start, or a free one.
            postgres_port: The same for PostgreSQL.
            die_with_parent: Take the servers down when the calling process dies (for tests).
        """
        self.home = (default_home() if home is None else home).absolute()
        self._distribution = distribution
        self._kafka_port = kafka_port
        self._postgres_port = postgres_port
        self._die_with_parent = die_with_parent
        self.postgres = PostgresServer(
            self.home / "postgres", port=postgres_port, die_with_parent=die_with_parent
        )

    @property
    def kafka(self) -> KafkaServer:
        """The broker that runs, or the one last started."""
        plain, with_zookeeper = (self._build_kafka(name) for name in ("kafka", "kafka-zookeeper"))
        if with_zookeeper.is_running() or (plain.version is None and with_zookeeper.version):
            return with_zookeeper
        return plain

    def up(self, progress: Progress | None = None) -> LocalEndpoints:
        """Start what does not run yet and wait until both servers answer.

        Args:
            progress: Told what is being done, in a few words; may be called from threads.

        Returns:
            Where to reach the servers.

        Raises:
            LocalStackError: One of them cannot be had; the message names the cure. What this
                call started is stopped again.
        """
        tell = progress or _log.info
        with self._locked():
            ran_before = self.status()
            try:
                self._start_both(tell)
            except BaseException:
                self._stop_started(ran_before)
                raise
            return self.endpoints()

    def down(self, progress: Progress | None = None) -> None:
        """Stop both servers, keeping their data; no-op when nothing runs."""
        if not self.home.is_dir():
            return
        tell = progress or _log.info
        with self._locked(), ThreadPoolExecutor(3) as pool:
            stops: list[Callable[[], None]] = [
                self._build_kafka("kafka").stop,
                self._build_kafka("kafka-zookeeper").stop,
                self.postgres.stop,
            ]
            if self.kafka.is_running() or self.postgres.is_running():
                tell("stopping Kafka and PostgreSQL")
            for future in [pool.submit(stop) for stop in stops]:
                future.result()

    def status(self) -> LocalStatus:
        """Tell what runs; starts nothing and waits for nothing."""
        kafka, postgres = self.kafka, self.postgres
        return LocalStatus(
            home=self.home,
            kafka=ServerStatus(
                name="Kafka",
                running=kafka.is_running(),
                pid=kafka.pid,
                address=None if kafka.version is None else kafka.bootstrap_servers,
                version=kafka.version,
                directory=kafka.directory,
                log=kafka.log_path,
            ),
            postgres=ServerStatus(
                name="PostgreSQL",
                running=postgres.is_running(),
                pid=postgres.pid,
                address=None if postgres.version is None else f"{postgres.host}:{postgres.port}",
                version=postgres.version,
                directory=postgres.directory,
                log=postgres.log_path,
            ),
        )

    def endpoints(self) -> LocalEndpoints:
        """Return where the servers are reached.

        Raises:
            LocalStackError: One of them does not run.
        """
        for name, server in (("Kafka", self.kafka), ("PostgreSQL", self.postgres)):
            if not server.is_running():
                raise LocalStackError(
                    f"the local {name} does not run; start it with: kafka-pg local up"
                )
        return self.last_endpoints()

    def last_endpoints(self) -> LocalEndpoints:
        """Return where the servers are reached, or were when they last ran.

        Raises:
            LocalStackError: One of them was never started.
        """
        return LocalEndpoints(
            bootstrap_servers=self.kafka.bootstrap_servers,
            **self.postgres.connection_parameters(),
        )

    def environment(self) -> dict[str, str]:
        """Return the variables by which clients find the servers.

        Raises:
            LocalStackError: One of them does not run.
        """
        return self.endpoints().environment()

    # -- steps -------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with explaining(self.home, cure=_CURE):
            make_private_directory(self.home)
            lock = locked(self.home / ".lock")
            lock.__enter__()
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def _start_both(self, tell: Progress) -> None:
        with ThreadPoolExecutor(2) as pool:
            futures: list[Future[None]] = [
                pool.submit(self._start_kafka, tell),
                pool.submit(self._start_postgres, tell),
            ]
            wait(futures)
        for future in futures:
            future.result()

    def _start_kafka(self, tell: Progress) -> None:
        if self.kafka.is_running():
            self.kafka.start()
            return
        distribution = self._distribution or find_distribution(progress=tell)
        name = "kafka-zookeeper" if distribution.needs_zookeeper else "kafka"
        tell(f"starting Apache Kafka {distribution.version}")
        server = self._build_kafka(name, distribution).start()
        tell(f"Kafka answers on {server.bootstrap_servers}")

    def _start_postgres(self, tell: Progress) -> None:
        if not self.postgres.is_running():
            tell("starting PostgreSQL")
        self.postgres.start()
        tell(f"PostgreSQL answers on {self.postgres.host}:{self.postgres.port}")

    def _stop_started(self, ran_before: LocalStatus) -> None:
        if not ran_before.kafka.running:
            self.kafka.stop()
        if not ran_before.postgres.running:
            self.postgres.stop()

    def _build_kafka(self, name: str, distribution: KafkaDistribution | None = None) -> KafkaServer:
        return KafkaServer(
            self.home / name,
            distribution=distribution or self._distribution,
            port=self._kafka_port,
            die_with_parent=self._die_with_parent,
        )
