-- name: tiling
-- Ledger intervals that do not begin where the one before ended, or where their epoch began.
WITH tiles AS (
    SELECT ledger.*,
           coalesce(
               lag(ledger.next_offset) OVER (
                   PARTITION BY ledger.partition, ledger.incarnation, ledger.epoch
                   ORDER BY ledger.start_offset),
               epoch.start_offset) AS expected
    FROM {schema}.ledger AS ledger
    LEFT JOIN {schema}.epoch AS epoch
        USING (stream, topic, partition, incarnation, epoch)
    WHERE ledger.stream = %(stream)s AND ledger.topic = %(topic)s
)
SELECT partition, start_offset AS at,
       format('incarnation %%s epoch %%s: interval begins at %%s, expected %%s',
              incarnation, epoch, start_offset, expected) AS finding
FROM tiles
WHERE start_offset IS DISTINCT FROM expected
ORDER BY partition, start_offset

-- name: end_of_ledger
-- Partitions whose position is not where the ledger of the present epoch ends.
SELECT state.partition, state.next_offset AS at,
       format('position is %%s, the ledger ends at %%s',
              state.next_offset, coalesce(max(ledger.next_offset), max(epoch.start_offset)))
           AS finding
FROM {schema}.state AS state
LEFT JOIN {schema}.ledger AS ledger USING (stream, topic, partition, incarnation, epoch)
LEFT JOIN {schema}.epoch AS epoch USING (stream, topic, partition, incarnation, epoch)
WHERE state.stream = %(stream)s AND state.topic = %(topic)s
GROUP BY state.partition, state.next_offset
HAVING state.next_offset
    IS DISTINCT FROM coalesce(max(ledger.next_offset), max(epoch.start_offset))
ORDER BY state.partition

-- name: equation
-- Ledger lines whose counts are not their length (the table's own constraint says so too).
SELECT partition, start_offset AS at, 'counts do not add up to the interval' AS finding
FROM {schema}.ledger
WHERE stream = %(stream)s AND topic = %(topic)s
  AND next_offset - start_offset
      <> rows + superseded + ignored + deleted + dead + filtered + absent

-- name: dead_letters
-- Ledger intervals that count more or fewer dead letters than there are, or were until their time.
SELECT ledger.partition, ledger.start_offset AS at,
       format('the ledger counts %%s dead letters, %%s are stored and %%s were purged',
              ledger.dead, letters.stored, ledger.purged_dead) AS finding
FROM {schema}.ledger AS ledger
JOIN {schema}.state AS state USING (stream, topic, partition, incarnation, epoch)
CROSS JOIN LATERAL (
    SELECT count(*) AS stored FROM {schema}.dead_letter AS letter
    WHERE letter.stream = ledger.stream AND letter.topic = ledger.topic
      AND letter.partition = ledger.partition
      AND letter.incarnation = ledger.incarnation AND letter.epoch = ledger.epoch
      AND letter.record_offset >= ledger.start_offset
      AND letter.record_offset < ledger.next_offset
) AS letters
WHERE stream = %(stream)s AND topic = %(topic)s
  AND ledger.dead <> letters.stored + ledger.purged_dead
ORDER BY ledger.partition, ledger.start_offset

-- name: gaps
-- Gaps larger than what their interval counts as absent.
SELECT ledger.partition, ledger.start_offset AS at,
       format('a gap of %%s offsets is counted as %%s absent',
              sum(gap.end_offset - gap.start_offset), ledger.absent) AS finding
FROM {schema}.gap AS gap
JOIN {schema}.ledger AS ledger
    ON ledger.stream = gap.stream AND ledger.topic = gap.topic
   AND ledger.partition = gap.partition
   AND ledger.incarnation = gap.incarnation AND ledger.epoch = gap.epoch
   AND gap.start_offset >= ledger.start_offset AND gap.start_offset < ledger.next_offset
WHERE gap.stream = %(stream)s AND gap.topic = %(topic)s AND gap.batch_id IS NOT NULL
GROUP BY ledger.partition, ledger.incarnation, ledger.epoch, ledger.start_offset, ledger.absent
HAVING sum(gap.end_offset - gap.start_offset) > ledger.absent
