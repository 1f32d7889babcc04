-- Streams that somebody has paused: nothing moves their positions until they are resumed.
CREATE TABLE {schema}.pause (
    stream text PRIMARY KEY,
    reason text NOT NULL,
    paused_by text NOT NULL DEFAULT session_user,
    paused_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Runs of a stream that failed since the last one that did not, for whoever decides when to try
-- again. The message is ours: it holds no secret and no part of a record.
CREATE TABLE {schema}.failure (
    stream text PRIMARY KEY,
    failures integer NOT NULL CHECK (failures > 0),
    error text NOT NULL,
    message text NOT NULL,
    run_id text NOT NULL,
    first_failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Windows of time of a stream that were, or are, loaded apart from its live position. Each has
-- positions, ledger lines and dead letters of its own, under its name in place of a stream's.
CREATE TABLE {schema}.backfill (
    name text PRIMARY KEY,
    stream text NOT NULL,
    topic text NOT NULL,
    incarnation integer NOT NULL,
    table_name text NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL CHECK (window_end > window_start),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX backfill_stream ON {schema}.backfill (stream, topic, window_start);

ALTER TABLE {schema}.ledger
    -- Dead letters of the interval that were resolved, and removed after their time; and those of
    -- them that had become rows.
    ADD COLUMN purged_dead bigint NOT NULL DEFAULT 0,
    ADD COLUMN purged_replayed bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT ledger_purged CHECK (
        purged_replayed >= 0 AND purged_replayed <= purged_dead AND purged_dead <= dead
    );
CREATE INDEX dead_letter_resolved ON {schema}.dead_letter (stream, resolved_at)
    WHERE resolved_at IS NOT NULL;
-- What a run has done so far is asked by each load.
CREATE INDEX ledger_run_id ON {schema}.ledger (run_id, stream);
