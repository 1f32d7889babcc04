-- name: fetch_positions
SELECT stream, topic, partition, cluster_id, topic_id, incarnation, epoch, next_offset,
       tail_offset, tail_timestamp, tail_digest
FROM {schema}.state
WHERE stream = ANY(%(streams)s)
ORDER BY stream, topic, partition

-- name: fetch_pauses
SELECT stream, reason, paused_by AS "by", paused_at AS since FROM {schema}.pause
WHERE stream = ANY(%(streams)s)
