"""psycopg2's errors sorted into the package's tree, without a word of the row's content.

A message keeps the SQLSTATE, the constraint's and the column's name and nothing else that the
server said: DETAIL and CONTEXT quote data.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import psycopg2

from kafka_pg_pipeline import errors

# Class 22 data, 23 integrity, 54 a limit of a type or index, P0001 raised by the table's trigger.
_RECORD_FAULT_CLASSES = ("22", "23", "54")
_RECORD_FAULT_CODES = ("P0001",)
# 22P04: our lines do not fit the column list; the table changed under us.
_NOT_A_RECORD_FAULT = ("22P04",)
_CONTENTION = ("40001", "40P01", "55P03", "57014")
_PASSING = ("25006", "53", "57P", "58", "08")
_RIGHTS = ("42501", "28")
# 42809, 42P10, 428C9: a view, or a generated column, stands where a table or a column stood.
_TARGET = ("42P01", "42703", "22P04", "42804", "3F000", "42809", "42P10", "428C9")


def is_record_fault(error: psycopg2.Error) -> bool:
    """True where one of the rows is to blame, not the server, the table or a rival."""
    code = error.pgcode or ""
    if code in _NOT_A_RECORD_FAULT:
        return False
    return code[:2] in _RECORD_FAULT_CLASSES or code in _RECORD_FAULT_CODES


def describe(error: psycopg2.Error) -> str:
    """SQLSTATE and names: all of a server's error that may be shown."""
    parts = [f"SQLSTATE {error.pgcode}" if error.pgcode else "no SQLSTATE, the connection was lost"]
    for label, name in (
        ("table", error.diag.table_name),
        ("column", error.diag.column_name),
        ("constraint", error.diag.constraint_name),
    ):
        if name:
            parts.append(f"{label} {name!r}")
    return ", ".join(parts)


@contextmanager
def translated_errors(doing: str) -> Iterator[None]:
    """Turn a driver error into ours; ``doing`` says what was attempted, in lower case.

    The driver's error quotes rows: it does not travel along as the context of ours.
    """
    try:
        yield
    except psycopg2.Error as error:
        raise_alone(translate(error, doing))


def raise_alone(failure: errors.PipelineError) -> NoReturn:
    """Raise without a trace of the exception that is being handled."""
    try:
        raise failure
    finally:
        failure.__context__ = None


def translate(error: psycopg2.Error, doing: str) -> errors.PipelineError:
    """The error of our tree that stands for a driver error."""
    code = error.pgcode or ""
    what = f"could not {doing} ({describe(error)})"
    if code == "57014" or code in _CONTENTION:
        return errors.ContentionError(
            f"{what}: another session held a lock, or the statement outlasted its limit; "
            "see `kafka-pg doctor`"
        )
    if code.startswith(_RIGHTS):
        return errors.AuthenticationError(f"{what}: a right is missing; see `kafka-pg doctor`")
    if code in _TARGET:
        return errors.TargetError(
            f"{what}: the table is not what it was when the run started; "
            "`kafka-pg plan` shows what is expected"
        )
    if code.startswith("53"):
        return errors.PostgresUnavailableError(
            f"{what}: the server has run out of disk, memory or connections"
        )
    if not code or code.startswith(_PASSING):
        return errors.PostgresUnavailableError(f"{what}: nothing was moved, a later run continues")
    return errors.InvariantError(f"{what}: this should not happen; please report it")


_REFUSED = errors.AuthenticationError
_UNAVAILABLE = errors.PostgresUnavailableError
# What libpq says, by a pattern; the first that fits. Nothing else of its text is passed on.
_CONNECTION_FAILURES: tuple[tuple[str, type[errors.PipelineError], str], ...] = (
    (
        "root certificate file",
        errors.ConfigurationError,
        "the CA's file does not exist: name it in postgres.sslrootcert, or in PGSSLROOTCERT",
    ),
    (
        "could not read root certificate",
        errors.ConfigurationError,
        "the file in postgres.sslrootcert is no certificate",
    ),
    (
        "password authentication failed",
        _REFUSED,
        "the password is wrong, or the role does not exist: check postgres.user, and PGPASSWORD "
        "or the variable that postgres.password names",
    ),
    (
        "no password supplied",
        _REFUSED,
        "no password was given: set PGPASSWORD or postgres.password",
    ),
    ("authentication failed", _REFUSED, "the server refuses this role: check postgres.user"),
    (
        "no pg_hba.conf entry",
        _REFUSED,
        "the server does not let this role in from here (pg_hba.conf)",
    ),
    (
        r'database ".*" does not exist',
        _REFUSED,
        "the database does not exist: create it, or correct postgres.dbname",
    ),
    (r"permission denied for database", _REFUSED, "the role may not connect to the database"),
    (
        r'role ".*" (does not exist|is not permitted)',
        _REFUSED,
        "the role does not exist, or may not log in: check postgres.user",
    ),
    (
        "could not translate host name",
        _UNAVAILABLE,
        "the host name does not resolve: check postgres.host",
    ),
    ("Connection refused", _UNAVAILABLE, "nothing listens there: is PostgreSQL running?"),
    (
        "timeout expired",
        _UNAVAILABLE,
        "no answer in time: a firewall, or the wrong host or port?",
    ),
    (
        "certificate has expired",
        errors.ConfigurationError,
        "the server's certificate has expired: whoever runs it has to renew it",
    ),
    (
        "certificate verify failed",
        errors.ConfigurationError,
        "the server's certificate has expired, or is not signed by postgres.sslrootcert (with "
        "Aiven, by the CA of aiven.project)",
    ),
    (
        "does not match host name",
        errors.ConfigurationError,
        "the server's certificate is for another host than postgres.host",
    ),
    ("does not support SSL", _UNAVAILABLE, "the server speaks no TLS: see postgres.sslmode"),
    ("too many clients", _UNAVAILABLE, "the server has no connection left"),
    ("remaining connection slots", _UNAVAILABLE, "the server has no connection left"),
    ("starting up", _UNAVAILABLE, "the server is starting up"),
    ("shutting down", _UNAVAILABLE, "the server is shutting down"),
    ("in recovery mode", _UNAVAILABLE, "the server is recovering from a crash"),
    (
        "session is read-only",
        _UNAVAILABLE,
        "this node is read-only: name the primary in postgres.host",
    ),
    ("server closed the connection", _UNAVAILABLE, "the server closed the connection"),
)


def is_for_another_host(error: psycopg2.OperationalError) -> bool:
    """Whether the server's certificate is proved, and only names another host."""
    return "does not match host name" in str(error)


def explain_connection_failure(
    error: psycopg2.OperationalError, where: str
) -> errors.PipelineError:
    """Why a connection failed: waiting cannot help where it is refused or misconfigured."""
    text = str(error)
    known = next((entry for entry in _CONNECTION_FAILURES if re.search(entry[0], text)), None)
    _, kind, cause = known or ("", _UNAVAILABLE, "libpq could not connect")
    return kind(f"cannot connect to PostgreSQL at {where}: {cause}")
