-- What the course of a training needs beyond 0015: who is at work on its end, what stands in its way,
-- and which reports were counted.

ALTER TABLE sightloop.training_jobs ADD COLUMN IF NOT EXISTS trouble text;
ALTER TABLE sightloop.training_jobs ADD COLUMN IF NOT EXISTS lost boolean NOT NULL DEFAULT false;
ALTER TABLE sightloop.training_jobs ADD COLUMN IF NOT EXISTS leased_until timestamptz;

COMMENT ON COLUMN sightloop.training_jobs.trouble IS
    'Why it could not be brought on when that was last tried, in words; null: it could';
COMMENT ON COLUMN sightloop.training_jobs.lost IS
    'It ended for a reason that says nothing of its data: the planner may try the same again';
COMMENT ON COLUMN sightloop.training_jobs.leased_until IS
    'Until then whoever began to judge it is taken to be at work';

CREATE INDEX IF NOT EXISTS training_jobs_open
    ON sightloop.training_jobs (heard_at) WHERE ended_at IS NULL;

ALTER TABLE sightloop.training_epochs
    ADD COLUMN IF NOT EXISTS seen integer[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN sightloop.training_epochs.seen IS
    'The starts that reported it: each counts once, however often and late it is delivered';

ALTER TABLE sightloop.training_plans ADD COLUMN IF NOT EXISTS needs_train bigint NOT NULL DEFAULT 0;
ALTER TABLE sightloop.training_plans ADD COLUMN IF NOT EXISTS needs_valid bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN sightloop.training_plans.needs_train IS 'New images with which it is trained';
