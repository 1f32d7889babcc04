-- The state of each partition: the one truth about where to start.
CREATE TABLE {schema}.state (
    stream text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    cluster_id text,
    topic_id text,
    incarnation integer NOT NULL DEFAULT 1,
    epoch integer NOT NULL DEFAULT 1,
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    tail_offset bigint,
    tail_timestamp bigint,
    tail_digest bytea,
    target_oid oid,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, topic, partition)
) WITH (fillfactor = 50);

-- Where each epoch of each incarnation began: tiling is judged from there.
CREATE TABLE {schema}.epoch (
    stream text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    incarnation integer NOT NULL,
    epoch integer NOT NULL,
    start_offset bigint NOT NULL,
    cluster_id text,
    topic_id text,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, topic, partition, incarnation, epoch)
);

CREATE TABLE {schema}.ledger (
    stream text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    incarnation integer NOT NULL,
    epoch integer NOT NULL,
    start_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    rows bigint NOT NULL,
    superseded bigint NOT NULL,
    ignored bigint NOT NULL,
    deleted bigint NOT NULL,
    dead bigint NOT NULL,
    filtered bigint NOT NULL,
    absent bigint NOT NULL,
    record_bytes bigint NOT NULL,
    batch_id uuid NOT NULL,
    run_id text NOT NULL,
    loader text NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, topic, partition, incarnation, epoch, start_offset),
    CONSTRAINT ledger_range_not_empty CHECK (next_offset > start_offset),
    CONSTRAINT ledger_counts_not_negative CHECK (
        least(rows, superseded, ignored, deleted, dead, filtered, absent) >= 0
    ),
    CONSTRAINT ledger_equation CHECK (
        next_offset - start_offset
            = rows + superseded + ignored + deleted + dead + filtered + absent
    )
);
CREATE INDEX ledger_batch_id ON {schema}.ledger (batch_id);
CREATE INDEX ledger_committed_at ON {schema}.ledger (stream, committed_at);

CREATE TABLE {schema}.dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id uuid NOT NULL,
    stream text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    incarnation integer NOT NULL,
    epoch integer NOT NULL,
    record_offset bigint NOT NULL,
    record_timestamp bigint NOT NULL,
    timestamp_type smallint NOT NULL,
    key bytea,
    value bytea,
    header_keys bytea[] NOT NULL,
    header_values bytea[] NOT NULL,
    stage text NOT NULL,
    reason text NOT NULL,
    column_name text,
    sqlstate text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (stream, topic, partition, incarnation, epoch, record_offset)
);

CREATE TABLE {schema}.gap (
    stream text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    incarnation integer NOT NULL,
    epoch integer NOT NULL,
    start_offset bigint NOT NULL,
    end_offset bigint NOT NULL CHECK (end_offset > start_offset),
    batch_id uuid,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    acknowledged_at timestamptz,
    PRIMARY KEY (stream, topic, partition, incarnation, epoch, start_offset)
);

-- Operator actions and changes to target tables.
CREATE TABLE {schema}.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream text NOT NULL,
    action text NOT NULL,
    detail jsonb NOT NULL,
    actor text NOT NULL DEFAULT session_user,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
