"""``kafka-pg aiven`` and doctor's rows of Aiven: what they say, and what they never say."""

import stat
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from kafka_pg_pipeline_tests.aiven.conftest import AivenStream
from kafka_pg_pipeline_tests.cli.conftest import CommandLine, Finished
from kafka_pg_pipeline_tests.fix_aiven import (
    ETL_PASSWORD,
    KAFKA,
    PG_PASSWORD,
    POSTGRES,
    AivenServer,
)


class Shell:
    """A user's shell whose file names the project."""

    def __init__(self, line: CommandLine, environment: dict[str, str]) -> None:
        self._line = line
        self.environment = environment

    def run(self, *words: str, **changes: str) -> Finished:
        return self._line.run(*words, **{**self.environment, **changes})


@pytest.fixture
def shell(aiven: AivenServer, command_line: CommandLine) -> Shell:
    """One that needs the API alone."""
    file = command_line.write_file(
        {
            "aiven": {"project": "acme-data", "kafka_service": KAFKA, "postgres_service": POSTGRES},
            "streams": {"orders": {"topic": "orders", "table": "orders"}},
        }
    )
    return Shell(command_line, {**aiven.environment, "KAFKA_PG_CONFIG": str(file)})


def findings(done: Finished) -> dict[str, tuple[str, str]]:
    return {row["subject"]: (row["verdict"], row["finding"]) for row in done.json["checks"]}


def test_check_tells_token_ca_state_certificate_maintenance_and_limits(shell: Shell) -> None:
    found = shell.run("aiven", "check", "--json")
    assert found.code == 0, found.err
    rows = findings(found)
    assert {name: verdict for name, (verdict, _) in rows.items()} == {
        "Aiven": "ok",
        "Aiven CA": "ok",
        f"Aiven service {KAFKA}": "ok",
        f"certificate of {KAFKA}": "ok",
        f"maintenance of {KAFKA}": "warning",
        f"Aiven service {POSTGRES}": "ok",
        f"maintenance of {POSTGRES}": "warning",
        f"limits of {POSTGRES}": "ok",
    }
    assert "100 connections" in rows[f"limits of {POSTGRES}"][1]
    assert "in the window sunday 03:00" in rows[f"maintenance of {KAFKA}"][1]


def test_check_fails_where_something_does_not_serve(shell: Shell, aiven: AivenServer) -> None:
    aiven.services[POSTGRES]["state"] = "POWEROFF"
    aiven.services[KAFKA]["users"][0]["access_cert_not_valid_after_time"] = "2020-01-01T00:00:00Z"
    aiven.fail("kms/ca", 403, {"message": "Not allowed"})
    found = shell.run("aiven", "check")
    assert found.code == 1
    assert "Aiven CA: could not read" in found.out
    assert "is powered off" in found.out
    assert f"FAILED   certificate of {KAFKA}: it ended" in found.out


def test_few_connections_are_told_before_they_run_out(shell: Shell, aiven: AivenServer) -> None:
    aiven.services[POSTGRES]["metadata"]["max_connections"] = 12
    rows = findings(shell.run("aiven", "check", "--json"))
    assert rows[f"limits of {POSTGRES}"][0] == "warning"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"AIVEN_TOKEN": "wrong"}, "the token is not valid"),
        ({"AIVEN_TOKEN": ""}, "no token is given"),
        ({"AIVEN_API_URL": "ftp://x"}, "AIVEN_API_URL: this is no address"),
        ({"AIVEN_API_URL": "http://api.aiven.io"}, "AIVEN_API_URL: this is no address"),
    ],
)
def test_what_is_wrong_with_the_account_is_doctors_first_row(
    shell: Shell, changes: dict[str, str], said: str
) -> None:
    done = shell.run("doctor", **changes)
    assert done.code in (1, 2)
    assert done.out.startswith("FAILED")
    assert said in done.out


def test_doctor_examines_aiven_and_the_servers_it_names(
    aiven_stream: AivenStream, command_line: CommandLine
) -> None:
    done = command_line.run("doctor", "--json", **aiven_stream.environment)
    rows = findings(done)
    assert done.code == 0, rows
    assert rows["Aiven"][0] == "ok"
    assert "named by the Aiven service kafka-events of project acme-data" in rows["Kafka"][1]
    assert "named by the Aiven service pg-landing" in rows["PostgreSQL"][1]
    assert rows["stream demo"][0] == "ok"
    assert not [secret for secret in aiven_stream.secrets if secret in done.out + done.err]


def test_services_shows_which_ones_serve(shell: Shell) -> None:
    done = shell.run("aiven", "services", "--json")
    assert [(s["service"], s["type"], s["state"], s["used_as"]) for s in done.json["services"]] == [
        (KAFKA, "kafka", "RUNNING", "kafka"),
        (POSTGRES, "pg", "RUNNING", "postgres"),
    ]
    assert "business-4" in shell.run("aiven", "services").out


def test_env_prints_no_secret_that_was_not_named(
    aiven_stream: AivenStream, command_line: CommandLine
) -> None:
    environment = aiven_stream.environment
    plain = command_line.run("aiven", "env", **environment)
    assert plain.code == 0, plain.err
    assert "export PGHOST=localhost\n" in plain.out
    assert "export PGSSLMODE=verify-full\n" in plain.out
    assert "export TEST_DB_NAME=defaultdb\n" in plain.out
    assert not [secret for secret in aiven_stream.secrets if secret in plain.out + plain.err]
    directory = command_line.directory / "certificates"
    named = command_line.run(
        "aiven",
        "env",
        "--secret",
        "TEST_PASSWORD",
        "--certificates",
        str(directory),
        "--json",
        **environment,
    )
    assert named.json["TEST_PASSWORD"] == PG_PASSWORD
    assert "PGPASSWORD" not in named.json
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert modes == dict.fromkeys(["ca.pem", "kafka-ca.pem", "service.cert", "service.key"], 0o600)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_file_without_a_project_is_told(command_line: CommandLine) -> None:
    done = command_line.run("aiven", "check")
    assert done.code == 2
    assert "names no Aiven project" in done.err


# -- provisioning ----------------------------------------------------------------------------------


def lacking() -> dict[str, Any]:
    """A file that asks for a topic, a database, users and rights that are not there."""
    return {
        "aiven": {
            "project": "acme-data",
            "kafka_service": KAFKA,
            "postgres_service": POSTGRES,
            "kafka_user": "loader",
            "postgres_user": "etl",
        },
        "postgres": {"dbname": "shop"},
        "streams": {
            "orders": {"topic": "orders", "table": "orders"},
            "clicks": {
                "topic": "web.clicks",
                "table": "clicks",
                "source": {"count": 5},
                "dead_letters": {"topic": "web.rejected"},
            },
        },
    }


EXPECTED = [
    "topic web.clicks in kafka-events (3 partitions, 3 replicas)",
    "topic web.rejected in kafka-events (3 partitions, 3 replicas)",
    "user loader in kafka-events",
    "right of loader to read orders in kafka-events",
    "right of loader to readwrite web.clicks in kafka-events",
    "right of loader to write web.rejected in kafka-events",
    "database shop in pg-landing",
]


def test_provision_creates_what_is_missing_once_it_was_shown_and_never_deletes(
    shell: Shell, aiven: AivenServer, command_line: CommandLine
) -> None:
    command_line.write_file(lacking())
    shown = shell.run("aiven", "provision", "--dry-run", "--json")
    assert shown.json == {"plan": EXPECTED, "dry_run": True, "created": False}
    refused = shell.run("aiven", "provision")  # nobody there to say yes
    assert refused.code != 0
    assert f"create {EXPECTED[0]}" in refused.out
    assert not [path for path in aiven.paths() if not path.startswith("GET")]
    done = shell.run("aiven", "provision", "--yes", "--json")
    assert done.json == {"plan": EXPECTED, "dry_run": False, "created": True}
    posts = [path for path in aiven.paths() if not path.startswith("GET")]
    assert len(posts) == len(EXPECTED)
    assert all(path.startswith("POST") for path in posts)
    again = shell.run("aiven", "provision", "--yes", "--json")
    assert again.json["plan"] == []
    assert ETL_PASSWORD not in shown.out + done.out + done.err + again.out


def test_provision_leaves_what_somebody_else_has_just_created(
    shell: Shell, aiven: AivenServer, command_line: CommandLine
) -> None:
    command_line.write_file(lacking())
    aiven.fail("POST .*/topic$", 409, {"message": "Topic already exists"})
    assert shell.run("aiven", "provision", "clicks", "--yes").code == 0
    aiven.faults.clear()
    aiven.fail("POST", 403, {"message": "Not allowed"})
    denied = shell.run("aiven", "provision", "--yes")
    assert denied.code == 1
    assert "lacks the right" in denied.err


def test_a_topic_that_was_provisioned_can_be_loaded(
    aiven_stream: AivenStream, command_line: CommandLine
) -> None:
    account = aiven_stream.account
    topic = f"{aiven_stream.topic}.new"
    account.api.on_topic = lambda given: account.kafka.create_topic(
        given["topic_name"], given["partitions"]
    )
    aiven_stream.change(
        "streams", demo={"topic": topic, "table": aiven_stream.table, "source": {"count": 7}}
    )
    environment = aiven_stream.environment
    size = ("--partitions", "2", "--replication", "1")
    assert command_line.run("aiven", "provision", "--yes", *size, **environment).code == 0
    admin = AdminClient({"bootstrap.servers": account.kafka.plain.bootstrap_servers})
    assert len(admin.list_topics(topic, 10).topics[topic].partitions) == 2
    assert command_line.run("produce", "demo", **environment).code == 0
    loaded = command_line.run("load", "demo", **environment)
    assert loaded.code == 0, loaded.err
    assert aiven_stream.count() == 7
