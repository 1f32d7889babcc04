"""One Kafka broker in a directory of its own."""

import contextlib
import logging
import os
import shutil
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kafka_pg_pipeline.local import kafka_properties, ports
from kafka_pg_pipeline.local.cluster_id import build_cluster_id
from kafka_pg_pipeline.local.distribution import KafkaDistribution, fetch_distribution
from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.local.files import (
    explaining,
    make_private_directory,
    prepare_log,
    read_state,
    read_tail,
    require_space,
    summarise,
    write_private,
    write_state,
)
from kafka_pg_pipeline.local.kafka_probe import count_brokers
from kafka_pg_pipeline.local.process import DISK_FULL, Command, Identity, find_by_command

_log = logging.getLogger(__name__)

_BROKER_CLASS = "kafka.Kafka"
_ZOOKEEPER_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_START_SECONDS = 90
_STOP_SECONDS = 45
_POLL_SECONDS = 0.03
_BIND_TRIES = 4
_NEEDED_MEGABYTES = 100
_CURE = "choose another directory (KAFKA_PG_HOME for the local stack)"
_TAKEN = ("Address already in use", "Address in use")
_JAVA_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "JAVA_TOOL_OPTIONS")
_STILL_REGISTERED = "NodeExists"


class KafkaServer:
    """Starts and stops one broker; another object for the same directory sees the same broker.

    The broker listens on 127.0.0.1 only. Its data, configuration, log and state lie in the
    directory, for the owner alone. Versions before 3.3 get a ZooKeeper beside them. Nothing
    is started before ``start()``; whoever started it stops it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        distribution: KafkaDistribution | None = None,
        port: int = 0,
        controller_port: int = 0,
        properties: Mapping[str, object] | None = None,
        heap: str = "512m",
        java_options: Sequence[str] = ("-XX:TieredStopAtLevel=1",),
        die_with_parent: bool = False,
    ) -> None:
        """Describe a broker; does nothing yet.

        Args:
            directory: Where everything of this broker lies.
            distribution: The Kafka to run; the default version, downloaded, when None.
            port: The port to listen on; 0 takes the one of the last start, or a free one.
            controller_port: The same for the controller, or for ZooKeeper.
            properties: More lines of server.properties; they win over ours.
            heap: The largest Java heap.
            java_options: More options of the Java runtime.
            die_with_parent: Take the broker down when the calling process dies.
        """
        self.directory = directory.absolute()
        self.properties = dict(properties or {})
        self._distribution = distribution
        self._wanted_port = port
        self._wanted_controller_port = controller_port
        self._heap = heap
        self._java_options = tuple(java_options)
        self._die_with_parent = die_with_parent

    # -- what it is --------------------------------------------------------------------------

    @property
    def distribution(self) -> KafkaDistribution:
        """The Kafka that runs here; downloads it when necessary."""
        if self._distribution is None:
            self._distribution = fetch_distribution()
        return self._distribution

    @property
    def version(self) -> str | None:
        """The version last started here, or None."""
        version = self._state.get("version")
        return None if version is None else str(version)

    @property
    def port(self) -> int:
        """The broker's port, of this or the last start.

        Raises:
            LocalStackError: It was never started.
        """
        port = self._state.get("port")
        if port is None:
            raise LocalStackError(f"the Kafka in {str(self.directory)!r} was never started")
        return int(port)

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to."""
        return f"{ports.LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The broker's process id, or None when it does not run."""
        broker = self._broker
        return broker.pid if broker is not None and broker.is_alive() else None

    @property
    def log_path(self) -> Path:
        """The broker's log file."""
        return self.directory / "kafka.log"

    def is_running(self) -> bool:
        """Tell whether the broker's process runs; a paused one does."""
        return self.pid is not None

    # -- life --------------------------------------------------------------------------------

    def start(self) -> "KafkaServer":
        """Start the broker and wait until it answers a metadata request; no-op when it runs.

        Raises:
            LocalStackError: It did not start; the message names the cause and the cure.
        """
        if self.is_running():
            self._wait_until_serving(log_start=0)
            return self
        with explaining(self.directory, cure=_CURE):
            make_private_directory(self.directory)
            require_space(self.directory, megabytes=_NEEDED_MEGABYTES, cure=_CURE)
            self._stop_forgotten()
            self._clean_temporary_files()
            for tries_left in reversed(range(_BIND_TRIES)):
                self._start_zookeeper()
                if self._try_start(last_try=tries_left == 0):
                    break
        return self

    def stop(self) -> None:
        """Stop the broker in order (SIGTERM), and its ZooKeeper; no-op when nothing runs."""
        for identity in (self._broker, self._zookeeper):
            if identity is not None and not identity.terminate(
                signal.SIGTERM, timeout_seconds=_STOP_SECONDS
            ):
                _log.warning("pid %s ignored SIGTERM; killing it", identity.pid)
                identity.kill()

    def kill(self) -> None:
        """Kill the broker (SIGKILL), as a crash would; a ZooKeeper beside it goes on."""
        if self._broker is not None:
            self._broker.kill()

    def pause(self) -> None:
        """Freeze the broker (SIGSTOP): connections stay open and nothing answers."""
        if self._broker is not None:
            self._broker.pause()

    def resume(self) -> None:
        """Let a frozen broker go on (SIGCONT)."""
        if self._broker is not None:
            self._broker.resume()

    def restart(self) -> None:
        """Stop the broker and start it on the same port.

        Raises:
            LocalStackError: It did not start again, or its port was taken meanwhile.
        """
        port = self.port
        self.stop()
        wanted, self._wanted_port = self._wanted_port, port
        try:
            self.start()
        finally:
            self._wanted_port = wanted

    def __enter__(self) -> "KafkaServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- state -------------------------------------------------------------------------------

    @property
    def _state(self) -> dict[str, Any]:
        return read_state(self.directory / "server.json")

    def _remember(self, **values: object) -> None:
        write_state(self.directory / "server.json", {**self._state, **values})

    @property
    def _broker(self) -> Identity | None:
        return self._read_identity("broker")

    @property
    def _zookeeper(self) -> Identity | None:
        return self._read_identity("zookeeper")

    def _read_identity(self, name: str) -> Identity | None:
        known = self._state.get(name)
        return None if not known else Identity(**known)

    # -- steps of a start --------------------------------------------------------------------

    def _stop_forgotten(self) -> None:
        """End a broker that runs on our data though no state file tells of it."""
        for main_class, path in (
            (_BROKER_CLASS, self._properties_path),
            (_ZOOKEEPER_CLASS, self._zookeeper_path),
        ):
            forgotten = find_by_command("java", main_class, str(path))
            if forgotten is not None and forgotten != self._zookeeper:
                _log.warning("ending the forgotten process %s", forgotten.pid)
                forgotten.kill()

    def _clean_temporary_files(self) -> None:
        """Remove the native libraries that a killed broker had unpacked and left behind."""
        shutil.rmtree(self.directory / "tmp", ignore_errors=True)
        make_private_directory(self.directory / "tmp")

    def _try_start(self, *, last_try: bool) -> bool:
        """Start once; False when a port was snatched away or the old session still lives."""
        self._choose_ports()
        self._write_configuration()
        if not self.distribution.needs_zookeeper:
            self._format_storage()
        log_start = prepare_log(self.log_path)
        broker = self._spawn(_BROKER_CLASS, self._properties_path, log=self.log_path)
        self._remember(
            broker={"pid": broker.pid, "fingerprint": broker.fingerprint},
            version=self.distribution.version,
        )
        try:
            self._wait_until_serving(log_start=log_start)
        except BaseException as exc:
            output = read_tail(self.log_path, start=log_start)
            broker.kill()
            if not isinstance(exc, LocalStackError) or last_try or not self._may_try_again(output):
                raise
            _log.info("trying once more to start Kafka")
            return False
        return True

    def _may_try_again(self, output: str) -> bool:
        if _STILL_REGISTERED in output:
            time.sleep(kafka_properties.ZOOKEEPER_SESSION_MS / 1000)
            return True
        both_chosen = not (self._wanted_port and self._wanted_controller_port)
        return both_chosen and any(words in output for words in _TAKEN)

    def _choose_ports(self) -> None:
        state = self._state
        port = ports.choose(self._wanted_port, remembered=state.get("port"), purpose="Kafka")
        self._remember(port=port)
        if not self.distribution.needs_zookeeper:
            controller = ports.choose(
                self._wanted_controller_port,
                remembered=state.get("controller_port"),
                purpose="Kafka's controller",
            )
            self._remember(controller_port=controller)

    def _write_configuration(self) -> None:
        state = self._state
        overrides = {name: _format_value(value) for name, value in self.properties.items()}
        data = make_private_directory(self.directory / "data")
        if self.distribution.needs_zookeeper:
            properties = kafka_properties.build_with_zookeeper(
                data=data,
                port=state["port"],
                zookeeper_port=state["zookeeper_port"],
                overrides=overrides,
            )
        else:
            properties = kafka_properties.build_kraft(
                data=data,
                port=state["port"],
                controller_port=state["controller_port"],
                overrides=overrides,
            )
        write_private(self._properties_path, kafka_properties.format_properties(properties))
        write_private(self.directory / "log4j.properties", kafka_properties.LOG4J)
        write_private(self.directory / "log4j2.properties", kafka_properties.LOG4J2)

    def _format_storage(self) -> None:
        """Give new storage its cluster id; storage that has one is left alone."""
        if (self.directory / "data" / "meta.properties").exists():
            return
        cluster_id = str(self._state.get("cluster_id") or build_cluster_id())
        self._remember(cluster_id=cluster_id)
        self._build_command(
            "kafka.tools.StorageTool",
            ["format", "--ignore-formatted", "-t", cluster_id, "-c", str(self._properties_path)],
        ).run()

    def _start_zookeeper(self) -> None:
        if not self.distribution.needs_zookeeper:
            return
        if self._zookeeper is not None and self._zookeeper.is_alive():
            return
        port = ports.choose(
            self._wanted_controller_port,
            remembered=self._state.get("zookeeper_port"),
            purpose="ZooKeeper",
        )
        data = make_private_directory(self.directory / "zookeeper-data")
        properties = kafka_properties.build_zookeeper(data=data, port=port)
        write_private(self._zookeeper_path, kafka_properties.format_properties(properties))
        write_private(self.directory / "log4j.properties", kafka_properties.LOG4J)
        log = self.directory / "zookeeper.log"
        log_start = prepare_log(log)
        zookeeper = self._spawn(_ZOOKEEPER_CLASS, self._zookeeper_path, log=log)
        self._remember(
            zookeeper={"pid": zookeeper.pid, "fingerprint": zookeeper.fingerprint},
            zookeeper_port=port,
        )
        self._wait_for_port(zookeeper, port, log=log, log_start=log_start)

    @property
    def _properties_path(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _zookeeper_path(self) -> Path:
        return self.directory / "zookeeper.properties"

    # -- processes ---------------------------------------------------------------------------

    def _spawn(self, main_class: str, configuration: Path, *, log: Path) -> Identity:
        return self._build_command(main_class, [str(configuration)]).spawn(
            log=log, die_with_parent=self._die_with_parent, death_signal=signal.SIGKILL
        )

    def _build_command(self, main_class: str, arguments: Sequence[str]) -> Command:
        java_options = [
            f"-Xmx{self._heap}",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
            "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={self.directory / 'tmp'}",
            "-Djava.awt.headless=true",
            "-Djava.net.preferIPv4Stack=true",
            "-Dzookeeper.jmx.log4j.disable=true",
            f"-Dlog4j.configuration=file:{self.directory / 'log4j.properties'}",
            f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
            *self._java_options,
        ]
        return Command(
            arguments=[
                str(self.distribution.java),
                *java_options,
                "-cp",
                self.distribution.class_path,
                main_class,
                *arguments,
            ],
            environment={
                name: os.environ[name] for name in _JAVA_ENVIRONMENT if name in os.environ
            },
            directory=self.directory,
        )

    # -- waiting -----------------------------------------------------------------------------

    def _wait_until_serving(self, *, log_start: int) -> None:
        broker = self._broker
        if broker is None:
            raise LocalStackError(f"the Kafka in {str(self.directory)!r} does not run")
        deadline = time.monotonic() + _START_SECONDS
        self._wait_for_port(broker, self.port, log=self.log_path, log_start=log_start)
        while count_brokers(ports.LOOPBACK, self.port) == 0:
            if not broker.is_alive() or time.monotonic() > deadline:
                raise self._explain_failure(broker, self.log_path, log_start)
            time.sleep(_POLL_SECONDS)

    def _wait_for_port(self, server: Identity, port: int, *, log: Path, log_start: int) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection((ports.LOOPBACK, port), timeout=1).close()
                if server.is_alive():
                    return
            if not server.is_alive() or time.monotonic() > deadline:
                raise self._explain_failure(server, log, log_start)
            time.sleep(_POLL_SECONDS)

    def _explain_failure(self, server: Identity, log: Path, log_start: int) -> LocalStackError:
        output = read_tail(log, start=log_start)
        if DISK_FULL in output:
            return LocalStackError(f"the disk of {str(self.directory)!r} is full; free some")
        if any(words in output for words in _TAKEN):
            return LocalStackError(ports.describe_taken(self.port, purpose="Kafka"))
        what = "did not answer in time" if server.is_alive() else "ended while starting"
        return LocalStackError(
            f"Kafka {what}; the whole log is {str(log)!r}, its end:\n{summarise(output)}"
        )


def _format_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
