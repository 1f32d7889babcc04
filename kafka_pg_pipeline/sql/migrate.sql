-- name: schema_exists
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema_name)s)

-- name: migration_table_exists
SELECT EXISTS (
    SELECT FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE namespace.nspname = %(schema_name)s AND class.relname = 'migration')

-- name: applied
SELECT version, checksum FROM {schema}.migration ORDER BY version

-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended('kafka_pg migrations of ' || %(schema_name)s, 0))

-- name: create_migration_table
CREATE TABLE IF NOT EXISTS {schema}.migration (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)

-- name: record
INSERT INTO {schema}.migration (version, name, checksum)
VALUES (%(version)s, %(name)s, %(checksum)s)

-- name: owner
-- The names as SQL spells them; no owner where the schema does not exist.
SELECT quote_ident(current_user) AS role, quote_ident(current_database()) AS database,
       (SELECT quote_ident(pg_get_userbyid(nspowner)) FROM pg_namespace
        WHERE nspname = %(schema_name)s) AS owner
