-- What placing an image needs of a dataset, in a form that a process reads in no time: fingerprints in
-- blocks of some thousands instead of row by row, and how many images each side has.
--
-- Samples of a model get rising numbers in the order of their commits, because the dataset is locked while
-- they are added. So a block, once packed, is what the samples up to its last one are, for ever; those
-- after the last block are read from samples. A sample that was deleted stays in its block, and whoever
-- finds it there finds no row.
--
-- Locks: fingerprint_blocks after dataset_classes (0008); whoever packs holds the dataset's.

CREATE TABLE IF NOT EXISTS sightloop.fingerprint_blocks (
    model      text COLLATE "C" NOT NULL,
    last_id    bigint NOT NULL,
    sample_ids bytea NOT NULL,
    bits       bytea NOT NULL,
    PRIMARY KEY (model, last_id),
    CONSTRAINT fingerprint_blocks_have_a_fingerprint_each CHECK (
        octet_length(sample_ids) > 0 AND octet_length(bits) = 4 * octet_length(sample_ids))
);

COMMENT ON TABLE sightloop.fingerprint_blocks IS
    'samples.sample_id (8 bytes each, big-endian) and samples.bits, in the order of the former';

-- Fingerprints cannot be compressed.
ALTER TABLE sightloop.fingerprint_blocks
    ALTER COLUMN sample_ids SET STORAGE EXTERNAL, ALTER COLUMN bits SET STORAGE EXTERNAL;

CREATE INDEX IF NOT EXISTS samples_by_model ON sightloop.samples (model, sample_id);
DROP INDEX IF EXISTS sightloop.samples_by_placing;

COMMENT ON COLUMN sightloop.samples.placed IS 'Revision at which groups or joins last changed';

-- Pack what makes up whole blocks, and return the last sample that is in one. The dataset has to be locked.
CREATE OR REPLACE FUNCTION sightloop.pack_fingerprints(of_model text, size integer DEFAULT 4096)
RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO sightloop.fingerprint_blocks (model, last_id, sample_ids, bits)
    SELECT of_model, max(sample_id), string_agg(int8send(sample_id), ''::bytea ORDER BY sample_id),
           string_agg(bits, ''::bytea ORDER BY sample_id)
    FROM (SELECT sample_id, bits, (row_number() OVER (ORDER BY sample_id) - 1) / size AS block
          FROM sightloop.samples
          WHERE model = of_model AND sample_id > coalesce(
              (SELECT max(last_id) FROM sightloop.fingerprint_blocks WHERE model = of_model), 0)) s
    GROUP BY block HAVING count(*) = size;
    SELECT coalesce(max(last_id), 0) FROM sightloop.fingerprint_blocks WHERE model = of_model;
$$;

-- Images by side, with a label or without: the fact "placed" of dataset_counts.
CREATE OR REPLACE FUNCTION sightloop.count_placed()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    counts sightloop.dataset_count[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(ROW(s.model, s.side, 'placed', '', s.n)::sightloop.dataset_count)
        INTO counts
        FROM (SELECT model, side, count(*) AS n FROM new_samples GROUP BY model, side) s;
    ELSE
        SELECT array_agg(ROW(s.model, s.side, 'placed', '', -s.n)::sightloop.dataset_count)
        INTO counts
        FROM (SELECT model, side, count(*) AS n FROM old_samples GROUP BY model, side) s;
    END IF;
    PERFORM sightloop.add_counts(counts);
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.unpack_all()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE sightloop.fingerprint_blocks;
    RETURN NULL;
END
$$;

-- Nobody adds samples from here to the commit, so that none is counted twice.
LOCK TABLE sightloop.samples IN SHARE ROW EXCLUSIVE MODE;

CREATE OR REPLACE TRIGGER count_placed_inserted AFTER INSERT ON sightloop.samples
    REFERENCING NEW TABLE AS new_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_placed();
CREATE OR REPLACE TRIGGER count_placed_deleted AFTER DELETE ON sightloop.samples
    REFERENCING OLD TABLE AS old_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_placed();
CREATE OR REPLACE TRIGGER unpack_truncated AFTER TRUNCATE ON sightloop.samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.unpack_all();

-- What was there before.
INSERT INTO sightloop.dataset_counts (model, side, fact, key, n)
SELECT model, side, 'placed', '', count(*) FROM sightloop.samples GROUP BY model, side
ON CONFLICT (model, side, fact, key) DO UPDATE SET n = excluded.n;
SELECT sightloop.pack_fingerprints(model)
FROM (SELECT DISTINCT model FROM sightloop.samples ORDER BY model) m;

COMMENT ON TABLE sightloop.dataset_counts IS
    'Of the images that have a label: images, empty; images_of and boxes_of a class; boxes_by_size, '
    'boxes_by_share; images_by_origin. Of all labels there were: labels by origin, withdrawn by why. '
    'Of all images, with a label or without: placed. Of clusters (side is empty): clusters, clustered '
    'images, leaking validation images';
