-- Deleting what somebody sent. Rows that counters and histories need stay, without content: no boxes, no
-- hash of the picture.
--
-- Locks: the prediction (advisory, see lock_prediction) before all of 0002 and 0005.

CREATE TABLE IF NOT EXISTS sightloop.deletions (
    prediction_id uuid PRIMARY KEY,
    model         text COLLATE "C" NOT NULL,
    deleted_at    timestamptz NOT NULL DEFAULT now(),
    label_ids     bigint[] NOT NULL DEFAULT '{}',
    images        jsonb NOT NULL DEFAULT '[]'::jsonb,
    erased_at     timestamptz
);
COMMENT ON TABLE sightloop.deletions IS
    'Predictions that were deleted: nothing may be submitted to them any more';
COMMENT ON COLUMN sightloop.deletions.label_ids IS
    'Labels that were withdrawn; which versions were trained on them is told by label_terms';
COMMENT ON COLUMN sightloop.deletions.images IS
    'Images whose files are still to be erased; empty once they are';
COMMENT ON COLUMN sightloop.deletions.erased_at IS 'When the last file was erased; null: not yet';
CREATE INDEX IF NOT EXISTS deletions_unfinished
    ON sightloop.deletions (deleted_at) WHERE erased_at IS NULL;
CREATE INDEX IF NOT EXISTS deletions_newest ON sightloop.deletions (deleted_at DESC, prediction_id);

-- Whoever deletes a prediction locks it alone; whoever submits to it shares the lock.
CREATE OR REPLACE FUNCTION sightloop.lock_prediction(id uuid, alone boolean)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF alone THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('prediction ' || id, 0));
    ELSE
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('prediction ' || id, 0));
    END IF;
END
$$;

ALTER TABLE sightloop.requests DROP CONSTRAINT IF EXISTS requests_state_is_known;
ALTER TABLE sightloop.requests ADD CONSTRAINT requests_state_is_known
    CHECK (state IN ('accepted', 'quarantined', 'rejected', 'deleted'));

ALTER TABLE sightloop.labels DROP CONSTRAINT IF EXISTS labels_withdrawn_why_is_known;
ALTER TABLE sightloop.labels ADD CONSTRAINT labels_withdrawn_why_is_known
    CHECK (withdrawn_why IN ('doubted', 'banned', 'replaced', 'rejected', 'deleted'));
COMMENT ON COLUMN sightloop.labels.withdrawn_why IS
    'doubted: its author is distrusted, an operator decides; banned: comes back when the ban is lifted; '
    'replaced: sent anew; rejected: by an operator; deleted: its image or submission was, for good';

-- As in 0008, but what was deleted is blanked.
CREATE OR REPLACE TRIGGER refuse_edit BEFORE UPDATE OF yolo, boxes, origin, sample_id
    ON sightloop.labels FOR EACH ROW
    WHEN ((NEW.yolo, NEW.boxes, NEW.origin, NEW.sample_id)
          IS DISTINCT FROM (OLD.yolo, OLD.boxes, OLD.origin, OLD.sample_id)
          AND NOT ((NEW.yolo, NEW.boxes, NEW.origin, NEW.sample_id)
                   IS NOT DISTINCT FROM ('', 0, OLD.origin, OLD.sample_id)
                   AND NEW.withdrawn_why IS NOT DISTINCT FROM 'deleted'))
    EXECUTE FUNCTION sightloop.refuse_change('a label is history, add another');

-- Take what a sample says of its picture out of all rows of datasets; its labels are withdrawn before, and
-- the dataset is locked. The row stays for the history of versions, under a name that means nothing.
CREATE OR REPLACE FUNCTION sightloop.blank_sample(id bigint, new_name text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    old    sightloop.samples;
    noise  bytea := sha256(convert_to(gen_random_uuid()::text, 'UTF8'));
    place  integer;
    packed record;
    near   bigint;
BEGIN
    SELECT * INTO old FROM sightloop.samples WHERE sample_id = id FOR NO KEY UPDATE;
    SELECT k.cluster_id INTO near FROM sightloop.cluster_names k
    WHERE k.model = old.model AND k.name = old.sha256;
    IF near IS NOT NULL THEN
        UPDATE sightloop.samples s SET joins = array_remove(s.joins, old.sha256)
        WHERE s.model = old.model AND s.sample_id <> id AND old.sha256 = ANY (s.joins)
          AND s.sha256 IN (SELECT k.name FROM sightloop.cluster_names k WHERE k.cluster_id = near);
        DELETE FROM sightloop.cluster_names k WHERE k.model = old.model AND k.name = old.sha256;
        UPDATE sightloop.clusters c SET names = c.names - 1,
            train = c.train - (old.side = 'train')::integer,
            valid = c.valid - (old.side = 'valid')::integer
        WHERE c.cluster_id = near;
    END IF;
    UPDATE sightloop.samples SET sha256 = new_name, bits = noise, groups = '{}', joins = '{}',
        source_key = '', published = true, tried_at = NULL, released_at = NULL, released_by = NULL,
        visibility = 'private', updated_at = now()
    WHERE sample_id = id;
    -- A block is in the order of its ids: 8 bytes an id, 32 bytes a fingerprint.
    FOR packed IN
        SELECT b.last_id, b.sample_ids FROM sightloop.fingerprint_blocks b
        WHERE b.model = old.model AND b.last_id >= id ORDER BY b.last_id LIMIT 1
    LOOP
        SELECT n INTO place FROM generate_series(0, octet_length(packed.sample_ids) / 8 - 1) n
        WHERE substring(packed.sample_ids FROM n * 8 + 1 FOR 8) = int8send(id);
        IF place IS NOT NULL THEN
            UPDATE sightloop.fingerprint_blocks b
            SET bits = overlay(b.bits PLACING noise FROM place * 32 + 1 FOR 32)
            WHERE b.model = old.model AND b.last_id = packed.last_id;
        END IF;
    END LOOP;
END
$$;
