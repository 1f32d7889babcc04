-- name: note
INSERT INTO {schema}.failure AS failure (stream, failures, error, message, run_id)
VALUES (%(stream)s, 1, %(error)s, %(message)s, %(run_id)s)
ON CONFLICT (stream) DO UPDATE
-- Lanes of one run that fail are one failure.
SET failures = failure.failures
             + CASE WHEN failure.run_id IS DISTINCT FROM excluded.run_id THEN 1 ELSE 0 END,
    error = excluded.error,
    message = excluded.message,
    run_id = excluded.run_id,
    failed_at = clock_timestamp()

-- name: clear
DELETE FROM {schema}.failure WHERE stream = %(stream)s

-- name: fetch
SELECT stream, failures, error, message, run_id,
       extract(epoch FROM clock_timestamp() - failed_at)::double precision AS seconds_ago
FROM {schema}.failure
WHERE stream = ANY (%(streams)s)
