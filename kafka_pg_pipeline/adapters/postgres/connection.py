"""Connections to the primary: opened with a deadline, cut when a call outlasts its own.

Connections run in psycopg2's autocommit mode and transactions are opened and closed by explicit
statements, so that each costs the round trips that are written down here and COMMIT's own answer
is seen (the server answers ROLLBACK to the COMMIT of a failed transaction).
"""

import logging
import os
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from kafka_pg_pipeline.adapters.postgres import errors
from kafka_pg_pipeline.adapters.private_files import private_file
from kafka_pg_pipeline.errors import OutcomeUnknownError
from kafka_pg_pipeline.settings.discovered import DiscoveredPostgres
from kafka_pg_pipeline.settings.models import PostgresSettings
from kafka_pg_pipeline.sql import load_queries

Connection = psycopg2.extensions.connection
Cursor = psycopg2.extensions.cursor

# A frozen or partitioned client must not keep the position row for long: the server ends a
# transaction of ours that idles longer than this (delivery.md 3.3).
IDLE_IN_TRANSACTION_SECONDS = 10
# Over what the server grants a statement, before the client cuts the connection itself.
GRACE_SECONDS = 5.0
_ROLLBACK_SECONDS = 5.0

_log = logging.getLogger(__name__)


def connect(settings: PostgresSettings, *, application_name: str) -> Connection:
    """Open a connection to a node that accepts writes.

    Raises:
        AuthenticationError: the server refused the role, the password or the database.
        ConfigurationError: the file of the CA cannot be read.
        PostgresUnavailableError: nothing answered in time, or only a read-only node did.

    """
    where = f"{settings.host}:{settings.port}/{settings.dbname}"
    try:
        connection = _open(settings, application_name)
    except psycopg2.OperationalError as error:
        errors.raise_alone(errors.explain_connection_failure(error, where))
    connection.autocommit = True
    return connection


def _open(settings: PostgresSettings, application_name: str) -> Connection:
    parameters = _parameters(settings, application_name)
    if not isinstance(settings, DiscoveredPostgres):
        return _connect(parameters)
    # libpq takes a CA from a file alone, and reads it while it connects.
    with private_file(settings.ca) as path:
        parameters["sslrootcert"] = str(path)
        try:
            return _connect(parameters)
        except psycopg2.OperationalError as error:
            if not (settings.may_lower_sslmode and errors.is_for_another_host(error)):
                raise
        _log.warning(
            "the certificate of PostgreSQL at %s is for another host name: its CA is proved all "
            "the same, so the connection goes on with verify-ca in place of verify-full. Say "
            "`postgres.sslmode: verify-ca` to be content with it, or `verify-full` to refuse it",
            settings.host,
        )
        return _connect({**parameters, "sslmode": "verify-ca"})


def _connect(parameters: Mapping[str, Any]) -> Connection:
    connection: Connection = psycopg2.connect(**parameters)
    return connection


def _parameters(settings: PostgresSettings, application_name: str) -> dict[str, Any]:
    password = settings.password.get_secret_value() if settings.password else None
    given = {
        "host": settings.host,
        "port": settings.port,
        "dbname": settings.dbname,
        "user": settings.user,
        "password": password,
        "sslmode": settings.sslmode,
        "sslrootcert": str(settings.sslrootcert) if settings.sslrootcert else None,
        "connect_timeout": settings.connect_timeout_seconds,
        "application_name": application_name[:63],
        "target_session_attrs": "read-write",
        "client_encoding": "UTF8",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    return {name: value for name, value in given.items() if value not in (None, "")}


@contextmanager
def time_limit(connection: Connection, seconds: float) -> Iterator[None]:
    """Cut the connection when the body outlasts ``seconds``: libpq has no deadline of its own.

    The blocked call then fails as on any lost connection.
    """
    with _line_of(connection) as line:
        timer = threading.Timer(seconds, _shut_down, args=(line,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _line_of(connection: Connection) -> socket.socket:
    """The connection's socket once more, which the caller closes and which outlives libpq's own."""
    return socket.socket(fileno=os.dup(connection.fileno()))


def _shut_down(line: socket.socket) -> None:
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # already gone, which is what was wanted


class Statements:
    """The named queries of one file, bound to the schema of the pipeline's own tables."""

    def __init__(self, file: str, schema_name: str, **identifiers: sql.Identifier) -> None:
        names = {"schema": sql.Identifier(schema_name), **identifiers}
        # They are executed with arguments, and then psycopg2 reads a % as one of these.
        doubled = {
            name: sql.Identifier(*(part.replace("%", "%%") for part in identifier.strings))
            for name, identifier in names.items()
        }
        self._queries = {
            name: sql.SQL(text).format(**doubled) for name, text in load_queries(file).items()
        }

    def __getitem__(self, name: str) -> sql.Composed:
        return self._queries[name]


# ``SET LOCAL`` so that a pooled server connection is left as it was found; the last five so that
# what PostgreSQL reads into dates, intervals and arrays does not depend on the role's or the
# server's settings.
_LIMITS = (
    "SET LOCAL lock_timeout = %(lock)s;"
    "SET LOCAL statement_timeout = %(statement)s;"
    "SET LOCAL idle_in_transaction_session_timeout = %(idle)s;"
    "SET LOCAL timezone = 'UTC';"
    "SET LOCAL timezone_abbreviations = 'Default';"
    "SET LOCAL datestyle = 'ISO, YMD';"
    "SET LOCAL intervalstyle = 'postgres';"
    "SET LOCAL array_nulls = on;"
)
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;" + _LIMITS
# Sent together they are one transaction (PostgreSQL documentation, "Multiple Statements in a Simple
# Query").
_LOOK = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED READ ONLY;" + _LIMITS


def _limits(settings: PostgresSettings) -> Mapping[str, int]:
    return {
        "lock": round(settings.lock_timeout_seconds * 1000),
        "statement": round(settings.statement_timeout_seconds * 1000),
        "idle": IDLE_IN_TRANSACTION_SECONDS * 1000,
    }


class Transaction(Cursor):
    """Sends what nobody waits for together with the next statement: a round trip less for each."""

    _ahead = b""

    def begin(self, settings: PostgresSettings) -> None:
        """Open a READ COMMITTED transaction under the configured limits, with what comes next."""
        self._ahead = self.mogrify(_BEGIN, _limits(settings))

    @property
    def is_open(self) -> bool:
        """Whether there is anything to end: a statement was sent since ``begin``."""
        idle = psycopg2.extensions.TRANSACTION_STATUS_IDLE
        return bool(self.connection.info.transaction_status != idle)

    def defer(self, statement: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's name
        """Run a statement ahead of the next one; its rows are seen by nobody."""
        self._ahead += self.mogrify(statement, vars) + b";"

    def flush(self) -> None:
        """Run what was deferred, if nothing else has taken it along."""
        if self._ahead:
            super().execute(self._take_ahead())

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's name
        """Run a statement, behind what was deferred."""
        if self._ahead:
            super().execute(self._take_ahead() + self.mogrify(query, vars))
        else:
            super().execute(query, vars)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        """Run a COPY likewise: libpq goes on to where a COPY begins."""
        super().copy_expert(
            self._take_ahead() + self.mogrify(sql) if self._ahead else sql, file, size
        )

    def _take_ahead(self) -> bytes:
        ahead, self._ahead = self._ahead, b""
        return ahead


class _LookingCursor(Cursor):
    """Runs each statement in a transaction of its own, in one round trip."""

    opening = b""

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's name
        """Run a statement that only reads."""
        super().execute(self.opening + self.mogrify(query, vars))


class Primary:
    """A connection to the primary that is opened when needed, and again after it was lost.

    Not thread-safe. The owner closes it.
    """

    def __init__(self, settings: PostgresSettings, *, application_name: str) -> None:
        self.settings = settings
        self._application_name = application_name
        self._connection: Connection | None = None

    def connection(self) -> Connection:
        """The open connection, outside of any transaction.

        One that the server ended while it was idle is replaced without a word: nothing was on
        its way, and a restart would otherwise count once for each connection that it ended.

        Raises:
            AuthenticationError, PostgresUnavailableError: see ``connect``.

        """
        if self._connection is not None and was_ended(self._connection):
            self.close()
        if self._connection is None:
            self._connection = self.open_another()
        return self._connection

    def open_another(self) -> Connection:
        """A new connection beside the one that is kept; the caller closes it."""
        return connect(self.settings, application_name=self._application_name)

    def begin(self) -> Transaction:
        """A transaction that opens with its first statement; whoever asks for it ends it.

        Raises:
            AuthenticationError, PostgresUnavailableError: see ``connect``.

        """
        cursor: Transaction = self.connection().cursor(cursor_factory=Transaction)
        cursor.begin(self.settings)
        return cursor

    @contextmanager
    def transaction(
        self, doing: str, *, rehearsal: bool = False, statements: int = 1
    ) -> Iterator[Transaction]:
        """A short transaction for everything but a batch: commits at the end, else rolls back.

        Args:
            doing: What is attempted, in lower case, for the error message.
            rehearsal: Do everything, and then roll back.
            statements: How many of them may take as long as a statement may.

        Raises:
            PipelineError: what the server said, in this package's tree.
            OutcomeUnknownError: the connection was lost at COMMIT.

        """
        cursor = self.begin()
        with self._working(cursor, doing, statements):
            try:
                yield cursor
            except BaseException:
                roll_back(cursor.connection)
                raise
            if cursor.is_open:
                _end(cursor, "ROLLBACK" if rehearsal else "COMMIT", doing)

    @contextmanager
    def look(self, doing: str, *, statements: int = 1) -> Iterator[Cursor]:
        """For statements that only read, each by itself: one round trip for each.

        Args:
            doing: What is looked for, in lower case, for the error message.
            statements: How many of them may take as long as a statement may.

        Raises:
            PipelineError: what the server said, in this package's tree.

        """
        cursor = self.connection().cursor(cursor_factory=_LookingCursor)
        cursor.opening = cursor.mogrify(_LOOK, _limits(self.settings))
        with self._working(cursor, doing, statements):
            yield cursor

    @contextmanager
    def _working(self, cursor: Cursor, doing: str, statements: int) -> Iterator[None]:
        limit = statements * self.settings.statement_timeout_seconds + GRACE_SECONDS
        with errors.translated_errors(doing), time_limit(cursor.connection, limit), cursor:
            yield

    def cancel(self) -> None:
        """Ask the server to give up the statement that another thread waits for; does not wait."""
        if self._connection is not None:
            threading.Thread(target=_cancel, args=(self._connection,), daemon=True).start()

    def cut(self) -> None:
        """Let the call that another thread waits in fail, as on any lost connection."""
        if self._connection is None:
            return
        with (
            suppress(psycopg2.InterfaceError, OSError),  # it was just closed
            _line_of(self._connection) as line,
        ):
            _shut_down(line)

    def close(self) -> None:
        """Release the connection; safe to call twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _cancel(connection: Connection) -> None:
    with suppress(psycopg2.Error):
        connection.cancel()


def _end(cursor: Cursor, statement: str, doing: str) -> None:
    try:
        cursor.execute(statement)
    except psycopg2.Error:
        if not cursor.connection.closed:
            raise
    except BaseException:
        cursor.connection.close()
        raise
    else:
        return
    raise OutcomeUnknownError(
        f"could not {doing}: the connection was lost at its {statement}, so that it may have been "
        "done or not; look before you do it again, as with `kafka-pg status`"
    )


def was_ended(idle: Connection) -> bool:
    """True where the server hung up, or said something unasked: goodbye, usually."""
    if idle.closed:
        return True
    poll = select.poll()
    poll.register(idle.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def roll_back(connection: Connection) -> None:
    """End an open transaction; a connection that is already lost needs none.

    One that cannot be told so in time is closed, which ends the transaction too.
    """
    if connection.closed:
        return
    try:
        with time_limit(connection, _ROLLBACK_SECONDS), connection.cursor() as cursor:
            cursor.execute("ROLLBACK")
    except (psycopg2.Error, OSError):
        connection.close()


@contextmanager
def rolled_back_on_error(connection: Connection) -> Iterator[None]:
    """Roll the open transaction back where the body raises anything."""
    try:
        yield
    except BaseException:
        roll_back(connection)
        raise


def rows_of(cursor: Cursor) -> list[Mapping[str, Any]]:
    """All rows of the last query, by column name."""
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
