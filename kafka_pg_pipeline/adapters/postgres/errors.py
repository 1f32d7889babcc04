"""psycopg2's errors sorted into the package's tree, without a word of the row's content.

A message keeps the SQLSTATE, the constraint's and the column's name and nothing else that the
server said: DETAIL and CONTEXT quote data.
"""

from collections.abc import Iterator
from contextlib import contextmanager

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
_TARGET = ("42P01", "42703", "22P04", "42804", "3F000")


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
    """Turn a driver error into ours; ``doing`` says what was attempted, in lower case."""
    try:
        yield
    except psycopg2.Error as error:
        raise translate(error, doing) from None


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


def explain_connection_failure(error: psycopg2.OperationalError, where: str) -> str:
    """Why a connection failed, from libpq's text, of which only known causes are passed on."""
    text = str(error)
    causes = (
        ("password authentication failed", "the password is wrong, or the role does not exist"),
        ("no password supplied", "no password was given: set PGPASSWORD or postgres.password"),
        ("no pg_hba.conf entry", "the server does not let this role in from here (pg_hba.conf)"),
        ("could not translate host name", "the host name does not resolve: check postgres.host"),
        ("Connection refused", "nothing listens there: is PostgreSQL running?"),
        ("timeout expired", "no answer in time: a firewall, or the wrong host or port?"),
        ("does not exist", "the database or role does not exist"),
        (
            "certificate verify failed",
            "the server's certificate is not signed by postgres.sslrootcert",
        ),
        ("does not support SSL", "the server speaks no TLS: see postgres.sslmode"),
        ("too many clients", "the server has no connection left"),
        ("remaining connection slots", "the server has no connection left"),
        ("starting up", "the server is starting up"),
        ("shutting down", "the server is shutting down"),
        ("in recovery mode", "the server is recovering from a crash"),
        ("session is read-only", "this node is read-only: name the primary in postgres.host"),
        ("server closed the connection", "the server closed the connection"),
    )
    cause = next((cure for sign, cure in causes if sign in text), "libpq could not connect")
    return f"cannot connect to PostgreSQL at {where}: {cause}"


def is_refused_login(error: psycopg2.OperationalError) -> bool:
    """True where waiting cannot help: wrong password, unknown role or database, pg_hba."""
    text = str(error)
    signs = ("authentication failed", "no password supplied", "pg_hba.conf", "does not exist")
    return any(sign in text for sign in signs)
