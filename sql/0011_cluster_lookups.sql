-- Joining clusters looks things up one by one. What 0008 wrote as joins PostgreSQL may plan as scans of
-- whole tables, and keeps to that plan: 100,000 images came in in minutes instead of seconds.

CREATE OR REPLACE FUNCTION sightloop.join_cluster(of_model text, joined text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found bigint[];
    kept  bigint;
BEGIN
    found := ARRAY(SELECT DISTINCT k.cluster_id FROM sightloop.cluster_names k
                   WHERE k.model = of_model AND k.name = ANY (joined));
    IF cardinality(found) > 1 THEN
        found := ARRAY(SELECT c.cluster_id FROM sightloop.clusters c
                       WHERE c.cluster_id = ANY (found) ORDER BY c.names DESC, c.cluster_id);
    END IF;
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
    ), placed AS (
        SELECT (SELECT s.side FROM sightloop.samples s
                WHERE s.model = of_model AND s.sha256 = made.name) AS side
        FROM made
    )
    UPDATE sightloop.clusters c SET names = c.names + m.names, train = c.train + m.train,
                                    valid = c.valid + m.valid
    FROM (SELECT count(*) AS names, count(*) FILTER (WHERE side = 'train') AS train,
                 count(*) FILTER (WHERE side = 'valid') AS valid
          FROM placed) m
    WHERE c.cluster_id = kept AND m.names > 0;
END
$$;

CREATE INDEX IF NOT EXISTS clusters_leaking
    ON sightloop.clusters (model, cluster_id) WHERE train > 0 AND valid > 0;
