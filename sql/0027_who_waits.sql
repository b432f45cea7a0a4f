-- Looking for what waits: of each sender a few answers, whatever others sent, and members' before those
-- of addresses and Telegram accounts, of which anybody can have many. The condition on names is that
-- of chalicelib/trust/records.py.

DROP INDEX IF EXISTS sightloop.requests_waiting_for;
CREATE INDEX IF NOT EXISTS requests_wanting_opinions
    ON sightloop.requests (
        model,
        (user_address ~ '^user:(?!telegram-)'),
        md5(user_address), request_id)
    INCLUDE (user_address, image_sha256, prediction_id, waits_for)
    WHERE state = 'quarantined' AND reviewed_at IS NULL AND waits_for IS DISTINCT FROM 'operator';
DROP INDEX IF EXISTS sightloop.requests_to_audit;
CREATE INDEX IF NOT EXISTS requests_audited
    ON sightloop.requests (model, md5(user_address), request_id)
    INCLUDE (user_address, image_sha256, prediction_id)
    WHERE audit AND state = 'accepted' AND reviewed_at IS NULL;
CREATE INDEX IF NOT EXISTS requests_to_review_by_kind
    ON sightloop.requests (
        (user_address ~ '^user:(?!telegram-)'),
        request_id)
    INCLUDE (model, user_address, image_sha256, prediction_id, waits_for)
    WHERE state = 'quarantined' AND reviewed_at IS NULL;

-- How many images have a label that an operator made or imported: whether a model has any is asked with
-- each submission, and reading all samples took 0.2 s where a requester had imported 100,000. As in
-- 0008, with images_of_operators.
CREATE OR REPLACE FUNCTION sightloop.dataset_counts_of(changes sightloop.dataset_change[])
RETURNS sightloop.dataset_count[] LANGUAGE sql STABLE AS $$
    WITH changed AS MATERIALIZED (
        SELECT c.model, c.side, c.width, c.height, c.label_id, c.times, l.yolo, l.origin,
               (l.origin = 'operator'
                OR coalesce(starts_with(l.user_address, 'operator:'), l.origin = 'import'))
               AS of_operator
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
        SELECT model, side, 'images_of_operators', '', sum(times)
        FROM changed WHERE of_operator GROUP BY 1, 2
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

-- What was there before. Nobody may change an image until the function is in force.
LOCK TABLE sightloop.samples IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO sightloop.dataset_counts (model, side, fact, key, n)
SELECT s.model, s.side, 'images_of_operators', '', count(*)
FROM sightloop.samples s JOIN sightloop.labels l USING (label_id)
WHERE l.origin = 'operator'
   OR coalesce(starts_with(l.user_address, 'operator:'), l.origin = 'import')
GROUP BY s.model, s.side
ON CONFLICT (model, side, fact, key) DO UPDATE SET n = excluded.n;

COMMENT ON TABLE sightloop.dataset_counts IS
    'Of the images that have a label: images, empty; images_of and boxes_of a class; boxes_by_size, '
    'boxes_by_share; images_by_origin; images_of_operators, whose label an operator made or imported. '
    'Of all labels there were: labels by origin, withdrawn by why. Of all images, with a label or '
    'without: placed. Of clusters (side is empty): clusters, clustered images, leaking validation '
    'images';
