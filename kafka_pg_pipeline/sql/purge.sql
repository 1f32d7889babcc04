-- name: lock
-- One purge of a stream at a time: lines are merged, and letters counted in them. Nobody else waits.
SELECT pg_advisory_xact_lock(hashtextextended('kafka_pg purge of ' || %(stream)s, 0))

-- name: streams
-- A stream and its windows, as the tables know them.
SELECT DISTINCT stream FROM {schema}.epoch
WHERE stream = %(name)s OR starts_with(stream, %(name)s || '@')
ORDER BY stream

-- name: epochs
SELECT topic, partition, incarnation, epoch FROM {schema}.epoch
WHERE stream = %(stream)s
ORDER BY topic, partition, incarnation, epoch

-- name: compact
-- Old lines of one epoch that follow each other without a hole become one, with their counts
-- summed. Left as they are: the newest line, which tells of the last batch; and lines with letters
-- that nobody has resolved, since a replay asks what came after such a line.
WITH old AS (
    SELECT line.*
    FROM {schema}.ledger AS line
    WHERE stream = %(stream)s AND topic = %(topic)s AND partition = %(partition)s
      AND incarnation = %(incarnation)s AND epoch = %(epoch)s
      AND start_offset >= %(from_offset)s
      AND committed_at < clock_timestamp() - make_interval(days => %(days)s)
      AND start_offset < (
          SELECT max(newest.start_offset) FROM {schema}.ledger AS newest
          WHERE newest.stream = %(stream)s AND newest.topic = %(topic)s
            AND newest.partition = %(partition)s
            AND newest.incarnation = %(incarnation)s AND newest.epoch = %(epoch)s)
      AND (dead = purged_dead OR NOT EXISTS (
          SELECT FROM {schema}.dead_letter AS letter
          WHERE letter.stream = line.stream AND letter.topic = line.topic
            AND letter.partition = line.partition
            AND letter.incarnation = line.incarnation AND letter.epoch = line.epoch
            AND letter.record_offset >= line.start_offset
            AND letter.record_offset < line.next_offset
            AND letter.resolved_at IS NULL))
    ORDER BY start_offset
    LIMIT %(most)s
    FOR UPDATE OF line
),
marked AS (
    SELECT *, start_offset IS DISTINCT FROM lag(next_offset) OVER (ORDER BY start_offset) AS begins
    FROM old
),
numbered AS (
    SELECT *, count(*) FILTER (WHERE begins) OVER (ORDER BY start_offset) AS run FROM marked
),
merged AS (
    SELECT run, count(*) AS lines, min(start_offset) AS start_offset,
           max(next_offset) AS next_offset, max(committed_at) AS committed_at,
           sum(rows)::bigint AS rows, sum(superseded)::bigint AS superseded,
           sum(ignored)::bigint AS ignored, sum(deleted)::bigint AS deleted,
           sum(dead)::bigint AS dead, sum(filtered)::bigint AS filtered,
           sum(absent)::bigint AS absent, sum(record_bytes)::bigint AS record_bytes,
           sum(purged_dead)::bigint AS purged_dead,
           sum(purged_replayed)::bigint AS purged_replayed
    FROM numbered
    GROUP BY run
),
removed AS (
    DELETE FROM {schema}.ledger AS line
    USING numbered
    WHERE NOT numbered.begins
      AND line.stream = numbered.stream AND line.topic = numbered.topic
      AND line.partition = numbered.partition
      AND line.incarnation = numbered.incarnation AND line.epoch = numbered.epoch
      AND line.start_offset = numbered.start_offset
    RETURNING line.start_offset
),
kept AS (
    UPDATE {schema}.ledger AS line
    SET next_offset = merged.next_offset, rows = merged.rows, superseded = merged.superseded,
        ignored = merged.ignored, deleted = merged.deleted, dead = merged.dead,
        filtered = merged.filtered, absent = merged.absent, record_bytes = merged.record_bytes,
        purged_dead = merged.purged_dead, purged_replayed = merged.purged_replayed,
        committed_at = merged.committed_at, batch_id = gen_random_uuid(), run_id = 'compacted',
        loader = 'kafka-pg purge'
    FROM merged
    WHERE merged.lines > 1
      AND line.stream = %(stream)s AND line.topic = %(topic)s AND line.partition = %(partition)s
      AND line.incarnation = %(incarnation)s AND line.epoch = %(epoch)s
      AND line.start_offset = merged.start_offset
    RETURNING line.start_offset
)
SELECT (SELECT count(*) FROM old) AS looked_at,
       (SELECT count(*) FROM removed) AS removed,
       (SELECT max(start_offset) FROM merged) AS last_run,
       (SELECT max(start_offset) FROM old) AS last_line

-- name: count_letters
SELECT count(*) FROM {schema}.dead_letter
WHERE stream = %(stream)s AND resolved_at < clock_timestamp() - make_interval(days => %(days)s)

-- name: remove_letters
-- Each is counted as purged in the ledger line that counts it as dead.
WITH old AS (
    SELECT id FROM {schema}.dead_letter
    WHERE stream = %(stream)s AND resolved_at < clock_timestamp() - make_interval(days => %(days)s)
    ORDER BY resolved_at, id
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
),
removed AS (
    DELETE FROM {schema}.dead_letter AS letter
    USING old
    WHERE letter.id = old.id
    RETURNING letter.*
),
counted AS (
    SELECT removed.topic, removed.partition, removed.incarnation, removed.epoch, line.start_offset,
           count(*) AS dead, count(*) FILTER (WHERE resolution = 'replayed') AS replayed
    FROM removed
    CROSS JOIN LATERAL (
        SELECT line.start_offset, line.next_offset FROM {schema}.ledger AS line
        WHERE line.stream = removed.stream AND line.topic = removed.topic
          AND line.partition = removed.partition
          AND line.incarnation = removed.incarnation AND line.epoch = removed.epoch
          AND line.start_offset <= removed.record_offset
        ORDER BY line.start_offset DESC
        LIMIT 1
    ) AS line
    WHERE removed.record_offset < line.next_offset
    GROUP BY 1, 2, 3, 4, 5
),
noted AS (
    UPDATE {schema}.ledger AS line
    SET purged_dead = line.purged_dead + counted.dead,
        purged_replayed = line.purged_replayed + counted.replayed
    FROM counted
    WHERE line.stream = %(stream)s AND line.topic = counted.topic
      AND line.partition = counted.partition
      AND line.incarnation = counted.incarnation AND line.epoch = counted.epoch
      AND line.start_offset = counted.start_offset
    RETURNING counted.dead
)
SELECT (SELECT count(*) FROM removed) AS removed,
       (SELECT coalesce(sum(dead), 0)::bigint FROM noted) AS noted
