-- What a dataset is made of, counted while it changes: reading it takes as long for a million images
-- as for ten. All is done per statement, after the terms of 0005 are written down.
--
-- Locks are taken after those of 0005, in this order: clusters, cluster_names, datasets,
-- dataset_counts, dataset_classes; rows of a table in the order of their keys.

CREATE TABLE IF NOT EXISTS sightloop.datasets (
    model      text COLLATE "C" PRIMARY KEY,
    revision   bigint NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);

COMMENT ON TABLE sightloop.datasets IS 'The revision at which a dataset last got another label';

CREATE TABLE IF NOT EXISTS sightloop.dataset_counts (
    model text COLLATE "C" NOT NULL,
    side  text COLLATE "C" NOT NULL,
    fact  text COLLATE "C" NOT NULL,
    key   text COLLATE "C" NOT NULL,
    n     bigint NOT NULL,
    PRIMARY KEY (model, side, fact, key)
) WITH (fillfactor = 70);

COMMENT ON TABLE sightloop.dataset_counts IS
    'Of the images that have a label: images, empty; images_of and boxes_of a class; boxes_by_size, '
    'boxes_by_share; images_by_origin. Of all labels there were: labels by origin, withdrawn by why. '
    'Of clusters (side is empty): clusters, clustered images, leaking validation images';

CREATE TABLE IF NOT EXISTS sightloop.dataset_classes (
    model     text COLLATE "C" NOT NULL,
    class_id  integer NOT NULL,
    side      text COLLATE "C" NOT NULL,
    sample_id bigint NOT NULL,
    PRIMARY KEY (model, class_id, side, sample_id)
);

COMMENT ON TABLE sightloop.dataset_classes IS 'Which classes the present label of an image names';

CREATE TABLE IF NOT EXISTS sightloop.clusters (
    cluster_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model      text COLLATE "C" NOT NULL,
    names      bigint NOT NULL DEFAULT 0,
    train      bigint NOT NULL DEFAULT 0,
    valid      bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 80);

COMMENT ON TABLE sightloop.clusters IS
    'Images that look alike or were said to belong together, as labels/split.py joins them; '
    'one that is on both sides leaks, and its validation images measure nothing';
COMMENT ON COLUMN sightloop.clusters.train IS 'Images that were placed there, with a label or without';

CREATE INDEX IF NOT EXISTS clusters_of_several
    ON sightloop.clusters (model, cluster_id) WHERE train + valid > 1;

CREATE TABLE IF NOT EXISTS sightloop.cluster_names (
    model      text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    cluster_id bigint NOT NULL REFERENCES sightloop.clusters (cluster_id),
    PRIMARY KEY (model, name)
);

COMMENT ON COLUMN sightloop.cluster_names.name IS
    'sha256 of an image, or the word group and what the group is called';

CREATE INDEX IF NOT EXISTS cluster_names_by_cluster ON sightloop.cluster_names (cluster_id);

CREATE TABLE IF NOT EXISTS sightloop.dataset_versions (
    model      text COLLATE "C" NOT NULL,
    sha256     text COLLATE "C" NOT NULL,
    revision   bigint NOT NULL,
    train      bigint NOT NULL,
    valid      bigint NOT NULL,
    leaking    bigint NOT NULL,
    boxes      bigint NOT NULL,
    bytes      bigint NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model, sha256),
    CONSTRAINT dataset_versions_sha256_is_one CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT dataset_versions_counts_not_negative
        CHECK (least(train, valid, leaking, boxes, bytes) >= 0)
);

COMMENT ON TABLE sightloop.dataset_versions IS
    'Datasets that were written down whole; the manifest is in the store bucket, under its sha256';
COMMENT ON COLUMN sightloop.dataset_versions.leaking IS 'Those of valid not to be measured on';
COMMENT ON COLUMN sightloop.dataset_versions.bytes IS 'Of the manifest, unpacked';

CREATE INDEX IF NOT EXISTS dataset_versions_newest
    ON sightloop.dataset_versions (model, created_at DESC, sha256);

-- A label is history: what is counted from it stays true.
CREATE OR REPLACE TRIGGER refuse_edit BEFORE UPDATE OF yolo, boxes, origin, sample_id
    ON sightloop.labels FOR EACH ROW
    WHEN ((NEW.yolo, NEW.boxes, NEW.origin, NEW.sample_id)
          IS DISTINCT FROM (OLD.yolo, OLD.boxes, OLD.origin, OLD.sample_id))
    EXECUTE FUNCTION sightloop.refuse_change('a label is history, add another');

DO $$
BEGIN
    IF to_regtype('sightloop.dataset_change') IS NULL THEN
        CREATE TYPE sightloop.dataset_change AS (
            sample_id bigint,
            model     text,
            side      text,
            width     integer,
            height    integer,
            label_id  bigint,
            times     integer
        );
        CREATE TYPE sightloop.dataset_count AS (
            model text,
            side  text,
            fact  text,
            key   text,
            n     bigint
        );
    END IF;
END
$$;

COMMENT ON TYPE sightloop.dataset_change IS
    'A label that an image got (times = 1) or had until now (times = -1)';

CREATE OR REPLACE FUNCTION sightloop.add_counts(counts sightloop.dataset_count[])
RETURNS void LANGUAGE sql AS $$
    INSERT INTO sightloop.dataset_counts AS held (model, side, fact, key, n)
    SELECT c.model, c.side, c.fact, c.key, sum(c.n) FROM unnest(counts) c
    GROUP BY c.model, c.side, c.fact, c.key HAVING sum(c.n) <> 0
    ORDER BY c.model, c.side, c.fact, c.key
    ON CONFLICT (model, side, fact, key) DO UPDATE SET n = held.n + excluded.n;
$$;

-- Sizes are those of COCO: small below 32 x 32 pixels, large from 96 x 96. Shares are of the image's
-- side: the root of the area's share, in the eight ranges that 1, 2, 5, 10, 20, 30 and 50 % part.
CREATE OR REPLACE FUNCTION sightloop.dataset_counts_of(changes sightloop.dataset_change[])
RETURNS sightloop.dataset_count[] LANGUAGE sql STABLE AS $$
    WITH changed AS MATERIALIZED (
        SELECT c.model, c.side, c.width, c.height, c.label_id, c.times, l.yolo, l.origin
        FROM unnest(changes) c JOIN sightloop.labels l USING (label_id)
    ), drawn AS MATERIALIZED (
        SELECT c.model, c.side, c.label_id, c.times, split_part(line, ' ', 1) AS class,
               split_part(line, ' ', 4)::float8 * split_part(line, ' ', 5)::float8 AS share,
               c.width::float8 * c.height AS pixels
        FROM changed c CROSS JOIN LATERAL string_to_table(c.yolo, E'\n') AS line
        WHERE line <> ''
    ), counted AS (
        SELECT model, side, 'images' AS fact, '' AS key, sum(times) AS n FROM changed GROUP BY 1, 2
        UNION ALL
        SELECT model, side, 'empty', '', sum(times) FROM changed WHERE yolo = '' GROUP BY 1, 2
        UNION ALL
        SELECT model, side, 'images_by_origin', origin, sum(times) FROM changed GROUP BY 1, 2, 4
        UNION ALL
        SELECT model, side, 'boxes_of', class, sum(times) FROM drawn GROUP BY 1, 2, 4
        UNION ALL
        SELECT model, side, 'images_of', class, sum(times)
        FROM (SELECT DISTINCT model, side, label_id, times, class FROM drawn) d GROUP BY 1, 2, 4
        UNION ALL
        SELECT model, side, 'boxes_by_size',
               CASE WHEN share * pixels < 32 * 32 THEN 'small'
                    WHEN share * pixels < 96 * 96 THEN 'medium' ELSE 'large' END, sum(times)
        FROM drawn GROUP BY 1, 2, 4
        UNION ALL
        SELECT model, side, 'boxes_by_share',
               width_bucket(sqrt(share), ARRAY[0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5])::text,
               sum(times)
        FROM drawn GROUP BY 1, 2, 4
    )
    SELECT array_agg(ROW(model, side, fact, key, n)::sightloop.dataset_count)
    FROM counted WHERE n <> 0;
$$;

CREATE OR REPLACE FUNCTION sightloop.name_classes(changes sightloop.dataset_change[])
RETURNS void LANGUAGE sql AS $$
    WITH named AS (
        SELECT c.model, split_part(line, ' ', 1)::integer AS class_id, c.side, c.sample_id, c.times
        FROM unnest(changes) c JOIN sightloop.labels l USING (label_id)
        CROSS JOIN LATERAL string_to_table(l.yolo, E'\n') AS line
        WHERE line <> ''
        GROUP BY 1, 2, 3, 4, 5
    ), changed AS MATERIALIZED (
        SELECT model, class_id, side, sample_id, sum(times) AS times FROM named GROUP BY 1, 2, 3, 4
    ), gone AS (
        DELETE FROM sightloop.dataset_classes d USING changed c
        WHERE c.times < 0 AND (d.model, d.class_id, d.side, d.sample_id)
                            = (c.model, c.class_id, c.side, c.sample_id)
    )
    INSERT INTO sightloop.dataset_classes (model, class_id, side, sample_id)
    SELECT model, class_id, side, sample_id FROM changed WHERE times > 0 ORDER BY 1, 2, 3, 4
    ON CONFLICT DO NOTHING;
$$;

CREATE OR REPLACE FUNCTION sightloop.change_dataset(changes sightloop.dataset_change[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF changes IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO sightloop.datasets AS held (model, revision)
    SELECT c.model, coalesce(max(greatest(t.began, t.ended)), 0)
    FROM unnest(changes) c LEFT JOIN sightloop.label_terms t USING (sample_id)
    GROUP BY c.model ORDER BY c.model
    ON CONFLICT (model) DO UPDATE SET
        revision = greatest(held.revision, excluded.revision), changed_at = now();
    PERFORM sightloop.add_counts(sightloop.dataset_counts_of(changes));
    PERFORM sightloop.name_classes(changes);
END
$$;

CREATE OR REPLACE FUNCTION sightloop.count_samples()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changes sightloop.dataset_change[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(ROW(s.sample_id, s.model, s.side, s.width, s.height, s.label_id, 1)
                         ::sightloop.dataset_change) INTO changes
        FROM new_samples s WHERE s.label_id IS NOT NULL;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(ROW(s.sample_id, s.model, s.side, s.width, s.height, s.label_id, -1)
                         ::sightloop.dataset_change) INTO changes
        FROM old_samples s WHERE s.label_id IS NOT NULL;
    ELSE
        SELECT array_agg(ROW(s.*)::sightloop.dataset_change) INTO changes
        FROM new_samples n JOIN old_samples o USING (sample_id)
        CROSS JOIN LATERAL (VALUES
            (o.sample_id, o.model, o.side, o.width, o.height, o.label_id, -1),
            (n.sample_id, n.model, n.side, n.width, n.height, n.label_id, 1))
            AS s (sample_id, model, side, width, height, label_id, times)
        WHERE s.label_id IS NOT NULL
          AND (n.model, n.side, n.width, n.height, n.label_id)
              IS DISTINCT FROM (o.model, o.side, o.width, o.height, o.label_id);
    END IF;
    PERFORM sightloop.change_dataset(changes);
    RETURN NULL;
END
$$;

-- Of all labels that anybody gave: where they came from, and why they went.
CREATE OR REPLACE FUNCTION sightloop.count_labels()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    counts sightloop.dataset_count[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(ROW(s.model, s.side, f.fact, f.key, 1)::sightloop.dataset_count)
        INTO counts
        FROM new_labels l JOIN sightloop.samples s USING (sample_id)
        CROSS JOIN LATERAL (VALUES ('labels', l.origin), ('withdrawn', l.withdrawn_why))
            AS f (fact, key)
        WHERE f.key IS NOT NULL;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(ROW(s.model, s.side, f.fact, f.key, -1)::sightloop.dataset_count)
        INTO counts
        FROM old_labels l JOIN sightloop.samples s USING (sample_id)
        CROSS JOIN LATERAL (VALUES ('labels', l.origin), ('withdrawn', l.withdrawn_why))
            AS f (fact, key)
        WHERE f.key IS NOT NULL;
    ELSE
        SELECT array_agg(ROW(s.model, s.side, 'withdrawn', f.key, f.n)::sightloop.dataset_count)
        INTO counts
        FROM new_labels n JOIN old_labels o USING (label_id)
        JOIN sightloop.samples s ON s.sample_id = n.sample_id
        CROSS JOIN LATERAL (VALUES (o.withdrawn_why, -1), (n.withdrawn_why, 1)) AS f (key, n)
        WHERE f.key IS NOT NULL AND n.withdrawn_why IS DISTINCT FROM o.withdrawn_why;
    END IF;
    PERFORM sightloop.add_counts(counts);
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.count_clusters()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    counts sightloop.dataset_count[];
BEGIN
    IF TG_OP <> 'DELETE' THEN
        SELECT array_agg(c) INTO counts
        FROM new_clusters n CROSS JOIN LATERAL sightloop.cluster_counts(n.model, n.train, n.valid, 1) c;
        PERFORM sightloop.add_counts(counts);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        SELECT array_agg(c) INTO counts
        FROM old_clusters o CROSS JOIN LATERAL sightloop.cluster_counts(o.model, o.train, o.valid, -1) c;
        PERFORM sightloop.add_counts(counts);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.cluster_counts(model text, train bigint, valid bigint, times integer)
RETURNS SETOF sightloop.dataset_count LANGUAGE sql IMMUTABLE AS $$
    SELECT model, '', fact, '', times * n
    FROM (VALUES ('clusters', 1), ('clustered', train + valid)) AS f (fact, n)
    WHERE train + valid > 1
    UNION ALL
    SELECT model, '', 'leaking', '', times * valid WHERE train > 0 AND valid > 0;
$$;

-- Make one cluster of all that bear these names. The largest takes in the others.
CREATE OR REPLACE FUNCTION sightloop.join_cluster(of_model text, joined text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found bigint[];
    kept  bigint;
BEGIN
    SELECT array_agg(c.cluster_id ORDER BY c.names DESC, c.cluster_id) INTO found
    FROM sightloop.clusters c
    WHERE c.cluster_id IN (SELECT k.cluster_id FROM sightloop.cluster_names k
                           WHERE k.model = of_model AND k.name = ANY (joined));
    kept := found[1];
    IF kept IS NULL THEN
        INSERT INTO sightloop.clusters (model) VALUES (of_model) RETURNING cluster_id INTO kept;
    ELSIF cardinality(found) > 1 THEN
        UPDATE sightloop.cluster_names SET cluster_id = kept WHERE cluster_id = ANY (found[2:]);
        UPDATE sightloop.clusters c SET names = c.names + g.names, train = c.train + g.train,
                                        valid = c.valid + g.valid
        FROM (SELECT sum(names) AS names, sum(train) AS train, sum(valid) AS valid
              FROM sightloop.clusters WHERE cluster_id = ANY (found[2:])) g
        WHERE c.cluster_id = kept;
        DELETE FROM sightloop.clusters WHERE cluster_id = ANY (found[2:]);
    END IF;
    WITH made AS (
        INSERT INTO sightloop.cluster_names (model, name, cluster_id)
        SELECT DISTINCT of_model, n, kept FROM unnest(joined) n
        ON CONFLICT DO NOTHING RETURNING name
    )
    UPDATE sightloop.clusters c SET names = c.names + m.names, train = c.train + m.train,
                                    valid = c.valid + m.valid
    FROM (SELECT count(*) AS names, count(*) FILTER (WHERE s.side = 'train') AS train,
                 count(*) FILTER (WHERE s.side = 'valid') AS valid
          FROM made LEFT JOIN sightloop.samples s ON s.model = of_model AND s.sha256 = made.name) m
    WHERE c.cluster_id = kept AND m.names > 0;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.cluster_names_of(sha256 text, joins text[], groups text[])
RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256 || joins || ARRAY(
        SELECT 'group ' || CASE WHEN length(g) <= 500 THEN g ELSE md5(g) END FROM unnest(groups) g);
$$;

CREATE OR REPLACE FUNCTION sightloop.gather_clusters()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    joining record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- Those that an earlier one joined before they were there.
        UPDATE sightloop.clusters c SET train = c.train + n.train, valid = c.valid + n.valid
        FROM (SELECT k.cluster_id, count(*) FILTER (WHERE s.side = 'train') AS train,
                     count(*) FILTER (WHERE s.side = 'valid') AS valid
              FROM new_samples s
              JOIN sightloop.cluster_names k ON k.model = s.model AND k.name = s.sha256
              GROUP BY k.cluster_id) n
        WHERE c.cluster_id = n.cluster_id;
        FOR joining IN
            SELECT s.model, s.sha256, s.joins, s.groups FROM new_samples s
            WHERE s.joins <> '{}' OR s.groups <> '{}' ORDER BY s.model, s.sample_id
        LOOP
            PERFORM sightloop.lock_dataset(joining.model);
            PERFORM sightloop.join_cluster(joining.model, sightloop.cluster_names_of(
                joining.sha256, joining.joins, joining.groups));
        END LOOP;
    ELSE
        FOR joining IN
            SELECT n.model, n.sha256, n.joins, n.groups
            FROM new_samples n JOIN old_samples o USING (sample_id)
            WHERE (n.joins, n.groups) IS DISTINCT FROM (o.joins, o.groups)
              AND (n.joins <> '{}' OR n.groups <> '{}') ORDER BY n.model, n.sample_id
        LOOP
            PERFORM sightloop.lock_dataset(joining.model);
            PERFORM sightloop.join_cluster(joining.model, sightloop.cluster_names_of(
                joining.sha256, joining.joins, joining.groups));
        END LOOP;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.leave_clusters()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sightloop.clusters c SET train = c.train - o.train, valid = c.valid - o.valid
    FROM (SELECT k.cluster_id, count(*) FILTER (WHERE s.side = 'train') AS train,
                 count(*) FILTER (WHERE s.side = 'valid') AS valid
          FROM old_samples s
          JOIN sightloop.cluster_names k ON k.model = s.model AND k.name = s.sha256
          GROUP BY k.cluster_id) o
    WHERE c.cluster_id = o.cluster_id;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.count_no_samples()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sightloop.cluster_names;
    DELETE FROM sightloop.clusters;
    DELETE FROM sightloop.dataset_classes;
    DELETE FROM sightloop.dataset_counts;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER count_inserted AFTER INSERT ON sightloop.clusters
    REFERENCING NEW TABLE AS new_clusters
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_clusters();
CREATE OR REPLACE TRIGGER count_updated AFTER UPDATE ON sightloop.clusters
    REFERENCING OLD TABLE AS old_clusters NEW TABLE AS new_clusters
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_clusters();
CREATE OR REPLACE TRIGGER count_deleted AFTER DELETE ON sightloop.clusters
    REFERENCING OLD TABLE AS old_clusters
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_clusters();

CREATE OR REPLACE TRIGGER count_inserted AFTER INSERT ON sightloop.labels
    REFERENCING NEW TABLE AS new_labels
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_labels();
CREATE OR REPLACE TRIGGER count_updated AFTER UPDATE ON sightloop.labels
    REFERENCING OLD TABLE AS old_labels NEW TABLE AS new_labels
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_labels();
CREATE OR REPLACE TRIGGER count_deleted AFTER DELETE ON sightloop.labels
    REFERENCING OLD TABLE AS old_labels
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_labels();

-- Triggers fire in the order of their names: those of 0005 (begin_terms, change_terms) come first.
CREATE OR REPLACE TRIGGER count_inserted AFTER INSERT ON sightloop.samples
    REFERENCING NEW TABLE AS new_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_samples();
CREATE OR REPLACE TRIGGER count_updated AFTER UPDATE ON sightloop.samples
    REFERENCING OLD TABLE AS old_samples NEW TABLE AS new_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_samples();
CREATE OR REPLACE TRIGGER count_deleted AFTER DELETE ON sightloop.samples
    REFERENCING OLD TABLE AS old_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_samples();
CREATE OR REPLACE TRIGGER gather_inserted AFTER INSERT ON sightloop.samples
    REFERENCING NEW TABLE AS new_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.gather_clusters();
CREATE OR REPLACE TRIGGER gather_updated AFTER UPDATE ON sightloop.samples
    REFERENCING OLD TABLE AS old_samples NEW TABLE AS new_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.gather_clusters();
CREATE OR REPLACE TRIGGER leave_deleted AFTER DELETE ON sightloop.samples
    REFERENCING OLD TABLE AS old_samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.leave_clusters();
CREATE OR REPLACE TRIGGER count_truncated AFTER TRUNCATE ON sightloop.samples
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_no_samples();

-- What was there before is counted once.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM sightloop.dataset_counts) THEN
        PERFORM sightloop.change_dataset(array_agg(
            ROW(s.sample_id, s.model, s.side, s.width, s.height, s.label_id, 1)
            ::sightloop.dataset_change))
        FROM sightloop.samples s WHERE s.label_id IS NOT NULL GROUP BY s.model ORDER BY s.model;
        PERFORM sightloop.add_counts(array_agg(
            ROW(s.model, s.side, f.fact, f.key, 1)::sightloop.dataset_count))
        FROM sightloop.labels l JOIN sightloop.samples s USING (sample_id)
        CROSS JOIN LATERAL (VALUES ('labels', l.origin), ('withdrawn', l.withdrawn_why))
            AS f (fact, key)
        WHERE f.key IS NOT NULL;
        PERFORM sightloop.join_cluster(s.model, sightloop.cluster_names_of(
            s.sha256, s.joins, s.groups))
        FROM (SELECT * FROM sightloop.samples WHERE joins <> '{}' OR groups <> '{}'
              ORDER BY model, sample_id) s;
    END IF;
END
$$;
