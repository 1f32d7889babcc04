-- name: lock_all
SELECT partition, incarnation, epoch, next_offset
FROM {schema}.state
WHERE stream = %(stream)s AND topic = %(topic)s
ORDER BY topic, partition
FOR UPDATE

-- name: move
WITH target AS (
    SELECT *
    FROM unnest(%(partitions)s::integer[], %(next_offsets)s::bigint[])
        AS target (partition, next_offset)
),
moved AS (
    UPDATE {schema}.state AS state
    SET next_offset = target.next_offset,
        epoch = state.epoch + 1,
        tail_offset = NULL,
        tail_timestamp = NULL,
        tail_digest = NULL,
        updated_at = clock_timestamp()
    FROM target
    WHERE state.stream = %(stream)s AND state.topic = %(topic)s
      AND state.partition = target.partition
    RETURNING state.*
)
INSERT INTO {schema}.epoch
    (stream, topic, partition, incarnation, epoch, start_offset, cluster_id, topic_id, reason)
SELECT stream, topic, partition, incarnation, epoch, next_offset, cluster_id, topic_id, %(reason)s
FROM moved

-- name: lock_windows
SELECT FROM {schema}.state
WHERE starts_with(stream, %(stream)s || '@') AND topic = %(topic)s
ORDER BY stream, topic, partition
FOR UPDATE

-- name: raise_epochs
-- Every position stays where it is, its fingerprint too, those of the stream's windows as well;
-- whoever planned before is fenced.
WITH raised AS (
    UPDATE {schema}.state
    SET epoch = epoch + 1, updated_at = clock_timestamp()
    WHERE (stream = %(stream)s OR starts_with(stream, %(stream)s || '@')) AND topic = %(topic)s
    RETURNING *
)
INSERT INTO {schema}.epoch
    (stream, topic, partition, incarnation, epoch, start_offset, cluster_id, topic_id, reason)
SELECT stream, topic, partition, incarnation, epoch, next_offset, cluster_id, topic_id, %(reason)s
FROM raised

-- name: fence_windows
-- As raise_epochs, for the windows alone.
WITH raised AS (
    UPDATE {schema}.state
    SET epoch = epoch + 1, updated_at = clock_timestamp()
    WHERE starts_with(stream, %(stream)s || '@') AND topic = %(topic)s
    RETURNING *
)
INSERT INTO {schema}.epoch
    (stream, topic, partition, incarnation, epoch, start_offset, cluster_id, topic_id, reason)
SELECT stream, topic, partition, incarnation, epoch, next_offset, cluster_id, topic_id, %(reason)s
FROM raised

-- name: highest_incarnation
-- Of the windows, which a stream may have that was never loaded itself.
SELECT coalesce(max(incarnation), 0) FROM {schema}.backfill
WHERE stream = %(stream)s AND topic = %(topic)s

-- name: pause
INSERT INTO {schema}.pause (stream, reason) VALUES (%(stream)s, %(why)s)

-- name: resume
DELETE FROM {schema}.pause WHERE stream = %(stream)s

-- name: forget
DELETE FROM {schema}.state WHERE stream = %(stream)s AND topic = %(topic)s

-- name: start_incarnation
WITH started AS (
    INSERT INTO {schema}.state
        (stream, topic, partition, cluster_id, topic_id, incarnation, epoch, next_offset)
    SELECT %(stream)s, %(topic)s, new.partition, %(cluster_id)s, %(topic_id)s,
           %(incarnation)s, %(epoch)s, new.start_offset
    FROM unnest(%(partitions)s::integer[], %(start_offsets)s::bigint[])
        AS new (partition, start_offset)
    RETURNING *
)
INSERT INTO {schema}.epoch
    (stream, topic, partition, incarnation, epoch, start_offset, cluster_id, topic_id, reason)
SELECT stream, topic, partition, incarnation, epoch, next_offset, cluster_id, topic_id, %(reason)s
FROM started

-- name: insert_gap
INSERT INTO {schema}.gap
    (stream, topic, partition, incarnation, epoch, start_offset, end_offset, reason,
     acknowledged_at)
VALUES (%(stream)s, %(topic)s, %(partition)s, %(incarnation)s, %(epoch)s, %(start_offset)s,
        %(end_offset)s, %(reason)s, clock_timestamp())

-- name: acknowledge_gaps
UPDATE {schema}.gap SET acknowledged_at = clock_timestamp()
WHERE stream = %(stream)s AND topic = %(topic)s AND acknowledged_at IS NULL

-- name: delete_dead_letters
DELETE FROM {schema}.dead_letter
WHERE stream = %(stream)s AND topic = %(topic)s AND partition = %(partition)s
  AND incarnation = %(incarnation)s AND record_offset >= %(start_offset)s
  AND record_offset < %(end_offset)s
