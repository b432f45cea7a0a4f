-- Images, and what people say is on them. These rows are the truth; the files in the store bucket
-- are made from them (`published`), so that whoever dies in between leaves nothing half done.
--
-- Locks are taken after those of 0002, in this order: the dataset of a model (advisory, see
-- lock_dataset), samples, labels, label_terms.

-- Every change of a dataset has a number of its own; within a model they rise with time, because
-- the dataset is locked while they are given out. A dataset version is named by such a number.
CREATE SEQUENCE IF NOT EXISTS sightloop.dataset_revision;

CREATE TABLE IF NOT EXISTS sightloop.samples (
    sample_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model      text COLLATE "C" NOT NULL,
    sha256     text COLLATE "C" NOT NULL,
    extension  text NOT NULL,
    width      integer NOT NULL,
    height     integer NOT NULL,
    side       text NOT NULL,
    bits       bytea NOT NULL,
    groups     text[] NOT NULL DEFAULT '{}',
    joins      text[] NOT NULL DEFAULT '{}',
    placed     bigint NOT NULL DEFAULT nextval('sightloop.dataset_revision'),
    label_id   bigint,
    source_key text NOT NULL,
    published  boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT samples_once_a_model UNIQUE (model, sha256),
    CONSTRAINT samples_model_name CHECK (model ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    CONSTRAINT samples_sha256_is_one CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT samples_extension_is_known CHECK (extension IN ('jpg', 'png', 'webp', 'bmp')),
    CONSTRAINT samples_have_an_area CHECK (width > 0 AND height > 0),
    CONSTRAINT samples_side_is_known CHECK (side IN ('train', 'valid')),
    CONSTRAINT samples_bits_are_a_fingerprint CHECK (octet_length(bits) = 32)
) WITH (fillfactor = 85);

COMMENT ON TABLE sightloop.samples IS
    'One row an image of a model''s dataset; its side is decided once and never changes';
COMMENT ON COLUMN sightloop.samples.bits IS 'The perceptual fingerprint, labels/fingerprint.py';
COMMENT ON COLUMN sightloop.samples.groups IS 'What an importer said it is of';
COMMENT ON COLUMN sightloop.samples.joins IS 'sha256 of images near to it';
COMMENT ON COLUMN sightloop.samples.placed IS
    'Revision at which groups or joins last changed: what a process has not read yet is above its own';
COMMENT ON COLUMN sightloop.samples.label_id IS
    'The newest label that is not withdrawn; without one the image is not in the dataset';
COMMENT ON COLUMN sightloop.samples.source_key IS
    'Where in the store bucket the image is taken from when it is published';
COMMENT ON COLUMN sightloop.samples.published IS 'The files in the store bucket are as these rows say';

CREATE INDEX IF NOT EXISTS samples_by_placing ON sightloop.samples (model, placed);
CREATE INDEX IF NOT EXISTS samples_to_publish ON sightloop.samples (sample_id) WHERE NOT published;
CREATE INDEX IF NOT EXISTS samples_in_use
    ON sightloop.samples (model, side, sample_id) WHERE label_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS sightloop.labels (
    label_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sample_id     bigint NOT NULL REFERENCES sightloop.samples (sample_id),
    yolo          text NOT NULL,
    boxes         integer NOT NULL,
    origin        text NOT NULL,
    user_address  text COLLATE "C",
    request_id    bigint,
    import_id     uuid,
    created_at    timestamptz NOT NULL DEFAULT now(),
    withdrawn_at  timestamptz,
    withdrawn_why text,
    CONSTRAINT labels_boxes_not_negative CHECK (boxes >= 0),
    CONSTRAINT labels_origin_is_known CHECK (origin IN ('submission', 'import', 'operator')),
    CONSTRAINT labels_of_a_submission CHECK (
        origin <> 'submission' OR (user_address IS NOT NULL AND request_id IS NOT NULL)),
    CONSTRAINT labels_withdrawn_for_a_reason CHECK ((withdrawn_at IS NULL) = (withdrawn_why IS NULL))
);

COMMENT ON TABLE sightloop.labels IS
    'What somebody said is on an image, as it was accepted: the history of its label';
COMMENT ON COLUMN sightloop.labels.yolo IS 'class cx cy w h a line, normalised; empty: nothing there';
COMMENT ON COLUMN sightloop.labels.request_id IS 'The submission; no foreign key: it may be deleted';
COMMENT ON COLUMN sightloop.labels.withdrawn_why IS
    'banned: comes back when the ban is lifted; replaced: sent anew; rejected: by an operator';

ALTER TABLE sightloop.labels DROP CONSTRAINT IF EXISTS labels_withdrawn_why_is_known;
ALTER TABLE sightloop.labels ADD CONSTRAINT labels_withdrawn_why_is_known
    CHECK (withdrawn_why IN ('banned', 'replaced', 'rejected'));

CREATE INDEX IF NOT EXISTS labels_by_sample ON sightloop.labels (sample_id, label_id DESC);
CREATE INDEX IF NOT EXISTS labels_by_request
    ON sightloop.labels (request_id, label_id DESC) WHERE request_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS labels_by_user
    ON sightloop.labels (user_address, label_id) WHERE user_address IS NOT NULL;

CREATE TABLE IF NOT EXISTS sightloop.label_terms (
    sample_id bigint NOT NULL REFERENCES sightloop.samples (sample_id),
    label_id  bigint NOT NULL REFERENCES sightloop.labels (label_id),
    began     bigint NOT NULL,
    ended     bigint,
    PRIMARY KEY (sample_id, began),
    CONSTRAINT label_terms_end_after_they_begin CHECK (ended > began)
);

COMMENT ON TABLE sightloop.label_terms IS
    'From which revision until which a label was the one of its image: a dataset as it was at a '
    'revision is the terms with began <= it and ended above it or null. Kept by triggers';

CREATE UNIQUE INDEX IF NOT EXISTS label_terms_one_at_a_time
    ON sightloop.label_terms (sample_id) WHERE ended IS NULL;
CREATE INDEX IF NOT EXISTS label_terms_by_label ON sightloop.label_terms (label_id);

-- Whoever places samples or changes their label locks the dataset first, for the transaction.
CREATE OR REPLACE FUNCTION sightloop.lock_dataset(model text)
RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('dataset ' || model, 0));
$$;

CREATE OR REPLACE FUNCTION sightloop.begin_label_terms()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sightloop.label_terms (sample_id, label_id, began)
    SELECT n.sample_id, n.label_id, r.revision
    FROM new_samples n, (SELECT nextval('sightloop.dataset_revision') AS revision) r
    WHERE n.label_id IS NOT NULL;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.change_label_terms()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    revision bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM new_samples n JOIN old_samples o USING (sample_id)
                   WHERE n.label_id IS DISTINCT FROM o.label_id) THEN
        RETURN NULL;
    END IF;
    revision := nextval('sightloop.dataset_revision');
    UPDATE sightloop.label_terms t SET ended = revision
    FROM new_samples n JOIN old_samples o USING (sample_id)
    WHERE t.sample_id = n.sample_id AND t.ended IS NULL AND n.label_id IS DISTINCT FROM o.label_id;
    INSERT INTO sightloop.label_terms (sample_id, label_id, began)
    SELECT n.sample_id, n.label_id, revision
    FROM new_samples n JOIN old_samples o USING (sample_id)
    WHERE n.label_id IS NOT NULL AND n.label_id IS DISTINCT FROM o.label_id;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER begin_terms AFTER INSERT ON sightloop.samples
    REFERENCING NEW TABLE AS new_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.begin_label_terms();
CREATE OR REPLACE TRIGGER change_terms AFTER UPDATE ON sightloop.samples
    REFERENCING OLD TABLE AS old_samples NEW TABLE AS new_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.change_label_terms();

-- What a version was trained on; null for those that came with their weights. Retraining writes it.
ALTER TABLE sightloop.model_versions ADD COLUMN IF NOT EXISTS dataset_revision bigint;

COMMENT ON COLUMN sightloop.model_versions.dataset_revision IS
    'The revision of the dataset it was trained on; null where it was trained elsewhere';

-- Images for models that have no version yet are labelled over no prediction: version 0.
ALTER TABLE sightloop.requests DROP CONSTRAINT IF EXISTS requests_version_counts_from_one;
ALTER TABLE sightloop.requests DROP CONSTRAINT IF EXISTS requests_version_not_negative;
ALTER TABLE sightloop.requests ADD CONSTRAINT requests_version_not_negative
    CHECK (model_version >= 0);
