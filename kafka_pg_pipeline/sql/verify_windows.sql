-- name: window_rows
-- Partitions whose table holds, where the live position has loaded nothing, another number of rows
-- than the windows' ledgers count, replayed dead letters on top. Left out are partitions that a
-- move back took offsets from, of which the ledger says no more which lines are whose.
WITH window_names AS (
    SELECT name FROM {schema}.backfill
    WHERE stream = %(stream)s AND topic = %(topic)s AND table_name = %(table)s
      AND incarnation = 1
),
counted AS (
    SELECT partition, sum(rows)::bigint AS rows, sum(replayed)::bigint AS replayed
    FROM (
        SELECT partition, rows, purged_replayed AS replayed
        FROM {schema}.ledger JOIN window_names ON stream = name
        WHERE topic = %(topic)s AND incarnation = 1
        UNION ALL
        SELECT partition, 0, 1
        FROM {schema}.dead_letter JOIN window_names ON stream = name
        WHERE topic = %(topic)s AND incarnation = 1 AND resolution = 'replayed'
    ) AS line
    GROUP BY partition
),
present AS (
    SELECT piece.partition, count(*) AS rows
    FROM unnest(%(partitions)s::integer[], %(start_offsets)s::bigint[], %(end_offsets)s::bigint[])
        AS piece (partition, start_offset, end_offset)
    JOIN {target} AS target
        ON target.{partition}::integer = piece.partition
       AND target.{offset}::bigint >= piece.start_offset
       AND target.{offset}::bigint < piece.end_offset
    GROUP BY piece.partition
)
SELECT partition, 0 AS at,
       format('the windows count %%s rows and %%s replayed, the table holds %%s',
              coalesce(counted.rows, 0), coalesce(counted.replayed, 0), coalesce(present.rows, 0))
           AS finding
FROM counted
FULL JOIN present USING (partition)
WHERE coalesce(counted.rows + counted.replayed, 0) <> coalesce(present.rows, 0)
  AND NOT EXISTS (
      SELECT FROM {schema}.epoch AS moved JOIN window_names ON moved.stream = name
      WHERE moved.topic = %(topic)s AND moved.partition = coalesce(counted.partition, present.partition)
        AND moved.reason = 'reset')
ORDER BY partition
