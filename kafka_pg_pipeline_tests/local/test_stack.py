"""Both servers together, as a user of ``kafka-pg local`` meets them."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from kafka_pg_pipeline.local import files
from kafka_pg_pipeline.local.endpoints import default_home
from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.local.stack import LocalStack
from kafka_pg_pipeline_tests.local import clients

SECRET = "not-for-the-process-list"
UP = (
    "import pathlib, sys\n"
    "from kafka_pg_pipeline.local.stack import LocalStack\n"
    "LocalStack(pathlib.Path(sys.argv[1])).up()\n"
)


def _up_in_another_process(home: Path) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "AIVEN_TOKEN": SECRET}
    return subprocess.Popen([sys.executable, "-c", UP, str(home)], env=environment, cwd=home.parent)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack started by two processes at once that have ended since."""
    stack = LocalStack(tmp_path_factory.mktemp("stack") / "home")
    try:
        starters = [_up_in_another_process(stack.home) for _ in range(2)]
        assert [starter.wait(timeout=120) for starter in starters] == [0, 0]
        yield stack
    finally:
        stack.down()
        assert not stack.status().kafka.running
        assert not stack.status().postgres.running


def _pids(stack: LocalStack) -> tuple[int | None, int | None]:
    status = stack.status()
    return status.kafka.pid, status.postgres.pid


def test_servers_outlive_the_processes_that_started_them(stack: LocalStack) -> None:
    assert stack.status().is_up
    assert None not in _pids(stack)


def test_up_twice_and_at_once_changes_nothing(stack: LocalStack) -> None:
    before = _pids(stack)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: stack.up(), range(2))
    assert first == second == stack.endpoints()
    assert _pids(stack) == before


def test_environment_leads_clients_to_the_servers(stack: LocalStack) -> None:
    environment = stack.environment()
    assert sorted(environment) == sorted(
        ["KAFKA_BOOTSTRAP_SERVERS", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"]
    )
    script = "import psycopg2; psycopg2.connect('').close()"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, **environment}, check=True)


def test_password_is_in_no_repr(stack: LocalStack) -> None:
    assert stack.endpoints().password not in repr(stack.endpoints())


def test_command_lines_hold_no_secret(stack: LocalStack) -> None:
    secrets = (SECRET, stack.endpoints().password)
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or ())
        assert not any(secret in command for secret in secrets)


def test_callers_secrets_do_not_reach_the_servers(stack: LocalStack) -> None:
    for pid in _pids(stack):
        assert "AIVEN_TOKEN" not in psutil.Process(pid).environ()


def test_every_file_is_for_its_owner_alone(stack: LocalStack) -> None:
    for path in [stack.home, *stack.home.rglob("*")]:
        if path.exists():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_down_and_up_keep_data_and_ports(stack: LocalStack) -> None:
    before = stack.endpoints()
    clients.create_topic(stack.kafka, "kept")
    clients.produce(stack.kafka, "kept", b"record")
    clients.ask(stack.postgres, "CREATE TABLE kept AS SELECT 'row' AS a")
    stack.down()
    stack.down()
    assert not stack.status().is_up
    with pytest.raises(LocalStackError, match="kafka-pg local up"):
        stack.environment()
    told: list[str] = []
    assert stack.up(told.append) == before
    assert "starting Apache Kafka 4.2.0" in told
    assert clients.consume(stack.kafka, "kept", 1) == [b"record"]
    assert clients.ask(stack.postgres, "SELECT a FROM kept") == "row"


def test_up_starts_what_was_killed_and_leaves_the_rest(stack: LocalStack) -> None:
    kafka, _ = _pids(stack)
    stack.postgres.kill()
    stack.up()
    assert _pids(stack)[0] == kafka
    assert stack.status().is_up


def test_status_of_a_stack_never_started_creates_nothing(tmp_path: Path) -> None:
    status = LocalStack(tmp_path / "none").status()
    assert not status.is_up
    assert status.kafka.address is None
    LocalStack(tmp_path / "none").down()
    assert list(tmp_path.iterdir()) == []


def test_home_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_home() == tmp_path / ".local"
    monkeypatch.setenv("KAFKA_PG_HOME", "")
    assert default_home() == tmp_path / ".local"
    monkeypatch.setenv("KAFKA_PG_HOME", "/elsewhere")
    assert default_home() == Path("/elsewhere")


def test_unusable_home_is_one_error_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalStackError, match=r"file/home.*KAFKA_PG_HOME"):
        LocalStack(tmp_path / "file" / "home").up()


def test_full_disk_is_one_error_and_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = files.shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    stack = LocalStack(tmp_path / "home", die_with_parent=True)
    with pytest.raises(LocalStackError, match=r"1 MB free.*KAFKA_PG_HOME"):
        stack.up()
    assert not stack.status().kafka.running
    assert not stack.status().postgres.running


def test_interrupted_up_leaves_nothing_running(tmp_path: Path) -> None:
    script = (
        "import pathlib, signal, sys\n"
        "from kafka_pg_pipeline.local.stack import LocalStack\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "LocalStack(pathlib.Path(sys.argv[1])).up(lambda text: print(text, flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        for line in starter.stdout:
            if line.startswith("starting Apache Kafka"):
                starter.send_signal(signal.SIGINT)
                break
        assert starter.wait(timeout=60) != 0
    status = LocalStack(tmp_path).status()
    assert (status.kafka.running, status.postgres.running) == (False, False)


def test_existing_home_keeps_its_rights(tmp_path: Path) -> None:
    home = tmp_path / "shared"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    files.make_private_directory(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o755
