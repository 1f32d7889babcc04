-- name: recent_records
-- Records that were read lately; offsets without a record are none.
SELECT coalesce(sum(next_offset - start_offset - absent), 0)::bigint
FROM {schema}.ledger
WHERE stream = %(stream)s AND topic = %(topic)s
  AND committed_at > clock_timestamp() - make_interval(hours => %(hours)s)

-- name: unresolved_letters
SELECT count(*),
       count(*) FILTER (
           WHERE created_at > clock_timestamp() - make_interval(hours => %(hours)s))
FROM {schema}.dead_letter
WHERE stream = %(stream)s AND topic = %(topic)s AND resolved_at IS NULL
