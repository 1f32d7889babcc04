-- name: server
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       current_user::text AS role,
       current_database()::text AS database,
       clock_timestamp() AS now

-- name: rights
-- What the role may do; NULL where the schema or the table does not exist.
SELECT has_database_privilege(current_database(), 'CREATE') AS create_schema,
       has_database_privilege(current_database(), 'TEMPORARY') AS create_temporary,
       (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace
        WHERE nspname = %(pipeline_schema)s) AS use_pipeline_schema,
       (SELECT bool_and(
                has_table_privilege(class.oid, 'SELECT')
                AND (class.relname = 'migration' OR has_table_privilege(class.oid, 'INSERT'))
                AND (class.relname NOT IN ('state', 'dead_letter')
                     OR has_table_privilege(class.oid, 'UPDATE')))
        FROM pg_class AS class
        JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
        WHERE namespace.nspname = %(pipeline_schema)s AND class.relkind = 'r')
           AS write_pipeline_tables

-- name: table_rights
-- What the role may do with one target table; NULL where it does not exist.
SELECT schema.exists AS schema_exists,
       schema.usage AS use_schema,
       schema.creation AS create_table,
       target.oid IS NOT NULL AS table_exists,
       target.writing AS insert_rows
FROM (
    SELECT count(*) > 0 AS exists,
           bool_or(has_schema_privilege(oid, 'USAGE')) AS usage,
           bool_or(has_schema_privilege(oid, 'CREATE')) AS creation
    FROM pg_namespace WHERE nspname = %(schema_name)s
) AS schema
LEFT JOIN (
    SELECT class.oid, has_table_privilege(class.oid, 'INSERT') AS writing
    FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE namespace.nspname = %(schema_name)s AND class.relname = %(table_name)s
) AS target ON true

-- name: stuck_backends
-- Backends of the pipeline that wait for their client while others wait for their locks. Who waits
-- is asked of pg_locks: what other roles' backends wait for is hidden in pg_stat_activity.
SELECT holder.pid, holder.application_name, holder.state,
       extract(epoch FROM clock_timestamp() - holder.xact_start)::float8 AS transaction_seconds,
       count(DISTINCT waiter.pid)::integer AS waiters
FROM (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted) AS waiter
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiter.pid)) AS blocking (pid)
JOIN pg_stat_activity AS holder ON holder.pid = blocking.pid
WHERE holder.datname = current_database()
  AND holder.application_name LIKE 'kafka-pg%%'
  AND holder.wait_event = 'ClientRead'
  AND holder.xact_start IS NOT NULL
GROUP BY 1, 2, 3, 4
ORDER BY holder.pid

-- name: terminate_backend
-- Only if it still is what was found: its process id may belong to another one by now.
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE pid = %(pid)s AND application_name = %(application_name)s AND wait_event = 'ClientRead'
