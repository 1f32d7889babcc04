"""From an Aiven project to rows: runs that know the token and names, and nothing else."""

import copy
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kafka_pg_pipeline.orchestration import failures
from kafka_pg_pipeline_tests.aiven.conftest import EVENTS, AivenStream
from kafka_pg_pipeline_tests.cli.conftest import CommandLine
from kafka_pg_pipeline_tests.fix_aiven import KAFKA, PG_PASSWORD, POSTGRES
from kafka_pg_pipeline_tests.orchestration.programs import all_files, execute_job

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
        tick()  # over a connection of the old password it may still look
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
