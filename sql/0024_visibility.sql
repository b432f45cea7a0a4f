-- Who may be shown the photos of a model: the setting itself is in model.yaml; here are the setting of
-- models that have no version yet, its history, and under which promise each photo was sent.

ALTER TABLE sightloop.models ADD COLUMN IF NOT EXISTS visibility text NOT NULL DEFAULT 'private';
ALTER TABLE sightloop.models DROP CONSTRAINT IF EXISTS models_visibility_is_known;
ALTER TABLE sightloop.models ADD CONSTRAINT models_visibility_is_known
    CHECK (visibility IN ('private', 'members', 'public'));
COMMENT ON COLUMN sightloop.models.visibility IS
    'Who may be shown the photos; of a model with a live version model.yaml says so';

CREATE TABLE IF NOT EXISTS sightloop.model_visibilities (
    model      text COLLATE "C" NOT NULL,
    at         timestamptz NOT NULL,
    visibility text NOT NULL,
    by         text NOT NULL,
    PRIMARY KEY (model, at),
    CONSTRAINT model_visibilities_are_known CHECK (visibility IN ('private', 'members', 'public'))
);
COMMENT ON TABLE sightloop.model_visibilities IS 'Who changed the visibility of a model, and when';

-- The promise of a photo. What was sent before this migration was sent under none: it is private.
ALTER TABLE sightloop.requests ADD COLUMN IF NOT EXISTS visibility text
    GENERATED ALWAYS AS (coalesce(detail -> 'image' ->> 'visibility', 'private')) STORED;
COMMENT ON COLUMN sightloop.requests.visibility IS
    'Of the model when the photo was sent, as detail says: no wider audience is shown the photo';

ALTER TABLE sightloop.samples ADD COLUMN IF NOT EXISTS visibility text NOT NULL DEFAULT 'private';
ALTER TABLE sightloop.samples DROP CONSTRAINT IF EXISTS samples_visibility_is_known;
ALTER TABLE sightloop.samples ADD CONSTRAINT samples_visibility_is_known
    CHECK (visibility IN ('private', 'members', 'public'));
COMMENT ON COLUMN sightloop.samples.visibility IS
    'The narrowest promise under which anybody sent the image';

-- An operator's release: the image may be a control image for callers with a token, whatever its promise.
ALTER TABLE sightloop.samples ADD COLUMN IF NOT EXISTS released_at timestamptz;
ALTER TABLE sightloop.samples ADD COLUMN IF NOT EXISTS released_by text;
ALTER TABLE sightloop.samples DROP CONSTRAINT IF EXISTS samples_release_is_signed;
ALTER TABLE sightloop.samples ADD CONSTRAINT samples_release_is_signed
    CHECK ((released_at IS NULL) = (released_by IS NULL));
COMMENT ON COLUMN sightloop.samples.released_at IS
    'Since when it may be shown as a control image to callers with a token; null: it may not';

CREATE TABLE IF NOT EXISTS sightloop.image_releases (
    release_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sample_id  bigint NOT NULL,
    released   boolean NOT NULL,
    by         text NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE sightloop.image_releases IS
    'Every release of an image and every release taken back, with who and when; rows are only ever added';
CREATE INDEX IF NOT EXISTS image_releases_by_sample
    ON sightloop.image_releases (sample_id, release_id);
