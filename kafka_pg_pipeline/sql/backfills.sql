-- name: incarnation
-- The topic's, as the stream has it, or the windows of one that was never loaded.
SELECT coalesce(
    (SELECT max(incarnation) FROM {schema}.state WHERE stream = %(stream)s AND topic = %(topic)s),
    (SELECT max(incarnation) FROM {schema}.backfill
     WHERE stream = %(stream)s AND topic = %(topic)s),
    1)

-- name: overlapping
SELECT name FROM {schema}.backfill
WHERE stream = %(stream)s AND topic = %(topic)s AND incarnation = %(incarnation)s
  AND table_name = %(table)s AND name <> %(name)s
  AND window_start < %(window_end)s AND window_end > %(window_start)s
ORDER BY window_start
LIMIT 1

-- name: register
INSERT INTO {schema}.backfill
    (name, stream, topic, incarnation, table_name, window_start, window_end)
VALUES (%(name)s, %(stream)s, %(topic)s, %(incarnation)s, %(table)s, %(window_start)s,
        %(window_end)s)
ON CONFLICT (name) DO NOTHING

-- name: table_of
SELECT table_name FROM {schema}.backfill WHERE name = %(name)s

-- name: complete
UPDATE {schema}.backfill SET completed_at = clock_timestamp() WHERE name = %(name)s

-- name: spans
-- What each epoch of the live position covered, in the order of the epochs.
SELECT epoch.partition, epoch.start_offset,
       coalesce(
           (SELECT max(next_offset) FROM {schema}.ledger AS line
            WHERE line.stream = epoch.stream AND line.topic = epoch.topic
              AND line.partition = epoch.partition
              AND line.incarnation = epoch.incarnation AND line.epoch = epoch.epoch),
           epoch.start_offset) AS end_offset
FROM {schema}.epoch AS epoch
WHERE stream = %(stream)s AND topic = %(topic)s AND incarnation = %(incarnation)s
ORDER BY partition, epoch

-- name: gaps
SELECT partition, start_offset, end_offset FROM {schema}.gap
WHERE stream = %(stream)s AND topic = %(topic)s AND incarnation = %(incarnation)s

-- name: identities
SELECT DISTINCT cluster_id, topic_id FROM {schema}.state
WHERE starts_with(stream, %(stream)s || '@') AND topic = %(topic)s
  AND incarnation = (SELECT max(incarnation) FROM {schema}.backfill
                     WHERE stream = %(stream)s AND topic = %(topic)s)

-- name: partitions
SELECT DISTINCT partition FROM {schema}.state
WHERE starts_with(stream, %(stream)s || '@') AND topic = %(topic)s
ORDER BY partition

-- name: has_deleted
-- Whether a record of the stream, or of one of its windows, has ever deleted a row.
SELECT EXISTS (
    SELECT FROM {schema}.ledger
    WHERE (stream = %(stream)s OR starts_with(stream, %(stream)s || '@'))
      AND topic = %(topic)s AND deleted > 0)

-- name: windows
SELECT name, table_name AS "table", window_start AS start, window_end AS "end", created_at,
       completed_at,
       (SELECT coalesce(sum(rows), 0)::bigint FROM {schema}.ledger AS line
        WHERE line.stream = backfill.name AND line.topic = backfill.topic) AS rows,
       (SELECT count(*) FROM {schema}.dead_letter AS letter
        WHERE letter.stream = backfill.name AND letter.topic = backfill.topic
          AND letter.resolved_at IS NULL) AS dead_letters,
       (SELECT coalesce(sum(end_offset - start_offset), 0)::bigint FROM {schema}.gap AS gap
        WHERE gap.stream = backfill.name AND gap.topic = backfill.topic) AS lost_offsets
FROM {schema}.backfill AS backfill
WHERE stream = %(stream)s AND topic = %(topic)s
ORDER BY table_name, window_start, incarnation

-- name: lower
-- A move back of the live position takes what lies behind it from the windows of its table.
WITH target AS (
    SELECT * FROM unnest(%(partitions)s::integer[], %(next_offsets)s::bigint[])
        AS target (partition, next_offset)
),
lowered AS (
    UPDATE {schema}.state AS state
    SET next_offset = least(state.next_offset, target.next_offset),
        epoch = state.epoch + 1,
        tail_offset = NULL,
        tail_timestamp = NULL,
        tail_digest = NULL,
        updated_at = clock_timestamp()
    FROM target, {schema}.backfill AS backfill
    WHERE backfill.stream = %(stream)s AND backfill.topic = %(topic)s
      AND backfill.table_name = %(table)s
      AND state.stream = backfill.name AND state.topic = backfill.topic
      AND state.incarnation = backfill.incarnation
      AND state.partition = target.partition
    RETURNING state.*, target.next_offset AS taken_from
),
noted AS (
    INSERT INTO {schema}.epoch
        (stream, topic, partition, incarnation, epoch, start_offset, cluster_id, topic_id, reason)
    SELECT stream, topic, partition, incarnation, epoch, next_offset, cluster_id, topic_id, 'reset'
    FROM lowered
)
DELETE FROM {schema}.dead_letter AS letter
USING lowered
WHERE letter.stream = lowered.stream AND letter.topic = lowered.topic
  AND letter.partition = lowered.partition AND letter.incarnation = lowered.incarnation
  AND letter.record_offset >= lowered.taken_from

-- name: lock_window
SELECT FROM {schema}.state
WHERE stream = %(name)s AND topic = %(topic)s
ORDER BY topic, partition
FOR UPDATE

-- name: forget
-- All books of a window; whoever loads it finds no position of its own any more, and is fenced.
WITH positions AS (
    DELETE FROM {schema}.state WHERE stream = %(name)s AND topic = %(topic)s
),
epochs AS (
    DELETE FROM {schema}.epoch WHERE stream = %(name)s AND topic = %(topic)s
),
lines AS (
    DELETE FROM {schema}.ledger WHERE stream = %(name)s AND topic = %(topic)s
),
letters AS (
    DELETE FROM {schema}.dead_letter WHERE stream = %(name)s AND topic = %(topic)s
),
gaps AS (
    DELETE FROM {schema}.gap WHERE stream = %(name)s AND topic = %(topic)s
)
DELETE FROM {schema}.backfill WHERE name = %(name)s
