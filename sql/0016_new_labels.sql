-- How many images have a label that is newer than a revision, told from an index alone: the pages and the
-- planner ask it of every model. A term carries for it what its image is of.

ALTER TABLE sightloop.label_terms ADD COLUMN IF NOT EXISTS model text COLLATE "C";
ALTER TABLE sightloop.label_terms ADD COLUMN IF NOT EXISTS side text COLLATE "C";

COMMENT ON COLUMN sightloop.label_terms.model IS 'Of the image, as its side is';

UPDATE sightloop.label_terms t SET model = s.model, side = s.side
FROM sightloop.samples s WHERE s.sample_id = t.sample_id AND t.model IS NULL;

ALTER TABLE sightloop.label_terms ALTER COLUMN model SET NOT NULL;
ALTER TABLE sightloop.label_terms ALTER COLUMN side SET NOT NULL;

CREATE INDEX IF NOT EXISTS label_terms_in_force
    ON sightloop.label_terms (model, side, began) WHERE ended IS NULL;

-- As in 0005, with model and side. Whoever moves an image to the other side, against the rules, begins
-- a term too, so that each side has those that it has.
CREATE OR REPLACE FUNCTION sightloop.begin_label_terms()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sightloop.label_terms (sample_id, label_id, began, model, side)
    SELECT n.sample_id, n.label_id, r.revision, n.model, n.side
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
                   WHERE (n.label_id, n.model, n.side)
                         IS DISTINCT FROM (o.label_id, o.model, o.side)) THEN
        RETURN NULL;
    END IF;
    revision := nextval('sightloop.dataset_revision');
    UPDATE sightloop.label_terms t SET ended = revision
    FROM new_samples n JOIN old_samples o USING (sample_id)
    WHERE t.sample_id = n.sample_id AND t.ended IS NULL
      AND (n.label_id, n.model, n.side) IS DISTINCT FROM (o.label_id, o.model, o.side);
    INSERT INTO sightloop.label_terms (sample_id, label_id, began, model, side)
    SELECT n.sample_id, n.label_id, revision, n.model, n.side
    FROM new_samples n JOIN old_samples o USING (sample_id)
    WHERE n.label_id IS NOT NULL
      AND (n.label_id, n.model, n.side) IS DISTINCT FROM (o.label_id, o.model, o.side);
    RETURN NULL;
END
$$;
