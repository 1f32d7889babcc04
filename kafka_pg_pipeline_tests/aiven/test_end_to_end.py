"""From an Aiven project to rows: runs that know the token and names, and nothing else."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kafka_pg_pipeline.adapters.kafka.producer import produce_values
from kafka_pg_pipeline.orchestration import failures
from kafka_pg_pipeline.resources import aiven as aiven_resource
from kafka_pg_pipeline_tests.aiven.conftest import EVENTS, AivenStream
from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.fix_aiven import KAFKA, PG_PASSWORD, POSTGRES
from kafka_pg_pipeline_tests.fix_proxy import Proxy
from kafka_pg_pipeline_tests.orchestration.programs import all_files, execute_job
from kafka_pg_pipeline_tests.waiting import wait_until

JOB = "kafka_to_postgres"
CALLS_OF_A_LOOK_UP = 3  # two services and the CA


def test_jobs_load_exactly_once_through_renewed_certificates_and_show_no_secret(
    aiven_stream: AivenStream, tmp_path: Path
) -> None:
    """Three runs as programs of their own: SASL, an expired certificate, and a new one."""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    account = aiven_stream.account
    environment = {**aiven_stream.environment, "TMPDIR": str(temporary)}
    aiven_stream.change("aiven", kafka_authentication="sasl", kafka_user="etl")
    said = [execute_job(home, environment, JOB)]
    assert aiven_stream.count() == EVENTS
    assert len(account.api.calls) == CALLS_OF_A_LOOK_UP, "one look-up a run"
    aiven_stream.change("aiven", kafka_authentication="certificate", kafka_user="avnadmin")
    account.rotate_certificate(expired=True)
    said.append(execute_job(home, environment, JOB, expected=1))
    assert "does not take our certificate" in said[-1]
    account.rotate_certificate()
    said.append(execute_job(home, environment, JOB))
    assert aiven_stream.count() == 2 * EVENTS
    files = list(all_files(home))
    assert any(path.suffix == ".db" for path, _ in files)
    assert any("compute_logs" in str(path) for path, _ in files)
    for secret in aiven_stream.secrets:
        assert not any(secret in text for text in said), secret
        for path, content in files:
            assert secret.encode() not in content, (path, secret)
    assert [path for path, content in all_files(temporary) if b"-----BEGIN" in content] == []


def run(definitions: dg.Definitions, job: str, instance: dg.DagsterInstance) -> Any:
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance, raise_on_error=False
    )


@pytest.mark.parametrize("service", [POSTGRES, KAFKA])
def test_a_login_that_was_renewed_meanwhile_is_looked_up_again_in_the_run(
    aiven_stream: AivenStream,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
) -> None:
    """The first answer is from before somebody reset the password."""
    monkeypatch.setattr(failures, "_LEAST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(failures, "_MOST_WAIT_SECONDS", 0.1)
    aiven_stream.change("aiven", kafka_authentication="sasl")
    api = aiven_stream.account.api
    old = copy.deepcopy(api.services[service])
    old["users"][0]["password"] = "the-old-one"
    api.fail(f"service/{service}$", 200, {"service": old}, times=1)
    definitions = aiven_stream.load_definitions(monkeypatch)
    result = run(definitions, "load_demo", instance)
    assert result.success
    retried = [e for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]
    assert len(retried) == 1
    assert len(api.calls) == 2 * CALLS_OF_A_LOOK_UP


def test_a_login_that_stays_refused_is_asked_for_twice_and_no_more(
    aiven_stream: AivenStream, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "_LEAST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(failures, "_MOST_WAIT_SECONDS", 0.1)
    api = aiven_stream.account.api
    api.services[POSTGRES]["users"][0]["password"] = "the-old-one"
    result = run(aiven_stream.load_definitions(monkeypatch), "load_demo", instance)
    assert not result.success
    assert len(api.calls) == 2 * CALLS_OF_A_LOOK_UP


def test_the_sensor_asks_aiven_once_until_a_server_cannot_be_reached(
    aiven_stream: AivenStream, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions = aiven_stream.load_definitions(monkeypatch)
    sensor = definitions.get_repository_def().get_sensor_def("new_offsets_sensor")
    account = aiven_stream.account
    monkeypatch.setattr(aiven_resource, "_SPARING_SECONDS", 0.0)

    def tick() -> str:
        with dg.build_sensor_context(
            instance=instance, resources=dict(definitions.resources or {})
        ) as context:
            return str(sensor.evaluate_tick(context).skip_message)

    for _ in range(3):
        assert "demo: up to date" in tick()
    assert len(account.api.calls) == CALLS_OF_A_LOOK_UP
    account.postgres.execute("ALTER ROLE avnadmin PASSWORD 'renewed'")
    account.api.services[POSTGRES]["users"][0]["password"] = "renewed"
    try:
        assert "the password is wrong" in tick()
        assert "demo: up to date" in tick()
        assert len(account.api.calls) == 2 * CALLS_OF_A_LOOK_UP
    finally:
        account.postgres.execute(f"ALTER ROLE avnadmin PASSWORD '{PG_PASSWORD}'")


def test_a_service_that_is_off_is_what_the_sensor_says(
    aiven_stream: AivenStream, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions = aiven_stream.load_definitions(monkeypatch)
    sensor = definitions.get_repository_def().get_sensor_def("new_offsets_sensor")
    aiven_stream.account.api.services[KAFKA]["state"] = "POWEROFF"
    with dg.build_sensor_context(
        instance=instance, resources=dict(definitions.resources or {})
    ) as context:
        assert "is powered off" in str(sensor.evaluate_tick(context).skip_message)


def test_the_demo_runs_on_an_aiven_project(
    aiven_stream: AivenStream, command_line: CommandLine
) -> None:
    done = command_line.run("demo", "--json", **aiven_stream.environment)
    assert done.code == 0, done.err
    assert done.json["rows"] == EVENTS
    assert aiven_stream.count() == EVENTS
    shown = done.out + done.err
    assert not [secret for secret in aiven_stream.secrets if secret in shown]


def test_a_load_without_end_follows_a_failover_and_a_new_password(
    aiven_stream: AivenStream,
    command_line: CommandLine,
    make_proxy: Callable[[str, int], Proxy],
) -> None:
    """The old address goes away with its connections; later the password is another one."""
    account = aiven_stream.account
    proxy = make_proxy("127.0.0.1", account.postgres.server.port)
    account.place_postgres(port=proxy.port)
    environment = aiven_stream.environment

    def produce_more(expected: int) -> None:
        produce_values(
            account.kafka.plain,
            aiven_stream.topic,
            [(None, json.dumps({"id": expected * 10 + n}).encode()) for n in range(10)],
        )
        wait_until(lambda: aiven_stream.exists() and aiven_stream.count() == expected, 60)

    process = command_line.start("load", "demo", "--until", "forever", **environment)
    try:
        produce_more(10)
        account.place_postgres()
        proxy.close()
        produce_more(20)
        account.postgres.execute("ALTER ROLE avnadmin PASSWORD 'canary-renewed-2207'")
        account.api.services[POSTGRES]["users"][0]["password"] = "canary-renewed-2207"
        account.postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'avnadmin'"
        )
        produce_more(30)
    finally:
        account.postgres.execute(f"ALTER ROLE avnadmin PASSWORD '{PG_PASSWORD}'")
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    shown = out + err
    secrets = (*aiven_stream.secrets, "canary-renewed-2207")
    assert not [secret for secret in secrets if secret in shown]
