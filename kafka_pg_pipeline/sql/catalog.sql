-- name: find_table
SELECT class.oid::bigint AS oid, class.relkind::text AS relkind,
       class.relpersistence = 'p' AS is_durable,
       class.relkind = 'r'
           AND NOT class.relhasrules
           AND NOT class.relrowsecurity
           AND NOT EXISTS (
               SELECT FROM pg_index
               WHERE indrelid = class.oid AND (indisunique OR indisprimary OR indisexclusion))
           AND NOT EXISTS (
               SELECT FROM pg_constraint
               WHERE conrelid = class.oid AND contype IN ('p', 'u', 'x', 'f'))
           AND NOT EXISTS (
               SELECT FROM pg_trigger WHERE tgrelid = class.oid AND NOT tgisinternal) AS plain,
       -- The lists of columns that ON CONFLICT can name.
       ARRAY(
           SELECT array_to_json(array_agg(attribute.attname::text ORDER BY attribute.attnum))
           FROM pg_index AS index
           JOIN pg_attribute AS attribute
               ON attribute.attrelid = index.indrelid
              AND attribute.attnum = ANY (index.indkey[0:index.indnkeyatts - 1])
           WHERE index.indrelid = class.oid
             AND index.indisunique AND index.indimmediate AND index.indisvalid
             AND index.indpred IS NULL AND index.indexprs IS NULL
           GROUP BY index.indexrelid
           ORDER BY index.indexrelid) AS unique_keys,
       (
           -- From each column's type down to what it is made of: a domain's base type, an array's
           -- elements.
           WITH RECURSIVE base AS (
               SELECT attribute.attnum, type.typname, type.typnotnull,
                      type.typtype <> 'd' AND type.typcategory = 'A' AS is_array,
                      CASE WHEN type.typtype = 'd' THEN type.typbasetype
                           WHEN type.typcategory = 'A' THEN type.typelem ELSE 0 END AS inner_type
               FROM pg_attribute AS attribute
               JOIN pg_type AS type ON type.oid = attribute.atttypid
               WHERE attribute.attrelid = class.oid
                 AND attribute.attnum > 0
                 AND NOT attribute.attisdropped
               UNION ALL
               SELECT base.attnum, type.typname,
                      base.typnotnull OR (type.typnotnull AND NOT base.is_array),
                      base.is_array OR (type.typtype <> 'd' AND type.typcategory = 'A'),
                      CASE WHEN type.typtype = 'd' THEN type.typbasetype
                           WHEN type.typcategory = 'A' THEN type.typelem ELSE 0 END
               FROM base
               JOIN pg_type AS type ON type.oid = base.inner_type
           )
           SELECT coalesce(json_agg(json_build_object(
                      'name', attribute.attname,
                      'type_name', format_type(attribute.atttypid, attribute.atttypmod),
                      'base_type', base.typname,
                      'is_array', base.is_array,
                      'not_null', attribute.attnotnull OR base.typnotnull,
                      'has_default', attribute.atthasdef OR attribute.attidentity = 'd'
                          OR type.typdefault IS NOT NULL
                  ) ORDER BY attribute.attnum), '[]')
           FROM pg_attribute AS attribute
           JOIN pg_type AS type ON type.oid = attribute.atttypid
           JOIN base ON base.attnum = attribute.attnum AND base.inner_type = 0
           WHERE attribute.attrelid = class.oid
             AND attribute.attnum > 0
             AND NOT attribute.attisdropped
             AND attribute.attgenerated = ''
             AND attribute.attidentity <> 'a'
       ) AS columns
FROM pg_class AS class
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE namespace.nspname = %(schema_name)s AND class.relname = %(table_name)s

-- name: schema_exists
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema_name)s)

-- name: constraint_columns
SELECT array_agg(attribute.attname::text ORDER BY attribute.attname)
FROM pg_index AS index
JOIN pg_class AS class ON class.oid = index.indexrelid
JOIN pg_attribute AS attribute
    ON attribute.attrelid = index.indrelid AND attribute.attnum = ANY (index.indkey)
WHERE index.indrelid = %(oid)s AND class.relname = %(constraint_name)s

-- name: lock_holders
SELECT DISTINCT locks.pid
FROM pg_locks AS locks
JOIN pg_class AS class ON class.oid = locks.relation
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE locks.granted
  AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND locks.pid <> pg_backend_pid()
  AND namespace.nspname = %(schema_name)s AND class.relname = %(table_name)s
ORDER BY locks.pid
