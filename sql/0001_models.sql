-- Models and their versions. The version that serves is named in model.yaml in the store bucket;
-- these rows are what the planner and the history join with.
CREATE SCHEMA IF NOT EXISTS sightloop;

CREATE TABLE IF NOT EXISTS sightloop.models (
    name                text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    class_names         text[] NOT NULL CHECK (cardinality(class_names) > 0),
    live_version        integer,
    training_set_size   integer NOT NULL DEFAULT 0 CHECK (training_set_size >= 0),
    validation_set_size integer NOT NULL DEFAULT 0 CHECK (validation_set_size >= 0),
    created_at          timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS sightloop.model_versions (
    model       text NOT NULL REFERENCES sightloop.models (name) ON DELETE CASCADE,
    version     integer NOT NULL CHECK (version > 0),
    sha256      text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    metrics     jsonb NOT NULL DEFAULT '{}'::jsonb,
    promoted_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model, version)
);
