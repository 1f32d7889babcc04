-- What became of a dead letter. The letter stays: its ledger line counts it as dead for good.
ALTER TABLE {schema}.dead_letter
    ADD COLUMN resolved_at timestamptz,
    ADD COLUMN resolution text CHECK (resolution IN ('replayed', 'discarded')),
    ADD COLUMN resolved_by text,
    -- When it was last acknowledged by the stream's topic of dead letters, if it has one.
    ADD COLUMN copied_at timestamptz,
    ADD CONSTRAINT dead_letter_resolved_whole CHECK (
        num_nulls(resolved_at, resolution, resolved_by) IN (0, 3)
    );
CREATE INDEX dead_letter_unresolved ON {schema}.dead_letter (stream, topic, id)
    WHERE resolved_at IS NULL;
CREATE INDEX dead_letter_uncopied ON {schema}.dead_letter (stream, topic, id)
    WHERE resolved_at IS NULL AND copied_at IS NULL;
