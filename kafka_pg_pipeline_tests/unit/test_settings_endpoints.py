"""Which servers are meant: the file wins, then the environment, then the local stack."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from kafka_pg_pipeline.assembly.endpoints import (
    Endpoints,
    find_local_stack,
    needs_local_stack,
    resolve_endpoints,
)
from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.local.endpoints import LocalEndpoints
from kafka_pg_pipeline.settings.models import PipelineSettings

LOCAL = LocalEndpoints("127.0.0.1:20001", "127.0.0.1", 20002, "local", "local-secret", "local_db")
ENVIRONMENT = {
    "KAFKA_BOOTSTRAP_SERVERS": "env:9092",
    "PGHOST": "env.example.com",
    "PGPORT": "6543",
    "PGUSER": "env_user",
    "PGPASSWORD": "env-secret",
    "PGDATABASE": "env_db",
    "PGSSLMODE": "require",
    "PGSSLROOTCERT": "/env/ca.pem",
}
FILE = {
    "host": "file.example.com",
    "port": 7654,
    "user": "file_user",
    "password": "file-secret",
    "dbname": "file_db",
    "sslmode": "verify-full",
    "sslrootcert": "/file/ca.pem",
}
FROM_ENVIRONMENT = {
    "host": "env.example.com",
    "port": 6543,
    "user": "env_user",
    "password": SecretStr("env-secret"),
    "dbname": "env_db",
    "sslmode": "require",
    "sslrootcert": Path("/env/ca.pem"),
}
FROM_FILE = {
    **FILE,
    "password": SecretStr("file-secret"),
    "sslrootcert": Path("/file/ca.pem"),
}


def settings_of(*, kafka: Any = None, postgres: Any = None) -> PipelineSettings:
    return PipelineSettings.model_validate({"kafka": kafka, "postgres": postgres, "streams": {}})


def resolve(settings: PipelineSettings, environment: dict[str, str]) -> Endpoints:
    return resolve_endpoints(settings, environment, find_stack=lambda: LOCAL)


def fields_of(endpoints: Endpoints) -> dict[str, Any]:
    return {name: getattr(endpoints.postgres, name) for name in FILE}


def test_kafka_is_the_files_then_the_environments_then_the_local_stacks() -> None:
    named = settings_of(kafka={"bootstrap_servers": "file:9092"})
    found = [
        resolve(named, ENVIRONMENT),
        resolve(settings_of(), ENVIRONMENT),
        resolve(settings_of(), {}),
        resolve(settings_of(kafka={"bootstrap_servers": ""}), {"KAFKA_BOOTSTRAP_SERVERS": ""}),
    ]
    assert [(e.kafka.bootstrap_servers, e.kafka_named_by) for e in found] == [
        ("file:9092", "the configuration file"),
        ("env:9092", "the environment"),
        ("127.0.0.1:20001", "the local stack"),
        ("127.0.0.1:20001", "the local stack"),
    ]


def test_the_files_other_keys_of_kafka_hold_for_servers_of_the_environment() -> None:
    endpoints = resolve(settings_of(kafka={"security_protocol": "SSL"}), ENVIRONMENT)
    assert endpoints.kafka.security_protocol == "SSL"
    endpoints = resolve(settings_of(kafka={"security_protocol": "SSL"}), {})
    assert endpoints.kafka.security_protocol == "PLAINTEXT"  # all that the local stack speaks


def test_postgres_is_the_files_with_all_its_fields() -> None:
    endpoints = resolve(settings_of(postgres=FILE), ENVIRONMENT)
    assert fields_of(endpoints) == FROM_FILE
    assert endpoints.postgres_named_by == "the configuration file"


def test_postgres_is_the_environments_with_all_its_fields() -> None:
    endpoints = resolve(settings_of(), ENVIRONMENT)
    assert fields_of(endpoints) == FROM_ENVIRONMENT
    assert endpoints.postgres_named_by == "the environment"


@pytest.mark.parametrize("field", FILE)
def test_each_field_that_the_file_leaves_open_is_the_environments(field: str) -> None:
    left_open = {name: value for name, value in FILE.items() if name != field}
    endpoints = resolve(settings_of(postgres=left_open), ENVIRONMENT)
    assert fields_of(endpoints) == {**FROM_FILE, field: FROM_ENVIRONMENT[field]}


@pytest.mark.parametrize("field", FILE)
def test_each_field_that_the_file_names_is_the_files(field: str) -> None:
    endpoints = resolve(settings_of(postgres={field: FILE[field]}), ENVIRONMENT)
    assert fields_of(endpoints) == {**FROM_ENVIRONMENT, field: FROM_FILE[field]}


@pytest.mark.parametrize("nothing", [{}, dict.fromkeys(ENVIRONMENT, "")], ids=["unset", "empty"])
def test_what_nobody_names_has_its_default(nothing: dict[str, str]) -> None:
    postgres = resolve(settings_of(postgres={"host": "db"}), nothing).postgres
    assert (postgres.port, postgres.user, postgres.password) == (5432, "", None)
    assert (postgres.sslmode, postgres.sslrootcert) == ("prefer", None)


def test_a_default_that_the_file_names_stands_against_the_environment() -> None:
    postgres = {"host": "db", "port": 5432, "sslmode": "prefer"}
    found = resolve(settings_of(postgres=postgres), ENVIRONMENT).postgres
    assert (found.port, found.sslmode) == (5432, "prefer")


def test_other_keys_of_the_file_are_kept() -> None:
    kept = {"schema": "mine", "lock_timeout_seconds": 7}
    for environment in (ENVIRONMENT, {}):
        postgres = resolve(settings_of(postgres=kept), environment).postgres
        assert (postgres.schema_name, postgres.lock_timeout_seconds) == ("mine", 7)


def test_the_local_stack_is_taken_whole() -> None:
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PGHOST"}
    left_open = {name: value for name, value in FILE.items() if name not in ("host", "sslrootcert")}
    endpoints = resolve(settings_of(postgres=left_open), environment)
    assert fields_of(endpoints) == {
        "host": "127.0.0.1",
        "port": 20002,
        "user": "local",
        "password": SecretStr("local-secret"),
        "dbname": "local_db",
        "sslmode": "disable",
        "sslrootcert": None,
    }
    assert endpoints.postgres_named_by == "the local stack"


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("PGPORT", "C4NARY", "a whole number from 1 to 65535"),
        ("PGPORT", "5432,5433", "a whole number from 1 to 65535"),
        ("PGPORT", "0", "a whole number from 1 to 65535"),
        ("PGPORT", "65536", "a whole number from 1 to 65535"),
        ("PGSSLMODE", "C4NARY", "'disable', 'allow', 'prefer'"),
        ("PGHOST", "postgres://u:C4NARY@db/x", "a URI is no host"),
    ],
)
def test_a_variable_that_holds_nonsense_is_named_and_not_shown(
    variable: str, value: str, allowed: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(settings_of(), {**ENVIRONMENT, variable: value})
    said = str(caught.value)
    assert said.startswith(f"{variable}: ")
    assert allowed in said
    assert "C4NARY" not in said
    assert "secret" not in said


def test_all_variables_that_hold_nonsense_are_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(settings_of(), {**ENVIRONMENT, "PGPORT": "x", "PGSSLMODE": "y"})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "PGPORT",
        "PGSSLMODE",
    ]


def test_a_variable_that_is_not_needed_may_hold_nonsense() -> None:
    environment = {**ENVIRONMENT, "PGPORT": "x", "PGSSLMODE": "y"}
    assert fields_of(resolve(settings_of(postgres=FILE), environment)) == FROM_FILE


@pytest.mark.parametrize(
    ("settings", "environment", "names"),
    [
        (settings_of(), {}, ("kafka.bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS")),
        (settings_of(postgres=FILE), {}, ("kafka.bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS")),
        (
            settings_of(kafka={"bootstrap_servers": "k:1"}),
            {"PGPORT": "5432", "PGUSER": "u"},
            ("postgres.host", "PGHOST"),
        ),
    ],
)
def test_nothing_named_and_no_stack_says_where_it_looked(
    settings: PipelineSettings, environment: dict[str, str], names: tuple[str, str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_endpoints(settings, environment, find_stack=lambda: None)
    for name in (*names, "`kafka-pg local up`"):
        assert name in str(caught.value)


def test_a_directory_without_a_stack_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_PG_HOME", str(tmp_path / "home"))
    assert find_local_stack() is None
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("kafka_named", [True, False])
@pytest.mark.parametrize("postgres_named", [True, False])
@pytest.mark.parametrize("by_file", [True, False])
def test_the_local_stack_is_needed_unless_both_servers_are_named(
    kafka_named: bool, postgres_named: bool, by_file: bool
) -> None:
    settings = settings_of(
        kafka={"bootstrap_servers": "k:1" if by_file and kafka_named else ""},
        postgres={"host": "db" if by_file and postgres_named else ""},
    )
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": "k:1" if kafka_named and not by_file else "",
        "PGHOST": "db" if postgres_named and not by_file else "",
    }
    assert needs_local_stack(settings, environment) is not (kafka_named and postgres_named)


def test_named_servers_need_no_look_at_the_stack() -> None:
    looked: list[int] = []

    def find_stack() -> None:
        looked.append(1)

    settings = settings_of(kafka={"bootstrap_servers": "k:1"}, postgres={"host": "db"})
    resolve_endpoints(settings, {}, find_stack)
    assert looked == []
