"""``kafka-pg doctor``: each fault is found, and the cure that it names works."""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from psycopg2 import sql
from pydantic import SecretStr

from kafka_pg_pipeline.local.distribution import KafkaDistribution
from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.settings.models import KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.cli.conftest import CHECKOUT, PASSWORD_VARIABLE, CommandLine
from kafka_pg_pipeline_tests.fix_registry import RegistryServer
from kafka_pg_pipeline_tests.fix_servers import connect
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker

ROLE_PASSWORD = "a-role-for-the-doctor"


def failed(checks: list[dict[str, Any]]) -> list[str]:
    return [f"{c['subject']}: {c['finding']}" for c in checks if c["verdict"] == "failed"]


@pytest.fixture
def healthy(bench: Bench, command_line: CommandLine) -> Bench:
    bench.create_topic()
    bench.produce([{"id": 1}])
    command_line.use(bench)
    return bench


def test_healthy_pipeline_is_ok_before_and_after_its_first_load(
    command_line: CommandLine, healthy: Bench
) -> None:
    for expected in ("will be created", "writable"):
        finished = command_line.run("doctor")
        assert finished.code == 0, finished.out
        assert "FAILED" not in finished.out
        assert expected in finished.out
        healthy.load()


def test_doctor_changes_nothing(command_line: CommandLine, healthy: Bench) -> None:
    assert command_line.run("doctor").code == 0
    assert healthy.query("SELECT to_regclass(%s)", healthy.stream.table) == [(None,)]
    schema = healthy.endpoints.postgres.schema_name
    assert healthy.query("SELECT FROM pg_namespace WHERE nspname = %s", schema) == []


def test_parts_are_examined_alone(command_line: CommandLine, healthy: Bench) -> None:
    kafka = command_line.run("doctor", "--kafka", "--json").json
    assert not any(check["subject"] == "PostgreSQL" for check in kafka["checks"])
    postgres = command_line.run("doctor", "--postgres", "--json").json
    assert not any(check["subject"] == "Kafka" for check in postgres["checks"])


def test_record_from_the_future_is_a_warning(command_line: CommandLine, healthy: Bench) -> None:
    producer = Producer({"bootstrap.servers": healthy.bootstrap_servers})
    future = int((time.time() + 3600) * 1000)
    producer.produce(healthy.stream.topic, value=b"{}", partition=1, timestamp=future)
    producer.flush(30)
    finished = command_line.run("doctor", "--kafka")
    assert finished.code == 0
    assert "from the future" in finished.out


@pytest.fixture
def role(healthy: Bench, command_line: CommandLine) -> Iterator[str]:
    """A role without any right; the command line runs as it."""
    name = healthy.name.replace("s_", "r_")
    healthy.query(f"CREATE ROLE {name} LOGIN PASSWORD '{ROLE_PASSWORD}'")
    postgres = healthy.endpoints.postgres
    limited = healthy.with_postgres(user=name, password=SecretStr(ROLE_PASSWORD))
    command_line.use(limited)
    command_line.environment[PASSWORD_VARIABLE] = ROLE_PASSWORD
    yield name
    healthy.query(f"DROP OWNED BY {name}")
    healthy.query(f"DROP ROLE {name}")
    assert postgres.user != name


def test_cures_of_missing_rights_cure(command_line: CommandLine, healthy: Bench, role: str) -> None:
    """Follow the doctor's advice, a right at a time, until a load succeeds."""
    followed = 0
    for _ in range(6):
        report = command_line.run("doctor", "--postgres", "--json").json
        cures = [c["cure"] for c in report["checks"] if c["verdict"] == "failed"]
        if not cures:
            break
        for cure in cures:
            statement = cure.partition(": ")[2].partition(", or ")[0]
            healthy.query(statement)
            followed += 1
    assert followed >= 2
    finished = command_line.run("load")
    assert finished.code == 0, finished.err
    assert healthy.count() == 1


def test_table_that_may_not_be_written(
    command_line: CommandLine, healthy: Bench, role: str
) -> None:
    healthy.load()
    schema = healthy.stream.table.partition(".")[0]
    healthy.query(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    finished = command_line.run("doctor", "--postgres", "--json")
    assert finished.code == 1
    found = failed(finished.json["checks"])
    assert any("may not write to" in finding for finding in found)
    assert any("may not write its tables" in finding for finding in found)


def test_silent_loader_is_found_and_ended(command_line: CommandLine, healthy: Bench) -> None:
    healthy.load()
    pipeline = healthy.endpoints.postgres.schema_name
    silent, waiting = (connect(healthy.endpoints.postgres) for _ in range(2))
    lock = sql.SQL("SELECT * FROM {}.state FOR UPDATE").format(sql.Identifier(pipeline))
    with silent.cursor() as cursor:
        cursor.execute("SET application_name = 'kafka-pg orders cli-frozen'")
        cursor.execute("BEGIN")
        cursor.execute(lock)
    waiting.autocommit = True

    def wait() -> None:
        with waiting.cursor() as cursor:
            cursor.execute(lock)

    waiter = threading.Thread(target=wait)
    waiter.start()
    try:
        time.sleep(0.5)
        finished = command_line.run("doctor")
        assert finished.code == 1
        assert "kafka-pg doctor --release-locks" in finished.out
        refused = command_line.run("doctor", "--release-locks")
        assert "cli-frozen" in refused.out
        assert refused.code != 0
        assert waiter.is_alive()
        ended = command_line.run("doctor", "--release-locks", "--yes", "--json")
        assert ended.code == 0
        assert len(ended.json["ended"]) == 1
        waiter.join(10)
        assert not waiter.is_alive()
    finally:
        silent.close()
        waiter.join(60)
        waiting.close()
    clean = command_line.run("doctor", "--release-locks")
    assert (clean.code, "no silent loader" in clean.out) == (0, True)


def test_check_kafka_script_tells_by_its_exit_code(
    command_line: CommandLine, healthy: Bench, tmp_path: Path
) -> None:
    link = tmp_path / "bin"
    link.mkdir()
    (link / "python3").write_text(f'#!/bin/sh\nexec {command_line.command()[0]} "$@"\n')
    (link / "python3").chmod(0o755)
    environment = {
        **command_line.environment,
        "PATH": f"{link}:/usr/bin:/bin",
        "KAFKA_PG_CONFIG": "pipeline.yaml",
    }

    def check(**more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(CHECKOUT / "check_kafka.sh")],
            env={**environment, **more},
            cwd=command_line.directory,
            capture_output=True,
            text=True,
            check=False,
        )

    assert check().returncode == 0
    healthy.delete_topic()
    finished = check()
    assert finished.returncode == 1
    assert healthy.stream.topic in finished.stdout
    assert check(KAFKA_PG_CONFIG="/nowhere.yaml").returncode == 2


@pytest.mark.parametrize("operation", [AclOperation.READ, AclOperation.DESCRIBE])
def test_missing_right_on_the_topic(
    command_line: CommandLine,
    kafka_distribution: KafkaDistribution,
    postgres: PostgresSettings,
    bench_maker: BenchMaker,
    tmp_path: Path,
    operation: AclOperation,
) -> None:
    if kafka_distribution.needs_zookeeper:
        pytest.skip("the authorizer named here is that of KRaft")
    server = KafkaServer(
        tmp_path / "kafka",
        distribution=kafka_distribution,
        properties={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": True,
        },
        die_with_parent=True,
    )
    with server.start():
        kafka = KafkaSettings(bootstrap_servers=server.bootstrap_servers)
        bench = bench_maker.make(kafka, postgres)
        bench.create_topic()
        bench.produce([{"id": 1}])
        command_line.use(bench)
        assert command_line.run("doctor", "--kafka").code == 0
        denial = AclBinding(
            ResourceType.TOPIC,
            bench.stream.topic,
            ResourcePatternType.LITERAL,
            "User:ANONYMOUS",
            "*",
            operation,
            AclPermissionType.DENY,
        )
        admin = AdminClient({"bootstrap.servers": server.bootstrap_servers})
        for future in admin.create_acls([denial]).values():
            future.result(30)
        finished = command_line.run("doctor", "--kafka")
        assert finished.code == 1
        assert "FAILED" in finished.out
        loaded = command_line.run("load")
        assert loaded.code == 1
        if operation is AclOperation.READ:
            assert "grant this user DESCRIBE and READ" in finished.out
            assert "grant this user DESCRIBE and READ" in loaded.err


def test_the_schema_registry_has_a_line(
    command_line: CommandLine, healthy: Bench, registry: RegistryServer
) -> None:
    command_line.environment["SCHEMA_REGISTRY_URL"] = registry.url
    assert f"schema registry: {registry.url}: answers" in command_line.run("doctor", "--kafka").out
    registry.login = ("reader", "secret")
    finished = command_line.run("doctor", "--kafka")
    assert finished.code == 1
    assert "schema_registry.username" in finished.out
