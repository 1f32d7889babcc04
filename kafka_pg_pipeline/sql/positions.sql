-- name: fetch_positions
SELECT partition, cluster_id, topic_id, incarnation, epoch, next_offset,
       tail_offset, tail_timestamp, tail_digest
FROM {schema}.state
WHERE stream = %(stream)s AND topic = %(topic)s
ORDER BY partition

-- name: fetch_pause
-- A stream's pause is that of its windows too.
SELECT reason, paused_by AS "by", paused_at AS since FROM {schema}.pause
WHERE stream = split_part(%(stream)s, '@', 1)

-- name: fetch_standing
-- The pause and the positions, each if there is any.
SELECT reason, paused_by AS "by", paused_at AS since,
       partition, cluster_id, topic_id, incarnation, epoch, next_offset,
       tail_offset, tail_timestamp, tail_digest
FROM (SELECT) AS always
LEFT JOIN {schema}.pause AS pause ON pause.stream = split_part(%(stream)s, '@', 1)
LEFT JOIN {schema}.state AS state ON state.stream = %(stream)s AND state.topic = %(topic)s
ORDER BY partition

-- name: lock_stream
-- Held by whoever adds positions or moves them by hand, until the transaction ends.
SELECT pg_advisory_xact_lock(
    hashtextextended(format('kafka_pg stream %%s %%s', %(stream)s::text, %(topic)s::text), 0))

-- name: check_in
WITH arrived AS (
    INSERT INTO {schema}.state
        (stream, topic, partition, cluster_id, topic_id, incarnation, epoch, next_offset)
    SELECT %(stream)s, %(topic)s, new.partition, %(cluster_id)s, %(topic_id)s,
           %(incarnation)s, %(epoch)s, new.start_offset
    FROM unnest(%(partitions)s::integer[], %(start_offsets)s::bigint[])
        AS new (partition, start_offset)
    ORDER BY new.partition
    ON CONFLICT DO NOTHING
    RETURNING stream, topic, partition, incarnation, epoch, next_offset, cluster_id, topic_id
)
INSERT INTO {schema}.epoch
    (stream, topic, partition, incarnation, epoch, start_offset, cluster_id, topic_id, reason)
SELECT stream, topic, partition, incarnation, epoch, next_offset, cluster_id, topic_id, 'check-in'
FROM arrived

-- name: note_target
-- Positions that knew of no table yet, and those that knew of another.
WITH first AS (
    UPDATE {schema}.state SET target_oid = %(target_oid)s
    WHERE stream = %(stream)s AND topic = %(topic)s AND target_oid IS NULL
    RETURNING partition
), changed AS (
    UPDATE {schema}.state SET target_oid = %(target_oid)s
    WHERE stream = %(stream)s AND topic = %(topic)s AND target_oid <> %(target_oid)s
    RETURNING partition
)
SELECT (SELECT count(*) FROM first) AS first, (SELECT count(*) FROM changed) AS changed

-- name: lock_positions
SELECT FROM {schema}.state
WHERE stream = %(stream)s AND topic = %(topic)s AND partition = ANY (%(partitions)s)
ORDER BY topic, partition
FOR UPDATE

-- name: lock_budget
-- Held by a batch with dead letters whose run is loaded by several processes.
SELECT pg_advisory_xact_lock(
    hashtextextended(format('kafka_pg budget %%s %%s', %(stream)s::text, %(topic)s::text), 0))

-- name: runs_rejected
SELECT coalesce(sum(dead), 0)::bigint FROM {schema}.ledger
WHERE stream = %(stream)s AND topic = %(topic)s AND run_id = ANY (%(run_ids)s)

-- name: read_expected_positions
SELECT partition, next_offset, epoch, topic_id
FROM {schema}.state
WHERE stream = %(stream)s AND topic = %(topic)s AND partition = ANY (%(partitions)s)
ORDER BY topic, partition

-- name: claim
-- Each position moves to where the batch ends. One that is not where the batch begins would become
-- NULL, which its column refuses, and with it all that was sent along or follows.
UPDATE {schema}.state AS state
SET next_offset = CASE
        WHEN state.next_offset = slice.start_offset
         AND state.epoch = slice.epoch
         AND state.topic_id IS NOT DISTINCT FROM slice.topic_id
        THEN slice.next_offset
    END,
    tail_offset = coalesce(slice.tail_offset, state.tail_offset),
    tail_timestamp = coalesce(slice.tail_timestamp, state.tail_timestamp),
    tail_digest = coalesce(slice.tail_digest, state.tail_digest),
    updated_at = clock_timestamp()
FROM unnest(
    %(partitions)s::integer[], %(start_offsets)s::bigint[], %(next_offsets)s::bigint[],
    %(epochs)s::integer[], %(topic_ids)s::text[],
    %(tail_offsets)s::bigint[], %(tail_timestamps)s::bigint[], %(tail_digests)s::bytea[]
) AS slice (
    partition, start_offset, next_offset, epoch, topic_id,
    tail_offset, tail_timestamp, tail_digest
)
WHERE state.stream = %(stream)s
  AND state.topic = %(topic)s
  AND state.partition = slice.partition

-- name: record
-- An entry ends where its position stands now. Without a position it would have no end, which the
-- column refuses likewise.
INSERT INTO {schema}.ledger
    (stream, topic, partition, incarnation, epoch, start_offset, next_offset,
     rows, superseded, ignored, deleted, dead, filtered, absent,
     record_bytes, batch_id, run_id, loader)
SELECT %(stream)s, %(topic)s, slice.partition, slice.incarnation, slice.epoch, slice.start_offset,
       state.next_offset,
       rows, superseded, ignored, deleted, dead, filtered, absent,
       record_bytes, %(batch_id)s, %(run_id)s, %(loader)s
FROM unnest(
    %(partitions)s::integer[], %(start_offsets)s::bigint[],
    %(incarnations)s::integer[], %(epochs)s::integer[],
    %(rows)s::bigint[], %(superseded)s::bigint[], %(ignored)s::bigint[],
    %(deleted)s::bigint[], %(dead)s::bigint[], %(filtered)s::bigint[], %(absent)s::bigint[],
    %(record_bytes)s::bigint[]
) AS slice (
    partition, start_offset, incarnation, epoch,
    rows, superseded, ignored, deleted, dead, filtered, absent, record_bytes
)
LEFT JOIN {schema}.state AS state
  ON state.stream = %(stream)s
 AND state.topic = %(topic)s
 AND state.partition = slice.partition
 AND state.epoch = slice.epoch

-- name: count_ledger_entries
SELECT count(*) FROM {schema}.ledger WHERE batch_id = %(batch_id)s

-- name: insert_gaps
INSERT INTO {schema}.gap
    (stream, topic, partition, incarnation, epoch, start_offset, end_offset, batch_id, reason)
SELECT %(stream)s, %(topic)s, gap.*, %(batch_id)s, 'retention'
FROM unnest(%(partitions)s::integer[], %(incarnations)s::integer[], %(epochs)s::integer[],
            %(start_offsets)s::bigint[], %(end_offsets)s::bigint[]) AS gap

-- name: create_dead_letter_stage
CREATE TEMPORARY TABLE pg_temp.kafka_pg_dead_letter ON COMMIT DROP AS
SELECT partition, incarnation, epoch, record_offset, record_timestamp, timestamp_type, key, value,
       header_keys, header_values, stage, reason, column_name, sqlstate
FROM {schema}.dead_letter
WITH NO DATA

-- name: insert_dead_letters
INSERT INTO {schema}.dead_letter
    (batch_id, stream, topic, partition, incarnation, epoch, record_offset, record_timestamp,
     timestamp_type, key, value, header_keys, header_values, stage, reason, column_name, sqlstate)
SELECT %(batch_id)s, %(stream)s, %(topic)s, partition, incarnation, epoch, record_offset,
       record_timestamp, timestamp_type, key, value, header_keys, header_values, stage, reason,
       column_name, sqlstate
FROM pg_temp.kafka_pg_dead_letter
ORDER BY partition, record_offset

-- name: other_fillers
-- Other streams, and other topics of this one, whose rows are in the same table. A window is its
-- stream's.
SELECT DISTINCT split_part(stream, '@', 1) AS stream, topic FROM {schema}.state
WHERE target_oid = %(target_oid)s
  AND (split_part(stream, '@', 1), topic) <> (split_part(%(stream)s, '@', 1), %(topic)s)
ORDER BY stream, topic

-- name: insert_audit
INSERT INTO {schema}.audit (stream, action, detail)
VALUES (%(stream)s, %(action)s, %(detail)s)
