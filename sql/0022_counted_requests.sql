-- What was suspicious stays counted, whatever its contributor sends afterwards or deletes. Only an
-- operator takes it back, by accepting the suspicious answer or by lifting a ban.
--
-- A request is one row a prediction and user, and a later answer replaces an earlier one. The row
-- now remembers what was replaced.

ALTER TABLE sightloop.requests
    ADD COLUMN IF NOT EXISTS replaced_suspicious boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS replaced_score double precision;
ALTER TABLE sightloop.requests
    ADD COLUMN IF NOT EXISTS counted boolean NOT NULL
        GENERATED ALWAYS AS (replaced_suspicious OR (
            score > 0.7 AND predicted_boxes > 0
            AND NOT (state = 'accepted' AND reviewed_at IS NOT NULL))) STORED;

COMMENT ON COLUMN sightloop.requests.suspicious IS 'The newest answer is over the threshold';
COMMENT ON COLUMN sightloop.requests.replaced_suspicious IS
    'An answer that was replaced counts towards a ban';
COMMENT ON COLUMN sightloop.requests.replaced_score IS
    'The highest score of the answers that were replaced; null: none was';
COMMENT ON COLUMN sightloop.requests.counted IS
    'It counts towards a ban: an answer was suspicious and no operator accepted that answer';

ALTER TABLE sightloop.users
    ADD COLUMN IF NOT EXISTS deleted_requests bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS deleted_score numeric NOT NULL DEFAULT 0;

COMMENT ON TABLE sightloop.users IS
    'One row a contributor; the counters are kept by triggers and equal a recount of requests, plus deleted_requests';
COMMENT ON COLUMN sightloop.users.num_accesses IS 'Rows in requests, plus deleted_requests';
COMMENT ON COLUMN sightloop.users.total_score IS
    'Sum of greatest(score, replaced_score)::numeric over them, plus deleted_score';
COMMENT ON COLUMN sightloop.users.suspicious_requests IS
    'Those of them that are counted, plus deleted_requests';
COMMENT ON COLUMN sightloop.users.deleted_requests IS
    'Requests that were counted when they were deleted: they stay in the counters';
COMMENT ON COLUMN sightloop.users.deleted_score IS 'What these add to total_score';

-- An answer is replaced where `updated_at` changes; a review or a doubt leaves it.
CREATE OR REPLACE FUNCTION sightloop.remember_replaced_answer()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.replaced_suspicious := OLD.counted;
    NEW.replaced_score := greatest(OLD.replaced_score, OLD.score);
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER remember_replaced BEFORE UPDATE ON sightloop.requests
    FOR EACH ROW
    WHEN ((OLD.updated_at, OLD.score, OLD.predicted_boxes)
          IS DISTINCT FROM (NEW.updated_at, NEW.score, NEW.predicted_boxes))
    EXECUTE FUNCTION sightloop.remember_replaced_answer();

CREATE OR REPLACE FUNCTION sightloop.count_inserted_requests()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changes sightloop.user_change[];
BEGIN
    SELECT array_agg(ROW(c.*)::sightloop.user_change) INTO changes
    FROM (SELECT r.user_address, count(*), sum(greatest(r.score, r.replaced_score)::numeric),
                 count(*) FILTER (WHERE r.counted)
          FROM new_requests r GROUP BY r.user_address) c;
    IF changes IS NOT NULL THEN
        PERFORM sightloop.change_users(changes);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.count_updated_requests()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changes sightloop.user_change[];
BEGIN
    SELECT array_agg(ROW(c.*)::sightloop.user_change) INTO changes
    FROM (SELECT r.user_address, sum(r.times), sum(r.times * r.score), sum(r.times * r.counted)
          FROM (SELECT user_address, greatest(score, replaced_score)::numeric AS score,
                       counted::integer, 1 AS times FROM new_requests
                UNION ALL
                SELECT user_address, greatest(score, replaced_score)::numeric,
                       counted::integer, -1 FROM old_requests) r
          GROUP BY r.user_address
          HAVING sum(r.times) <> 0 OR sum(r.times * r.score) <> 0
              OR sum(r.times * r.counted) <> 0) c;
    IF changes IS NOT NULL THEN
        PERFORM sightloop.change_users(changes);
    END IF;
    RETURN NULL;
END
$$;

-- What counts stays in the counters of its user; only the rest is taken out of them.
CREATE OR REPLACE FUNCTION sightloop.count_deleted_requests()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changes sightloop.user_change[];
BEGIN
    PERFORM FROM sightloop.users u
    WHERE u.user_address IN (SELECT r.user_address FROM old_requests r)
    ORDER BY u.user_address FOR NO KEY UPDATE;

    SELECT array_agg(ROW(c.*)::sightloop.user_change) INTO changes
    FROM (SELECT r.user_address, -count(*), -sum(greatest(r.score, r.replaced_score)::numeric), 0
          FROM old_requests r WHERE NOT r.counted GROUP BY r.user_address) c;
    IF changes IS NOT NULL THEN
        PERFORM sightloop.change_users(changes);
    END IF;

    UPDATE sightloop.users u SET
        deleted_requests = u.deleted_requests + c.requests,
        deleted_score = u.deleted_score + c.score
    FROM (SELECT r.user_address, count(*) AS requests,
                 sum(greatest(r.score, r.replaced_score)::numeric) AS score
          FROM old_requests r WHERE r.counted GROUP BY r.user_address) c
    WHERE u.user_address = c.user_address;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.count_no_requests()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sightloop.users SET
        num_accesses = 0, total_score = 0, suspicious_requests = 0, forgiven_requests = 0,
        deleted_requests = 0, deleted_score = 0;
    RETURN NULL;
END
$$;

-- What operators accepted before this migration no longer counts.
WITH counts AS (
    SELECT u.user_address, u.deleted_requests + count(r) FILTER (WHERE r.counted) AS suspicious
    FROM sightloop.users u LEFT JOIN sightloop.requests r USING (user_address)
    GROUP BY u.user_address)
UPDATE sightloop.users u SET
    suspicious_requests = counts.suspicious,
    forgiven_requests = least(u.forgiven_requests, counts.suspicious)
FROM counts
WHERE counts.user_address = u.user_address AND counts.suspicious <> u.suspicious_requests;
