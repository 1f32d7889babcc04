"""One PostgreSQL server in a directory of its own."""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import psycopg2

from kafka_pg_pipeline.local import ports
from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.local.files import (
    explaining,
    make_private_directory,
    prepare_log,
    read_state,
    read_tail,
    require_space,
    summarise,
    write_private,
    write_state,
)
from kafka_pg_pipeline.local.postgres_binaries import (
    PostgresBinaries,
    find_account,
    find_binaries,
)
from kafka_pg_pipeline.local.process import DISK_FULL, Account, Command, Identity, find_by_command

StopMode = Literal["smart", "fast", "immediate"]

_log = logging.getLogger(__name__)

_START_SECONDS = 60
_STOP_SECONDS = 60
_POLL_SECONDS = 0.03
_BIND_TRIES = 4
_NEEDED_MEGABYTES = 150
_CURE = "choose another directory (KAFKA_PG_HOME for the local stack)"
_SIGNALS: Mapping[str, int] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_SETTINGS_FILE = "kafka_pg.conf"


class PostgresServer:
    """Starts and stops one server; another object for the same directory sees the same server.

    The server listens on 127.0.0.1 over TCP only and asks for its generated password
    (scram-sha-256). Everything lies in the directory, for the owner alone. Nothing is started
    before ``start()``; whoever started it stops it.
    """

    host = ports.LOOPBACK
    user = "postgres"

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        settings: Mapping[str, object] | None = None,
        bin_directory: Path | None = None,
        dbname: str = "pipeline",
        die_with_parent: bool = False,
    ) -> None:
        """Describe a server; does nothing yet.

        Args:
            directory: Where everything of this server lies.
            port: The port to listen on; 0 takes the one of the last start, or a free one.
            settings: Server settings as in postgresql.conf; they win over ours. What
                ``ALTER SYSTEM`` set wins over them.
            bin_directory: Where ``initdb`` and ``postgres`` are; the ones installed by pip when
                None. Data made by another major version is refused by the server.
            dbname: The database to create and to connect to.
            die_with_parent: Take the server down when the calling process dies.
        """
        self.directory = directory.absolute()
        self.settings = dict(settings or {})
        self.dbname = dbname
        self._bin_directory = bin_directory
        self._wanted_port = port
        self._die_with_parent = die_with_parent

    # -- what it is --------------------------------------------------------------------------

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self.directory / "data"

    @property
    def log_path(self) -> Path:
        """The server's log file."""
        return self.directory / "postgres.log"

    @property
    def account(self) -> Account | None:
        """The system user the server runs as; None when that is the present one."""
        return find_account(self.data)

    @property
    def version(self) -> str | None:
        """The version last started here, or None."""
        version = self._state.get("version")
        return None if version is None else str(version)

    @property
    def port(self) -> int:
        """The server's port, of this or the last start.

        Raises:
            LocalStackError: It was never started.
        """
        return int(self._get_known("port"))

    @property
    def password(self) -> str:
        """The generated password of ``user``.

        Raises:
            LocalStackError: It was never started.
        """
        return str(self._get_known("password"))

    @property
    def pid(self) -> int | None:
        """The server's process id, or None when it does not run."""
        server = self._server
        return server.pid if server is not None and server.is_alive() else None

    def connection_parameters(self) -> dict[str, Any]:
        """Return the keyword arguments for ``psycopg2.connect``."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": self.dbname,
        }

    def is_running(self) -> bool:
        """Tell whether the server's process runs; a paused one does."""
        return self.pid is not None

    # -- life --------------------------------------------------------------------------------

    def start(self) -> "PostgresServer":
        """Start the server and wait until it accepts a connection; no-op when it runs.

        Raises:
            LocalStackError: It did not start; the message names the cause and the cure.
        """
        if self.is_running():
            self._wait_until_serving(log_start=0)
            return self
        with explaining(self.directory, cure=_CURE):
            make_private_directory(self.directory)
            require_space(self.directory, megabytes=_NEEDED_MEGABYTES, cure=_CURE)
            binaries = find_binaries(self._bin_directory)
            self._stop_forgotten()
            self._initialise(binaries)
            for tries_left in reversed(range(_BIND_TRIES)):
                if self._try_start(binaries, last_try=tries_left == 0):
                    break
        self._create_database()
        return self

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server; no-op when it does not run.

        Args:
            mode: As pg_ctl's: ``smart`` waits for clients, ``fast`` disconnects them,
                ``immediate`` is a crash that the next start recovers from.

        Raises:
            LocalStackError: A smart stop still waits for its clients after a minute.
        """
        server = self._server
        if server is None:
            return
        if server.terminate(_SIGNALS[mode], timeout_seconds=_STOP_SECONDS):
            return
        if mode == "smart":
            raise LocalStackError("PostgreSQL still waits for its clients; stop it 'fast'")
        _log.warning("pid %s does not stop; killing it", server.pid)
        server.kill()

    def kill(self) -> None:
        """Kill the server and its backends (SIGKILL), as a power cut would."""
        if self._server is not None:
            self._server.kill()

    def pause(self) -> None:
        """Freeze the server and its backends (SIGSTOP)."""
        if self._server is not None:
            self._server.pause()

    def resume(self) -> None:
        """Let a frozen server go on (SIGCONT)."""
        if self._server is not None:
            self._server.resume()

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop the server and start it on the same port.

        Raises:
            LocalStackError: It did not start again, or its port was taken meanwhile.
        """
        port = self.port
        self.stop(mode)
        wanted, self._wanted_port = self._wanted_port, port
        try:
            self.start()
        finally:
            self._wanted_port = wanted

    def __enter__(self) -> "PostgresServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- state -------------------------------------------------------------------------------

    @property
    def _state(self) -> dict[str, Any]:
        return read_state(self.directory / "server.json")

    def _remember(self, **values: object) -> None:
        write_state(self.directory / "server.json", {**self._state, **values})

    def _get_known(self, name: str) -> Any:
        value = self._state.get(name)
        if value is None:
            raise LocalStackError(f"the PostgreSQL in {str(self.directory)!r} was never started")
        return value

    @property
    def _server(self) -> Identity | None:
        known = self._state.get("server")
        return None if not known else Identity(**known)

    # -- steps of a start --------------------------------------------------------------------

    def _stop_forgotten(self) -> None:
        """End a server that runs on our data though no state file tells of it."""
        forgotten = find_by_command("postgres", "-D", str(self.data))
        if forgotten is not None:
            _log.warning("stopping the forgotten process %s", forgotten.pid)
            if not forgotten.terminate(signal.SIGINT, timeout_seconds=10):
                forgotten.kill()
        # Nobody runs on this data now: a process id left in the lock file is somebody else's.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self, binaries: PostgresBinaries) -> None:
        """Create the data directory; one that was begun and not finished is made anew."""
        if (self.data / "PG_VERSION").exists():
            if not self._state.get("password"):
                self._reset_password(binaries)
            return
        password = secrets.token_urlsafe(24)
        unfinished = self.directory / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        account = find_account(unfinished)
        if account is not None:
            os.chown(unfinished, account.user_id, account.group_id)
        password_file = self.directory / "password"
        write_private(password_file, password)
        try:
            self._build_command(
                [
                    binaries.get_path("initdb"),
                    *_build_initdb_options(binaries),
                    "--pgdata",
                    str(unfinished),
                    "--pwfile",
                    str(password_file),
                ],
                account=account,
            ).run()
        finally:
            password_file.unlink(missing_ok=True)
        with (unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write(f"include_if_exists = '{_SETTINGS_FILE}'\n")
        self._remember(password=password)
        unfinished.rename(self.data)

    def _reset_password(self, binaries: PostgresBinaries) -> None:
        """Give data whose password was lost a new one, in single-user mode."""
        password = secrets.token_urlsafe(24)
        self._build_command(
            [binaries.get_path("postgres"), "--single", "-D", str(self.data), "postgres"]
        ).run(text=f"ALTER ROLE {self.user} PASSWORD '{password}'\n")
        self._remember(password=password)

    def _try_start(self, binaries: PostgresBinaries, *, last_try: bool) -> bool:
        """Start once; False when the chosen port was snatched away meanwhile."""
        port = ports.choose(
            self._wanted_port, remembered=self._state.get("port"), purpose="PostgreSQL"
        )
        self._write_settings(port)
        log_start = prepare_log(self.log_path)
        server = self._build_command([binaries.get_path("postgres"), "-D", str(self.data)]).spawn(
            log=self.log_path,
            die_with_parent=self._die_with_parent,
            death_signal=signal.SIGQUIT,
        )
        self._remember(
            server={"pid": server.pid, "fingerprint": server.fingerprint},
            port=port,
            version=binaries.version,
        )
        try:
            self._wait_until_serving(log_start=log_start)
        except BaseException as exc:
            if not server.terminate(signal.SIGQUIT, timeout_seconds=10):
                server.kill()
            taken = "Address already in use" in read_tail(self.log_path, start=log_start)
            if isinstance(exc, LocalStackError) and taken and not (last_try or self._wanted_port):
                return False
            raise
        return True

    def _write_settings(self, port: int) -> None:
        settings: dict[str, object] = {
            "listen_addresses": self.host,
            "port": port,
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_wal_size": "2GB",
            **self.settings,
        }
        path = self.data / _SETTINGS_FILE
        write_private(
            path, "".join(f"{name} = {_quote(value)}\n" for name, value in settings.items())
        )
        account = self.account
        if account is not None:
            os.chown(path, account.user_id, account.group_id)

    def _build_command(self, arguments: list[str], account: Account | None = None) -> Command:
        return Command(
            arguments=arguments,
            environment={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            directory=self.directory,
            account=account or self.account,
        )

    # -- waiting -----------------------------------------------------------------------------

    def _wait_until_serving(self, *, log_start: int) -> None:
        server = self._server
        deadline = time.monotonic() + _START_SECONDS
        while server is not None and server.is_alive():
            problem = self._try_connection()
            if problem is None:
                return
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        output = read_tail(self.log_path, start=log_start)
        if DISK_FULL in output:
            raise LocalStackError(f"the disk of {str(self.directory)!r} is full; free some")
        if "Address already in use" in output:
            raise LocalStackError(ports.describe_taken(self.port, purpose="PostgreSQL"))
        raise LocalStackError(
            f"PostgreSQL did not start; the whole log is {str(self.log_path)!r}, its end:\n"
            f"{summarise(output)}"
        )

    def _try_connection(self) -> psycopg2.OperationalError | None:
        try:
            self._connect().close()
        except psycopg2.OperationalError as exc:
            return exc
        return None

    def _connect(self) -> Any:
        parameters = {**self.connection_parameters(), "dbname": "postgres", "connect_timeout": 5}
        return psycopg2.connect(**parameters)

    def _create_database(self) -> None:
        with contextlib.closing(self._connect()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (self.dbname,))
                if cursor.fetchone() is None:
                    name = psycopg2.extensions.quote_ident(self.dbname, connection)
                    cursor.execute(f"CREATE DATABASE {name}")


def _build_initdb_options(binaries: PostgresBinaries) -> list[str]:
    options = [
        "--username=postgres",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-instructions",
        "--no-sync",
    ]
    if binaries.major >= 17:
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return options


def _quote(value: object) -> str:
    text = ("on" if value else "off") if isinstance(value, bool) else str(value)
    return "'" + text.replace("'", "''") + "'"
