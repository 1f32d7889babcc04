"""The pipeline's own schema, brought up to date by numbered, forward-only migrations."""

import logging

from psycopg2 import sql

from kafka_pg_pipeline.adapters.postgres.connection import (
    Cursor,
    Primary,
    Statements,
    Transaction,
    rows_of,
)
from kafka_pg_pipeline.errors import AuthenticationError, ConfigurationError
from kafka_pg_pipeline.settings.models import PostgresSettings
from kafka_pg_pipeline.sql import Migration, load_migrations

logger = logging.getLogger(__name__)


def migrate(primary: Primary) -> tuple[Migration, ...]:
    """Apply what is missing, under a transaction-level advisory lock; return what was applied.

    A schema that is current is only read, so that the loader's role needs no right to create.

    Raises:
        ConfigurationError: the schema was made by a newer version, or a migration was edited.
        AuthenticationError: the role may not create the schema.

    """
    primary.connection()  # who may not log in is told so
    try:
        return _migrate(primary)
    except AuthenticationError as error:
        raise AuthenticationError(f"{error}. {_describe_cure(primary)}") from None


def _migrate(primary: Primary) -> tuple[Migration, ...]:
    settings = primary.settings
    doing = f"create the tables of the pipeline in schema {settings.schema_name!r}"
    statements = Statements("migrate", settings.schema_name)
    with primary.look(doing) as cursor:
        if _pending(cursor, statements, settings) == ():
            return ()
    with primary.transaction(doing) as cursor:
        cursor.defer(statements["lock"], {"schema_name": settings.schema_name})
        pending = _pending(cursor, statements, settings)
        if not _exists(cursor, statements, "schema_exists", settings):
            cursor.defer(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(settings.schema_name)))
        if not _exists(cursor, statements, "migration_table_exists", settings):
            cursor.defer(statements["create_migration_table"])
        for migration in pending:
            _apply(cursor, statements, settings, migration)
        cursor.flush()
    for migration in pending:
        logger.info("schema %s: applied migration %s", settings.schema_name, migration.version)
    return pending


def fetch_pending(primary: Primary) -> tuple[Migration, ...]:
    """What ``migrate`` would apply; changes nothing.

    Raises:
        ConfigurationError: see ``migrate``.

    """
    settings = primary.settings
    doing = f"look at the tables of the pipeline in schema {settings.schema_name!r}"
    with primary.look(doing) as cursor:
        return _pending(cursor, Statements("migrate", settings.schema_name), settings)


def _pending(
    cursor: Cursor, statements: Statements, settings: PostgresSettings
) -> tuple[Migration, ...]:
    migrations = load_migrations()
    if not _exists(cursor, statements, "migration_table_exists", settings):
        return migrations
    cursor.execute(statements["applied"])
    applied: dict[int, str] = dict(cursor.fetchall())
    known = {migration.version: migration for migration in migrations}
    for version, checksum in applied.items():
        if version not in known:
            raise ConfigurationError(
                f"schema {settings.schema_name!r} is at version {version}, made by a newer "
                "kafka_pg_pipeline: upgrade this installation, or name another postgres.schema"
            )
        if known[version].checksum != checksum:
            raise ConfigurationError(
                f"migration {version} of schema {settings.schema_name!r} is not the one that was "
                "applied: this installation was edited, or the schema belongs to another program"
            )
    return tuple(migration for migration in migrations if migration.version not in applied)


def _describe_cure(primary: Primary) -> str:
    """What gives a role the right that it lacks to make, or to change, the pipeline's tables."""
    name = primary.settings.schema_name
    with primary.look("look who owns the schema") as cursor:
        statements = Statements("migrate", name)
        cursor.execute(statements["owner"], {"schema_name": name})
        [found] = rows_of(cursor)
    if found["owner"] is None:
        return (
            f"As the database's owner: GRANT CREATE ON DATABASE {found['database']} TO "
            f"{found['role']}; or CREATE SCHEMA {name} AUTHORIZATION {found['role']}"
        )
    return (
        f"Run it once as the owner of the schema's tables, {found['owner']}; or, as an "
        f"administrator: GRANT {found['owner']} TO {found['role']}"
    )


def _exists(cursor: Cursor, statements: Statements, query: str, settings: PostgresSettings) -> bool:
    cursor.execute(statements[query], {"schema_name": settings.schema_name})
    row = cursor.fetchone()
    return bool(row and row[0])


def _apply(
    cursor: Transaction, statements: Statements, settings: PostgresSettings, migration: Migration
) -> None:
    schema = sql.Identifier(settings.schema_name)
    cursor.defer(sql.SQL(migration.statements).format(schema=schema))
    cursor.defer(
        statements["record"],
        {
            "version": migration.version,
            "name": migration.name,
            "checksum": migration.checksum,
        },
    )
