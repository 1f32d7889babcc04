-- name: twice
-- Offsets that are both a row and a dead letter, unless it was replayed; the offset columns of the
-- table are named here, and may be text or any type of number.
SELECT letter.partition, letter.record_offset AS at, 'the offset is a row and a dead letter' AS finding
FROM {schema}.dead_letter AS letter
JOIN {target} AS target
    ON target.{partition}::integer = letter.partition
   AND target.{offset}::bigint = letter.record_offset
JOIN {schema}.state AS state
    ON state.stream = letter.stream AND state.topic = letter.topic
   AND state.partition = letter.partition AND state.incarnation = letter.incarnation
WHERE letter.stream = %(stream)s AND letter.topic = %(topic)s AND state.incarnation = 1
  AND letter.resolution IS DISTINCT FROM 'replayed'
  -- Where rows have a key, a window may have made a row of what was rejected before.
  AND NOT (%(has_keys)s AND EXISTS (
      SELECT FROM {schema}.backfill JOIN {schema}.state AS covered ON covered.stream = backfill.name
      WHERE backfill.stream = letter.stream AND backfill.topic = letter.topic
        AND covered.topic = letter.topic AND covered.partition = letter.partition
        AND covered.next_offset > letter.record_offset))

-- name: replayed
-- Replayed dead letters of which there is no row, since the last move of the position.
SELECT letter.partition, letter.record_offset AS at,
       format('dead letter %%s was replayed and is not in the table', letter.id) AS finding
FROM {schema}.dead_letter AS letter
JOIN {schema}.state AS state USING (stream, topic, partition, incarnation)
CROSS JOIN LATERAL (
    SELECT start_offset FROM {schema}.epoch AS moved
    WHERE moved.stream = state.stream AND moved.topic = state.topic
      AND moved.partition = state.partition AND moved.incarnation = state.incarnation
      AND moved.reason NOT IN ('pause', 'resume')
    ORDER BY moved.epoch DESC LIMIT 1) AS epoch
WHERE letter.stream = %(stream)s AND letter.topic = %(topic)s AND letter.incarnation = 1
  AND letter.resolution = 'replayed' AND letter.record_offset >= epoch.start_offset
  AND NOT EXISTS (
      SELECT FROM {target} AS target
      WHERE target.{partition}::integer = letter.partition
        AND target.{offset}::bigint = letter.record_offset)
ORDER BY letter.partition, letter.record_offset
LIMIT 100

-- name: duplicates
-- Offsets that occur twice in the table, as far as one incarnation goes.
SELECT target.{partition}::integer AS partition, target.{offset}::bigint AS at,
       format('the offset occurs %%s times in the table', count(*)) AS finding
FROM {target} AS target
JOIN {schema}.state AS state
    ON state.partition = target.{partition}::integer
WHERE state.stream = %(stream)s AND state.topic = %(topic)s AND state.incarnation = 1
GROUP BY 1, 2
HAVING count(*) > 1
ORDER BY 1, 2
LIMIT 100

-- name: row_counts
-- Partitions whose table holds another number of rows than the ledger counts since the last move of
-- the position, replayed dead letters on top. A pause raises the epoch and moves nothing.
WITH begun AS (
    SELECT DISTINCT ON (partition) partition, epoch, start_offset
    FROM {schema}.epoch
    WHERE stream = %(stream)s AND topic = %(topic)s AND incarnation = 1
      AND reason NOT IN ('pause', 'resume')
    ORDER BY partition, epoch DESC
),
counted AS (
    SELECT state.partition, epoch.start_offset, state.next_offset,
           coalesce(sum(ledger.rows), 0)::bigint AS rows,
           (SELECT count(*) FROM {schema}.dead_letter AS letter
            WHERE letter.stream = %(stream)s AND letter.topic = %(topic)s
              AND letter.partition = state.partition AND letter.incarnation = 1
              AND letter.record_offset >= epoch.start_offset
              AND letter.resolution = 'replayed')
               + coalesce(sum(ledger.purged_replayed), 0)::bigint AS replayed
    FROM {schema}.state AS state
    JOIN begun AS epoch ON epoch.partition = state.partition
    LEFT JOIN {schema}.ledger AS ledger
        ON ledger.stream = state.stream AND ledger.topic = state.topic
       AND ledger.partition = state.partition AND ledger.incarnation = state.incarnation
       AND ledger.epoch >= epoch.epoch
    WHERE state.stream = %(stream)s AND state.topic = %(topic)s AND state.incarnation = 1
    GROUP BY state.partition, epoch.start_offset, state.next_offset
),
present AS (
    SELECT counted.partition, count(*) AS rows
    FROM counted
    JOIN {target} AS target
        ON target.{partition}::integer = counted.partition
       AND target.{offset}::bigint >= counted.start_offset
    GROUP BY counted.partition
)
SELECT counted.partition, counted.next_offset AS at,
       format('the ledger counts %%s rows and %%s replayed, the table holds %%s',
              counted.rows, counted.replayed, coalesce(present.rows, 0)) AS finding
FROM counted
LEFT JOIN present USING (partition)
WHERE counted.rows + counted.replayed <> coalesce(present.rows, 0)
ORDER BY counted.partition
