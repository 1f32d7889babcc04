-- name: status
SELECT state.partition, state.incarnation, state.epoch, state.next_offset,
       state.tail_timestamp, state.updated_at, state.cluster_id, state.topic_id,
       (SELECT count(*) FROM {schema}.dead_letter AS letter
        WHERE letter.stream = state.stream AND letter.topic = state.topic
          AND letter.partition = state.partition
          AND resolved_at IS NULL) AS dead_letters,
       (SELECT coalesce(sum(end_offset - start_offset), 0)::bigint FROM {schema}.gap AS gap
        WHERE gap.stream = state.stream AND gap.topic = state.topic
          AND gap.partition = state.partition AND gap.acknowledged_at IS NULL) AS open_gap_offsets
FROM {schema}.state AS state
-- What only looks does not migrate: before 0002 a letter has no such column, and this one is meant.
CROSS JOIN (SELECT NULL::timestamptz AS resolved_at) AS before_0002
WHERE state.stream = %(stream)s AND state.topic = %(topic)s
ORDER BY state.partition

-- name: last_batches
-- Lines that a purge has made of many are no batches; each partition's newest line is none of them.
SELECT batch_id::text, min(committed_at) AS committed_at, max(run_id) AS run_id,
       count(*) AS partitions, sum(rows)::bigint AS rows, sum(dead)::bigint AS dead,
       sum(absent)::bigint AS absent, sum(record_bytes)::bigint AS record_bytes
FROM {schema}.ledger
WHERE stream = %(stream)s AND topic = %(topic)s AND run_id <> 'compacted'
GROUP BY batch_id
ORDER BY min(committed_at) DESC
LIMIT %(most)s

-- name: seconds_since_commit
-- Older lines are not looked at: the question is whether a run is alive.
SELECT extract(epoch FROM clock_timestamp() - max(committed_at))::double precision
FROM {schema}.ledger
WHERE stream = %(stream)s AND run_id = %(run_id)s
  AND committed_at > clock_timestamp() - interval '1 hour'

-- name: run_totals
SELECT partition, min(start_offset) AS start_offset, max(next_offset) AS next_offset,
       sum(rows)::bigint AS rows, sum(superseded)::bigint AS superseded,
       sum(ignored)::bigint AS ignored, sum(deleted)::bigint AS deleted,
       sum(dead)::bigint AS dead, sum(filtered)::bigint AS filtered,
       sum(absent)::bigint AS absent, sum(record_bytes)::bigint AS record_bytes
FROM {schema}.ledger
WHERE stream = %(stream)s AND topic = %(topic)s AND run_id = %(run_id)s
GROUP BY partition
ORDER BY partition

-- name: run_batches
SELECT count(DISTINCT batch_id) FROM {schema}.ledger
WHERE stream = %(stream)s AND topic = %(topic)s AND run_id = %(run_id)s
