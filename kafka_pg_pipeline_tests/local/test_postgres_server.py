"""One PostgreSQL's life."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg2
import pytest

from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.local.postgres_server import PostgresServer
from kafka_pg_pipeline_tests.local import clients

DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


def test_server_is_postgresql_18_with_a_database_of_its_own(postgres: PostgresServer) -> None:
    assert clients.ask(postgres, "SHOW server_version").startswith("18.")
    assert clients.ask(postgres, "SELECT current_database()") == "pipeline"
    assert clients.ask(postgres, "SHOW server_encoding") == "UTF8"


def test_given_settings_win(postgres: PostgresServer) -> None:
    assert clients.ask(postgres, "SHOW max_connections") == "33"


def test_wrong_password_is_refused(postgres: PostgresServer) -> None:
    parameters = {**postgres.connection_parameters(), "password": "guess"}
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(**parameters)


def test_passwords_are_kept_as_scram(postgres: PostgresServer) -> None:
    stored = clients.ask(postgres, "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'")
    assert stored.startswith("SCRAM-SHA-256$")


def test_server_listens_on_loopback_tcp_only(postgres: PostgresServer) -> None:
    assert postgres.pid is not None
    assert clients.list_listening_addresses(postgres.pid) == {"127.0.0.1"}


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_restart_keeps_port_and_rows(postgres: PostgresServer, mode: str) -> None:
    clients.ask(postgres, f"CREATE TABLE kept_{mode} AS SELECT 7 AS a")
    port, pid = postgres.port, postgres.pid
    postgres.restart(mode)  # type: ignore[arg-type] # the parametrisation gives a str
    assert (postgres.port, postgres.pid == pid) == (port, False)
    assert clients.ask(postgres, f"SELECT a FROM kept_{mode}") == 7


def test_killed_server_recovers_what_was_committed(postgres: PostgresServer) -> None:
    clients.ask(postgres, "CREATE TABLE survived AS SELECT 8 AS a")
    with psycopg2.connect(**postgres.connection_parameters()) as connection:
        backend = connection.info.backend_pid
        postgres.kill()
        assert not postgres.is_running()
        assert not psutil.pid_exists(backend) or psutil.Process(backend).status() == "zombie"
    connection.close()
    postgres.start()
    assert clients.ask(postgres, "SELECT a FROM survived") == 8


def test_paused_server_runs_and_goes_on(postgres: PostgresServer) -> None:
    postgres.pause()
    assert postgres.is_running()
    postgres.resume()
    assert clients.ask(postgres, "SELECT 1") == 1


def test_lost_state_file_is_healed(postgres: PostgresServer) -> None:
    former = postgres.pid
    (postgres.directory / "server.json").unlink()
    postgres.start()
    assert former != postgres.pid
    assert clients.ask(postgres, "SELECT 1") == 1


def test_lock_file_with_the_pid_of_another_process_is_healed(postgres: PostgresServer) -> None:
    postgres.stop("immediate")
    with subprocess.Popen(["sleep", "60"]) as bystander:
        (postgres.data / "postmaster.pid").write_text(f"{bystander.pid}\n{postgres.data}\n")
        state = json.loads((postgres.directory / "server.json").read_text())
        state["server"]["pid"] = bystander.pid
        (postgres.directory / "server.json").write_text(json.dumps(state))
        assert not postgres.is_running()
        postgres.start()
        assert bystander.poll() is None
        bystander.kill()
    assert clients.ask(postgres, "SELECT 1") == 1


def test_interrupted_creation_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "data.unfinished" / "base").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    with PostgresServer(tmp_path, die_with_parent=True) as server:
        assert clients.ask(server, "SELECT 1") == 1
    assert not (tmp_path / "data.unfinished").exists()


def test_wanted_port_in_use_is_one_error_that_names_the_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(LocalStackError, match=rf"port {port} .*PostgreSQL.*{os.getpid()}"):
            PostgresServer(tmp_path, port=port, die_with_parent=True).start()


def test_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path, settings={"no_such_setting": 1}, die_with_parent=True)
    with pytest.raises(LocalStackError, match=r"(?s)did not start.*no_such_setting"):
        server.start()
    assert not server.is_running()


@pytest.mark.skipif(not DEBIAN, reason="no PostgreSQL of the system in /usr/lib/postgresql")
def test_system_postgresql_can_be_used(tmp_path: Path) -> None:
    directory = DEBIAN[-1].parent
    with PostgresServer(tmp_path, bin_directory=directory, die_with_parent=True) as server:
        assert clients.ask(server, "SHOW server_version").startswith(directory.parent.name)


def test_directory_without_postgresql_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match="no PostgreSQL server program"):
        PostgresServer(tmp_path / "a", bin_directory=tmp_path).start()


@pytest.mark.faults
def test_server_dies_with_its_parent_when_asked_to(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys\n"
        "from kafka_pg_pipeline.local.postgres_server import PostgresServer\n"
        "PostgresServer(pathlib.Path(sys.argv[1]), die_with_parent=True).start()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    code = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=False, env={**os.environ}
    ).returncode
    assert code == -signal.SIGKILL
    server = PostgresServer(tmp_path)
    deadline = time.monotonic() + 10
    while server.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not server.is_running()
