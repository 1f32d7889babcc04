"""What goes wrong: one clear message with the cure, the right exit code, and nothing lost."""

import time
from pathlib import Path

import pytest

from kafka_pg_pipeline.local.kafka_server import KafkaServer
from kafka_pg_pipeline.settings.models import BatchSettings, KafkaSettings, PostgresSettings
from kafka_pg_pipeline_tests.cli.conftest import PASSWORD_VARIABLE, CommandLine, describe_servers
from kafka_pg_pipeline_tests.fix_streams import Bench, BenchMaker
from kafka_pg_pipeline_tests.forking import PATIENCE
from kafka_pg_pipeline_tests.waiting import wait_until

COMMANDS = ("load", "plan", "lag")


@pytest.fixture
def filled(bench: Bench) -> Bench:
    bench.create_topic()
    bench.produce([{"id": number} for number in range(30)])
    return bench


def one_error(err: str) -> str:
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    return errors[0]


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        ("no-such-host.invalid:9092", "unknown host name"),
        ("127.0.0.1:1", "refuses connections"),
        ("127.0.0.1", "is not host:port"),
    ],
)
def test_wrong_kafka_host(
    command_line: CommandLine, filled: Bench, servers: str, said: str
) -> None:
    command_line.use(filled, kafka={"bootstrap_servers": servers})
    finished = command_line.run("load", **{PATIENCE: "1"})
    assert finished.code == (2 if "host:port" in said else 1)
    assert said in one_error(finished.err)
    assert "kafka.bootstrap_servers" in finished.err
    doctor = command_line.run("doctor", "--kafka")
    assert doctor.code == finished.code
    assert said in doctor.out + doctor.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"host": "no-such-host.invalid"}, "host name does not resolve"),
        ({"port": 1}, "nothing listens there"),
        ({"dbname": "no_such_database"}, "does not exist"),
        ({"user": "no_such_role"}, "password is wrong, or the role does not exist"),
    ],
)
def test_wrong_postgres(
    command_line: CommandLine, filled: Bench, change: dict[str, object], said: str
) -> None:
    servers = describe_servers(filled)
    command_line.use(filled, postgres={**servers["postgres"], **change})
    finished = command_line.run("load")
    assert finished.code == 1
    assert said in one_error(finished.err)
    assert command_line.run("doctor", "--postgres").code == 1


@pytest.mark.parametrize("command", [*COMMANDS, "doctor", "status", "verify"])
def test_wrong_password_is_said_and_not_shown(
    command_line: CommandLine, filled: Bench, command: str
) -> None:
    command_line.use(filled)
    wrong = "wr0ng-and-secret"
    right = command_line.environment[PASSWORD_VARIABLE]
    process = command_line.start(command, "--debug", **{PASSWORD_VARIABLE: wrong})
    output = "".join(process.communicate(timeout=60))
    assert process.returncode == 1
    assert "password is wrong" in output
    assert wrong not in output
    assert right not in output


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_topic(command_line: CommandLine, filled: Bench, command: str) -> None:
    topic = filled.stream.topic
    wrong = filled.with_stream(topic=f"{topic}s")
    command_line.use(wrong)
    finished = command_line.run(command)
    assert finished.code == 1
    # Topics of other tests may be near as well; the nearest is named first.
    assert f"did you mean '{topic}'" in one_error(finished.err)


def test_missing_column(command_line: CommandLine, filled: Bench) -> None:
    filled.query("CREATE TABLE {table} (id bigint, kafka_partition int)")
    command_line.use(filled)
    finished = command_line.run("load")
    assert finished.code == 1
    assert "has no column 'kafka_offset'" in one_error(finished.err)
    assert "ALTER TABLE" in finished.err
    filled.query("ALTER TABLE {table} ADD kafka_offset bigint")
    assert command_line.run("load").code == 0
    filled.assert_exactly_once()


def test_kafka_stopped_in_the_middle_of_a_load(
    command_line: CommandLine,
    own_kafka: KafkaServer,
    postgres: PostgresSettings,
    bench_maker: BenchMaker,
) -> None:
    kafka = KafkaSettings(bootstrap_servers=own_kafka.bootstrap_servers)
    bench = bench_maker.make(kafka, postgres).with_stream(batch=BatchSettings(max_rows=500))
    bench.create_topic()
    bench.produce([{"id": number, "filler": "x" * 500} for number in range(60_000)])
    command_line.use(bench)
    process = command_line.start("load", "--json")
    table = bench.stream.table
    wait_until(lambda: bench.query("SELECT to_regclass(%s) IS NOT NULL", table)[0][0])
    own_kafka.kill()
    started = time.monotonic()
    _, err = process.communicate(timeout=180)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    assert "refuses connections: start the broker" in one_error(err)
    assert time.monotonic() - started < 120
    own_kafka.start()
    assert command_line.run("load").code == 0
    bench.assert_exactly_once()


def test_unforeseen_error_is_no_traceback(command_line: CommandLine, filled: Bench) -> None:
    command_line.use(filled)
    finished = command_line.run("load", KPP_FAILPOINT="after_read:raise")
    assert finished.code == 1
    assert "FailpointError in failpoints.py" in finished.err
    assert "--debug" in finished.err


def test_debug_shows_the_traceback(command_line: CommandLine, filled: Bench) -> None:
    command_line.use(filled)
    process = command_line.start("load", "--debug", KPP_FAILPOINT="after_read:raise")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" in err


def test_directory_as_file(command_line: CommandLine, tmp_path: Path) -> None:
    finished = command_line.run("status", "-c", str(tmp_path))
    assert finished.code == 2
    assert str(tmp_path) in one_error(finished.err)
