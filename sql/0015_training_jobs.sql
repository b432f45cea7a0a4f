-- What is trained, why, how far it has come and what became of it; and what the planner thought of
-- every model last.

CREATE TABLE IF NOT EXISTS sightloop.training_jobs (
    job_id           uuid PRIMARY KEY,
    model            text COLLATE "C" NOT NULL,
    kind             text NOT NULL,
    state            text NOT NULL DEFAULT 'queued',
    launcher         text NOT NULL,
    external_id      text,
    base_version     integer,
    dataset_sha256   text COLLATE "C",
    dataset_revision bigint,
    hyperparameters  jsonb NOT NULL,
    requested_by     text NOT NULL,
    reason           text NOT NULL,
    epoch            integer NOT NULL DEFAULT 0,
    epochs           integer NOT NULL,
    eta_seconds      double precision,
    starts           integer NOT NULL DEFAULT 0,
    cancel_requested boolean NOT NULL DEFAULT false,
    version          integer,
    outcome          text,
    verdict          jsonb,
    created_at       timestamptz NOT NULL DEFAULT now(),
    launched_at      timestamptz,
    heard_at         timestamptz NOT NULL DEFAULT now(),
    ended_at         timestamptz,
    CONSTRAINT training_jobs_kind_is_known CHECK (kind IN ('first', 'fine_tune')),
    CONSTRAINT training_jobs_state_is_known CHECK (state IN (
        'queued', 'launched', 'training', 'finishing', 'promoted', 'rejected', 'failed', 'cancelled')),
    CONSTRAINT training_jobs_end_with_a_reason CHECK (
        (state IN ('promoted', 'rejected', 'failed', 'cancelled')) = (ended_at IS NOT NULL)
        AND (ended_at IS NULL OR outcome IS NOT NULL))
);

COMMENT ON TABLE sightloop.training_jobs IS 'One row a training; states only move forward';
COMMENT ON COLUMN sightloop.training_jobs.external_id IS
    'What the launcher calls it: a SageMaker job, a Kubernetes object, a process';
COMMENT ON COLUMN sightloop.training_jobs.base_version IS
    'The version whose weights it starts from; null: a first training';
COMMENT ON COLUMN sightloop.training_jobs.starts IS 'How often its trainer said that it started';
COMMENT ON COLUMN sightloop.training_jobs.outcome IS 'Why it ended as it did, in words';
COMMENT ON COLUMN sightloop.training_jobs.verdict IS 'What the gate found, in figures';

-- Two schedules at once launch one job: the second insert finds the first.
CREATE UNIQUE INDEX IF NOT EXISTS training_jobs_one_at_a_time
    ON sightloop.training_jobs (model) WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS training_jobs_by_model ON sightloop.training_jobs (model, created_at DESC);
CREATE INDEX IF NOT EXISTS training_jobs_newest ON sightloop.training_jobs (created_at DESC, job_id);

CREATE TABLE IF NOT EXISTS sightloop.training_epochs (
    job_id     uuid NOT NULL REFERENCES sightloop.training_jobs (job_id) ON DELETE CASCADE,
    epoch      integer NOT NULL,
    times      integer NOT NULL DEFAULT 1,
    start      integer NOT NULL,
    metrics    jsonb NOT NULL,
    reached_at timestamptz NOT NULL,
    PRIMARY KEY (job_id, epoch)
);

COMMENT ON COLUMN sightloop.training_epochs.epoch IS 'Counted from 1';
COMMENT ON COLUMN sightloop.training_epochs.times IS
    'In how many starts of the trainer it was trained: more than 1 where one was killed';

CREATE TABLE IF NOT EXISTS sightloop.training_plans (
    model         text COLLATE "C" PRIMARY KEY,
    decision      text NOT NULL,
    reason        text NOT NULL,
    new_train     bigint NOT NULL,
    new_valid     bigint NOT NULL,
    considered_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT training_plans_decision_is_known CHECK (decision IN ('launch', 'wait', 'running'))
);

COMMENT ON TABLE sightloop.training_plans IS 'What the planner decided for each model last, and why';
