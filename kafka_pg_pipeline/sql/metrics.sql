-- name: ledger_since
-- What each epoch's part of the ledger holds from the offsets that are known already: new lines
-- alone are read. A purge merges lines, and changes no sum.
SELECT epoch.stream, epoch.topic, epoch.partition, epoch.incarnation, epoch.epoch, line.*
FROM {schema}.epoch AS epoch
LEFT JOIN unnest(
    %(streams)s::text[], %(topics)s::text[], %(partitions)s::integer[],
    %(incarnations)s::integer[], %(epochs)s::integer[], %(next_offsets)s::bigint[]
) AS seen (stream, topic, partition, incarnation, epoch, next_offset)
    USING (stream, topic, partition, incarnation, epoch)
CROSS JOIN LATERAL (
    SELECT max(next_offset) AS next_offset, sum(rows)::bigint AS rows, sum(dead)::bigint AS dead,
           sum(record_bytes)::bigint AS record_bytes,
           extract(epoch FROM max(committed_at))::double precision AS last_commit
    FROM {schema}.ledger AS line
    WHERE line.stream = epoch.stream AND line.topic = epoch.topic
      AND line.partition = epoch.partition
      AND line.incarnation = epoch.incarnation AND line.epoch = epoch.epoch
      AND line.start_offset >= coalesce(seen.next_offset, 0)
) AS line
WHERE epoch.stream = ANY (%(names)s) AND line.next_offset IS NOT NULL

-- name: unresolved
-- Those of a stream's windows are the stream's.
SELECT split_part(stream, '@', 1) AS stream, count(*) AS letters FROM {schema}.dead_letter
WHERE split_part(stream, '@', 1) = ANY (%(names)s) AND resolved_at IS NULL
GROUP BY 1

-- name: paused
SELECT stream FROM {schema}.pause WHERE stream = ANY (%(names)s)

-- name: failures
SELECT stream, failures FROM {schema}.failure WHERE stream = ANY (%(names)s)
