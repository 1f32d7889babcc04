"""A PgBouncer in transaction pooling mode in front of the session's PostgreSQL."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from kafka_pg_pipeline.local.ports import pick_free
from kafka_pg_pipeline.settings.models import PostgresSettings
from kafka_pg_pipeline_tests.fix_servers import connect

_CONFIGURATION = """\
[databases]
{dbname} = host={host} port={port} auth_user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {auth_file}
pool_mode = transaction
default_pool_size = 20
server_tls_sslmode = prefer
"""


@pytest.fixture(scope="session")
def pooled_postgres(
    postgres: PostgresSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresSettings]:
    """The session's PostgreSQL through PgBouncer; skips where there is none, but never in CI."""
    program = find_pgbouncer()
    if program is None:
        verdict = pytest.fail if os.environ.get("CI") else pytest.skip
        verdict("PgBouncer is not installed (apt-get install pgbouncer)")
    directory = tmp_path_factory.mktemp("pgbouncer")
    pooled = postgres.model_copy(update={"host": "127.0.0.1", "port": pick_free()})
    configuration = directory / "pgbouncer.ini"
    logins = directory / "userlist.txt"
    # Other roles than this one PgBouncer looks up by it.
    logins.write_text(f'"{postgres.user}" "{_password(postgres)}"\n')
    configuration.write_text(_configure(postgres, pooled.port, logins))
    command = [program, str(configuration)]
    if os.geteuid() == 0:
        command[1:1] = ["-u", "nobody"]  # it refuses to stay root
    log = directory / "pgbouncer.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as child:
        try:
            _wait_until_serving(pooled, child, log)
            yield pooled
        finally:
            child.terminate()


def find_pgbouncer() -> str | None:
    """The program, where it is installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _configure(postgres: PostgresSettings, listen_port: int, logins: Path) -> str:
    return _CONFIGURATION.format(
        dbname=postgres.dbname,
        host=postgres.host,
        port=postgres.port,
        user=postgres.user,
        listen_port=listen_port,
        auth_file=logins,
    )


def _password(postgres: PostgresSettings) -> str:
    return postgres.password.get_secret_value() if postgres.password else ""


def _wait_until_serving(
    pooled: PostgresSettings, child: "subprocess.Popen[bytes]", log: Path
) -> None:
    deadline = time.monotonic() + 20
    while not _answers(pooled):
        assert child.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def _answers(pooled: PostgresSettings) -> bool:
    try:
        connect(pooled).close()
    except psycopg2.OperationalError:
        return False
    return True
