-- Which files of a dataset have to be made, and whose labels a ban or its lifting changes.

ALTER TABLE sightloop.samples ADD COLUMN IF NOT EXISTS tried_at timestamptz;

COMMENT ON COLUMN sightloop.samples.tried_at IS
    'When its files could last not be made; null otherwise. Those that fail do not hold up the others';

DROP INDEX IF EXISTS sightloop.samples_to_publish;
CREATE INDEX IF NOT EXISTS samples_to_make
    ON sightloop.samples (tried_at NULLS FIRST, sample_id) WHERE NOT published;
CREATE INDEX IF NOT EXISTS samples_of_pending_models
    ON sightloop.samples (model) WHERE source_key LIKE 'pending_models/%';
CREATE INDEX IF NOT EXISTS labels_withdrawn_by_a_ban
    ON sightloop.labels (user_address) WHERE withdrawn_why = 'banned';
