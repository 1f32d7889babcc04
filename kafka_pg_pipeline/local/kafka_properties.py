"""The configuration files of a one-node Kafka, and of its ZooKeeper for versions that need one."""

from collections.abc import Mapping
from pathlib import Path

from kafka_pg_pipeline.local.ports import LOOPBACK

_ONE_NODE = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "num.partitions": "1",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    # The defaults reserve 128 MB of heap for compaction and start many threads.
    "log.cleaner.dedupe.buffer.size": "8388608",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
}

_SHARE_GROUPS = {
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
}

# A broker that was killed can register again only when its old session has timed out.
_SESSION = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"}
ZOOKEEPER_SESSION_MS = 4000


def build_kraft(
    *, data: Path, port: int, controller_port: int, overrides: Mapping[str, str]
) -> dict[str, str]:
    """Build server.properties for a node that is broker and controller at once."""
    return {
        **_ONE_NODE,
        **_SHARE_GROUPS,
        **_SESSION,
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "log.dirs": str(data),
        **overrides,
    }


def build_with_zookeeper(
    *, data: Path, port: int, zookeeper_port: int, overrides: Mapping[str, str]
) -> dict[str, str]:
    """Build server.properties for a broker beside a ZooKeeper."""
    return {
        **_ONE_NODE,
        "broker.id": "1",
        "zookeeper.connect": f"{LOOPBACK}:{zookeeper_port}",
        "zookeeper.session.timeout.ms": str(ZOOKEEPER_SESSION_MS),
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "log.dirs": str(data),
        **overrides,
    }


def build_zookeeper(*, data: Path, port: int) -> dict[str, str]:
    """Build the configuration of a single ZooKeeper."""
    return {
        "dataDir": str(data),
        "clientPort": str(port),
        "clientPortAddress": LOOPBACK,
        "maxClientCnxns": "0",
        "admin.enableServer": "false",
        "tickTime": "1000",
    }


def format_properties(properties: Mapping[str, str]) -> str:
    """Format a Java properties file."""
    escaped = ((name, value.replace("\\", "\\\\")) for name, value in properties.items())
    return "".join(f"{name}={value}\n" for name, value in escaped)


LOG4J = """\
log4j.rootLogger=INFO, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=[%d] %p %m (%c)%n
"""

LOG4J2 = """\
rootLogger.level=info
rootLogger.appenderRef.stdout.ref=stdout
appender.stdout.type=Console
appender.stdout.name=stdout
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=[%d] %p %m (%c)%n
"""
