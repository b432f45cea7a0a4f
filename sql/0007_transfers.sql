-- Models that were asked for, how many images each dataset has, and what is brought in and taken out.

ALTER TABLE sightloop.models ADD COLUMN IF NOT EXISTS requested_by text COLLATE "C";

COMMENT ON COLUMN sightloop.models.requested_by IS
    'Who asked for it; null where it came with its weights. Without a live version it is pending';

CREATE INDEX IF NOT EXISTS models_pending_by_user
    ON sightloop.models (requested_by) WHERE live_version IS NULL;

-- Kept by triggers: counting a million samples takes longer than a page may. Whoever changes samples
-- holds the lock of their dataset (see 0005), so these rows are never fought over.
CREATE TABLE IF NOT EXISTS sightloop.dataset_sizes (
    model  text COLLATE "C" NOT NULL,
    side   text NOT NULL,
    images bigint NOT NULL,
    PRIMARY KEY (model, side)
);

COMMENT ON TABLE sightloop.dataset_sizes IS 'How many images of each side have a label';

CREATE OR REPLACE FUNCTION sightloop.count_new_images()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sightloop.dataset_sizes AS d (model, side, images)
    SELECT model, side, count(*) FROM new_samples WHERE label_id IS NOT NULL
    GROUP BY model, side ORDER BY model, side
    ON CONFLICT (model, side) DO UPDATE SET images = d.images + excluded.images;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.count_changed_images()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sightloop.dataset_sizes AS d (model, side, images)
    SELECT model, side, sum(change)
    FROM (SELECT model, side, 1 AS change FROM new_samples WHERE label_id IS NOT NULL
          UNION ALL
          SELECT model, side, -1 FROM old_samples WHERE label_id IS NOT NULL) changes
    GROUP BY model, side HAVING sum(change) <> 0 ORDER BY model, side
    ON CONFLICT (model, side) DO UPDATE SET images = d.images + excluded.images;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.count_removed_images()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sightloop.dataset_sizes d SET images = d.images - o.images
    FROM (SELECT model, side, count(*) AS images FROM old_samples WHERE label_id IS NOT NULL
          GROUP BY model, side) o
    WHERE d.model = o.model AND d.side = o.side;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER count_new AFTER INSERT ON sightloop.samples
    REFERENCING NEW TABLE AS new_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_new_images();
CREATE OR REPLACE TRIGGER count_changed AFTER UPDATE ON sightloop.samples
    REFERENCING OLD TABLE AS old_samples NEW TABLE AS new_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_changed_images();
CREATE OR REPLACE TRIGGER count_removed AFTER DELETE ON sightloop.samples
    REFERENCING OLD TABLE AS old_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_removed_images();

-- Those that were there before. Making the triggers has locked samples until the end of this.
INSERT INTO sightloop.dataset_sizes (model, side, images)
SELECT model, side, count(*) FROM sightloop.samples WHERE label_id IS NOT NULL
GROUP BY model, side
ON CONFLICT (model, side) DO UPDATE SET images = excluded.images;

-- Imports and exports: long work that is cut into slices, each of which may be done twice.
CREATE TABLE IF NOT EXISTS sightloop.transfers (
    transfer_id  uuid PRIMARY KEY,
    kind         text NOT NULL,
    model        text COLLATE "C" NOT NULL,
    user_address text COLLATE "C" NOT NULL,
    asked        jsonb NOT NULL,
    state        text NOT NULL,
    key          text,
    etag         text,
    done         integer NOT NULL DEFAULT 0,
    total        integer,
    found        jsonb NOT NULL DEFAULT '{}'::jsonb,
    problem      text,
    attempts     integer NOT NULL DEFAULT 0,
    lease        uuid,
    leased_until timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT transfers_kind_is_known CHECK (kind IN ('import', 'export')),
    CONSTRAINT transfers_model_name CHECK (model ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    CONSTRAINT transfers_counts_not_negative CHECK (done >= 0 AND total >= 0 AND attempts >= 0),
    CONSTRAINT transfers_leased_for_a_time CHECK ((lease IS NULL) = (leased_until IS NULL))
);

ALTER TABLE sightloop.transfers DROP CONSTRAINT IF EXISTS transfers_state_is_known;
ALTER TABLE sightloop.transfers ADD CONSTRAINT transfers_state_is_known CHECK (
    (kind = 'import' AND state IN
        ('waiting', 'checking', 'faulty', 'placing', 'publishing', 'done', 'failed'))
    OR (kind = 'export' AND state IN ('queued', 'building', 'done', 'failed')));

COMMENT ON TABLE sightloop.transfers IS 'Imports and exports, and how far they are';
COMMENT ON COLUMN sightloop.transfers.asked IS 'What the caller chose, such as the format';
COMMENT ON COLUMN sightloop.transfers.key IS
    'Of an import''s ZIP in the uploads bucket, of an export''s in the store bucket';
COMMENT ON COLUMN sightloop.transfers.etag IS 'Of the ZIP that is imported: no other is read';
COMMENT ON COLUMN sightloop.transfers.found IS 'Counts and faults so far';
COMMENT ON COLUMN sightloop.transfers.attempts IS 'How often it was taken up since it last got on';
COMMENT ON COLUMN sightloop.transfers.lease IS 'Whoever works on it; one at a time';

CREATE INDEX IF NOT EXISTS transfers_unfinished
    ON sightloop.transfers (updated_at) WHERE state NOT IN ('faulty', 'done', 'failed');
