-- name: status
SELECT state.partition, state.incarnation, state.epoch, state.next_offset,
       state.tail_timestamp, state.updated_at, state.cluster_id, state.topic_id,
       (SELECT count(*) FROM {schema}.dead_letter AS letter
        WHERE letter.stream = state.stream AND letter.topic = state.topic
          AND letter.partition = state.partition) AS dead_letters,
       (SELECT coalesce(sum(end_offset - start_offset), 0)::bigint FROM {schema}.gap AS gap
        WHERE gap.stream = state.stream AND gap.topic = state.topic
          AND gap.partition = state.partition AND gap.acknowledged_at IS NULL) AS open_gap_offsets
FROM {schema}.state AS state
WHERE state.stream = %(stream)s AND state.topic = %(topic)s
ORDER BY state.partition

-- name: last_batches
SELECT batch_id::text, min(committed_at) AS committed_at, max(run_id) AS run_id,
       count(*) AS partitions, sum(rows)::bigint AS rows, sum(dead)::bigint AS dead,
       sum(absent)::bigint AS absent, sum(record_bytes)::bigint AS record_bytes
FROM {schema}.ledger
WHERE stream = %(stream)s AND topic = %(topic)s
GROUP BY batch_id
ORDER BY min(committed_at) DESC
LIMIT %(most)s

-- name: seconds_since_commit
SELECT extract(epoch FROM clock_timestamp() - max(committed_at))::double precision
FROM {schema}.ledger
WHERE stream = %(stream)s AND run_id = %(run_id)s
