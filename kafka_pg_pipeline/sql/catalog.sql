-- name: find_table
SELECT class.oid::bigint AS oid, class.relkind::text AS relkind,
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
               SELECT FROM pg_trigger WHERE tgrelid = class.oid AND NOT tgisinternal) AS plain
FROM pg_class AS class
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE namespace.nspname = %(schema_name)s AND class.relname = %(table_name)s

-- name: fetch_columns
WITH RECURSIVE base AS (
    SELECT attribute.attnum, type.oid, type.typtype, type.typbasetype, type.typcategory,
           type.typname, type.typnotnull, attribute.atttypmod AS typmod
    FROM pg_attribute AS attribute
    JOIN pg_type AS type ON type.oid = attribute.atttypid
    WHERE attribute.attrelid = %(oid)s AND attribute.attnum > 0 AND NOT attribute.attisdropped
    UNION ALL
    SELECT base.attnum, type.oid, type.typtype, type.typbasetype, type.typcategory,
           type.typname, base.typnotnull OR type.typnotnull, base.typmod
    FROM base
    JOIN pg_type AS type ON type.oid = base.typbasetype
    WHERE base.typtype = 'd'
)
SELECT attribute.attname AS name,
       format_type(attribute.atttypid, attribute.atttypmod) AS type_name,
       base.typname AS base_type,
       base.typcategory::text AS category,
       attribute.attnotnull OR base.typnotnull AS not_null,
       attribute.atthasdef OR attribute.attidentity = 'd' AS has_default
FROM pg_attribute AS attribute
JOIN base ON base.attnum = attribute.attnum AND base.typtype <> 'd'
WHERE attribute.attrelid = %(oid)s
  AND attribute.attnum > 0
  AND NOT attribute.attisdropped
  AND attribute.attgenerated = ''
  AND attribute.attidentity <> 'a'
ORDER BY attribute.attnum

-- name: constraint_columns
SELECT array_agg(attribute.attname::text ORDER BY attribute.attname)
FROM pg_index AS index
JOIN pg_class AS class ON class.oid = index.indexrelid
JOIN pg_attribute AS attribute
    ON attribute.attrelid = index.indrelid AND attribute.attnum = ANY (index.indkey)
WHERE index.indrelid = %(oid)s AND class.relname = %(constraint_name)s
