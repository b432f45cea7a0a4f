-- As 0011: the images that a statement brings are looked up in cluster_names one by one. A join with them
-- was planned as a scan of all of them for each name.

CREATE OR REPLACE FUNCTION sightloop.gather_clusters()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    joining record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- Those that an earlier one joined before they were there.
        UPDATE sightloop.clusters c SET train = c.train + n.train, valid = c.valid + n.valid
        FROM (SELECT k.cluster_id, count(*) FILTER (WHERE k.side = 'train') AS train,
                     count(*) FILTER (WHERE k.side = 'valid') AS valid
              FROM (SELECT s.side, (SELECT c.cluster_id FROM sightloop.cluster_names c
                                    WHERE c.model = s.model AND c.name = s.sha256) AS cluster_id
                    FROM new_samples s) k
              WHERE k.cluster_id IS NOT NULL
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
