-- Where a version came from, how long the corrections in it waited, and which version served since when.

ALTER TABLE sightloop.model_versions ADD COLUMN IF NOT EXISTS job_id uuid;
ALTER TABLE sightloop.model_versions ADD COLUMN IF NOT EXISTS dataset_sha256 text COLLATE "C";
ALTER TABLE sightloop.model_versions ADD COLUMN IF NOT EXISTS verdict jsonb;
ALTER TABLE sightloop.model_versions ADD COLUMN IF NOT EXISTS correction_to_serving jsonb;

COMMENT ON COLUMN sightloop.model_versions.job_id IS
    'The training that made it; null: it came from elsewhere. A training makes one version';
COMMENT ON COLUMN sightloop.model_versions.dataset_sha256 IS 'The dataset version it learnt from';
COMMENT ON COLUMN sightloop.model_versions.verdict IS 'What the gate decided: promote, reason, figures';
COMMENT ON COLUMN sightloop.model_versions.correction_to_serving IS
    'How long the corrections that it was the first to learn waited until it served: labels, '
    'median_seconds, longest_seconds; null: it never served, or learnt none';

CREATE UNIQUE INDEX IF NOT EXISTS model_versions_one_a_job
    ON sightloop.model_versions (job_id) WHERE job_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS sightloop.model_promotions (
    model    text NOT NULL REFERENCES sightloop.models (name) ON DELETE CASCADE,
    at       timestamptz NOT NULL,
    version  integer NOT NULL CHECK (version > 0),
    previous integer,
    by       text NOT NULL,
    why      text NOT NULL,
    PRIMARY KEY (model, at, version)
);

COMMENT ON TABLE sightloop.model_promotions IS
    'Which version served since when; of the present one model.yaml tells the same, and is right';
COMMENT ON COLUMN sightloop.model_promotions.previous IS 'What served before; null: nothing';
