-- name: matching
-- The letters that a filter means, ahead of the queries that say what to do with them.
WITH letter AS (
    SELECT *,
           coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0)
               + (SELECT coalesce(sum(octet_length(item)), 0)
                  FROM unnest(header_keys || header_values) AS item) AS record_bytes
    FROM {schema}.dead_letter
    WHERE stream = %(stream)s AND topic = %(topic)s
      AND (%(resolved)s::boolean IS NULL OR (resolved_at IS NOT NULL) = %(resolved)s)
      AND (%(ids)s::bigint[] IS NULL OR id = ANY (%(ids)s))
      AND (%(reason)s::text IS NULL OR reason = %(reason)s)
      AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
      AND (%(partition)s::integer IS NULL OR partition = %(partition)s)
      AND (%(offset)s::bigint IS NULL OR record_offset = %(offset)s)
      AND (%(column)s::text IS NULL OR column_name = %(column)s)
)

-- name: list
SELECT id, partition, record_offset AS offset, record_timestamp AS timestamp,
       created_at AS stored_at, stage, reason, column_name AS column, sqlstate, record_bytes,
       resolution, resolved_at, resolved_by, copied_at
FROM letter
ORDER BY id DESC
LIMIT %(most)s

-- name: count_by_reason
SELECT reason, count(*) FROM letter GROUP BY reason ORDER BY count(*) DESC, reason

-- name: find_last
-- The last of the first so many: a replay takes what was there when it began.
SELECT max(id) FROM (SELECT id FROM letter ORDER BY id LIMIT %(most)s) AS first

-- name: choose
-- The next chunk: one letter at least, however large it is, and letters of one incarnation.
SELECT id
FROM (
    SELECT id, incarnation, first_value(incarnation) OVER (ORDER BY id) AS first_incarnation,
           sum(record_bytes) OVER (ORDER BY id) - record_bytes AS bytes_before
    FROM (
        SELECT id, incarnation, record_bytes FROM letter
        WHERE id > %(after_id)s AND id <= %(last_id)s
        ORDER BY id
        LIMIT %(max_rows)s
    ) AS next
) AS running
WHERE bytes_before < %(max_bytes)s AND incarnation = first_incarnation
ORDER BY id

-- name: has_deletes_since
-- A delete that found no row counts too: the row may be the one that the letter did not become.
SELECT EXISTS (
    SELECT FROM letter
    JOIN {schema}.ledger AS ledger
        ON ledger.stream = letter.stream AND ledger.topic = letter.topic
       AND ledger.partition = letter.partition AND ledger.incarnation = letter.incarnation
       AND ledger.next_offset > letter.record_offset
    WHERE letter.id <= %(last_id)s AND ledger.deleted + ledger.ignored > 0)

-- name: choose_uncopied
SELECT id
FROM (
    SELECT id, sum(record_bytes) OVER (ORDER BY id) - record_bytes AS bytes_before
    FROM (
        SELECT id, record_bytes FROM letter
        WHERE copied_at IS NULL AND id > %(after_id)s
        ORDER BY id
        LIMIT %(max_rows)s
    ) AS next
) AS running
WHERE bytes_before < %(max_bytes)s
ORDER BY id

-- name: mark_copied
UPDATE {schema}.dead_letter SET copied_at = clock_timestamp() WHERE id = ANY (%(ids)s)

-- name: lock_stream
-- Shared: replays go on beside each other and beside loads, but not while positions are moved by
-- hand, which reads records of letters anew.
SELECT pg_advisory_xact_lock_shared(
    hashtextextended(format('kafka_pg stream %%s %%s', %(stream)s::text, %(topic)s::text), 0))

-- name: lock_records
SELECT id AS letter_id, partition, incarnation, record_offset AS offset, record_timestamp AS timestamp,
       timestamp_type, key, value, header_keys, header_values
FROM {schema}.dead_letter
WHERE id = ANY (%(ids)s) AND resolved_at IS NULL
ORDER BY id
FOR UPDATE

-- name: lock_replayed
-- Whoever gets these locks knows that the replay's transaction has ended.
SELECT resolved_by FROM {schema}.dead_letter
WHERE id = ANY (%(ids)s)
ORDER BY id
FOR UPDATE

-- name: mark_replayed
UPDATE {schema}.dead_letter
SET resolved_at = clock_timestamp(), resolution = 'replayed', resolved_by = %(run_id)s
WHERE id = ANY (%(ids)s) AND resolved_at IS NULL

-- name: mark_rejected
UPDATE {schema}.dead_letter AS letter
SET stage = verdict.stage, reason = verdict.reason, column_name = verdict.column_name,
    sqlstate = verdict.sqlstate
FROM unnest(%(ids)s::bigint[], %(stages)s::text[], %(reasons)s::text[], %(columns)s::text[],
            %(sqlstates)s::text[])
    AS verdict (id, stage, reason, column_name, sqlstate)
WHERE letter.id = verdict.id AND letter.resolved_at IS NULL

-- name: discard
UPDATE {schema}.dead_letter
SET resolved_at = clock_timestamp(), resolution = 'discarded', resolved_by = %(run_id)s
WHERE id IN (SELECT id FROM letter) AND resolved_at IS NULL
RETURNING reason

-- name: open
SELECT id, partition, record_offset AS offset, record_timestamp AS timestamp,
       created_at AS stored_at, stage, reason, column_name AS column, sqlstate, record_bytes,
       resolution, resolved_at, resolved_by, copied_at,
       incarnation, timestamp_type, key, value, header_keys, header_values
FROM letter
ORDER BY id
