-- Counters, bans and their announcement. All of it is done per statement, not per row: a bulk
-- statement locks its users in the order of their addresses, so that two of them cannot deadlock.

DO $$
BEGIN
    IF to_regtype('sightloop.user_change') IS NULL THEN
        CREATE TYPE sightloop.user_change AS (
            user_address        text,
            num_accesses        bigint,
            total_score         numeric,
            suspicious_requests bigint
        );
    END IF;
END
$$;

COMMENT ON TYPE sightloop.user_change IS 'What a statement on requests adds to a user''s counters';

-- Adding to the counters. `num_accesses` of a change is negative only where rows went away, and
-- then the user is there already.
CREATE OR REPLACE FUNCTION sightloop.change_users(changes sightloop.user_change[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sightloop.users (user_address)
    SELECT c.user_address FROM unnest(changes) c WHERE c.num_accesses > 0 ORDER BY 1
    ON CONFLICT DO NOTHING;

    IF cardinality(changes) > 1 THEN
        PERFORM FROM sightloop.users u
        WHERE u.user_address IN (SELECT c.user_address FROM unnest(changes) c)
        ORDER BY u.user_address FOR NO KEY UPDATE;
    END IF;

    UPDATE sightloop.users u SET
        num_accesses = u.num_accesses + c.num_accesses,
        total_score = u.total_score + c.total_score,
        suspicious_requests = u.suspicious_requests + c.suspicious_requests,
        forgiven_requests =
            least(u.forgiven_requests, u.suspicious_requests + c.suspicious_requests),
        last_seen_at = CASE WHEN c.num_accesses < 0 THEN u.last_seen_at
                            ELSE greatest(u.last_seen_at, now()) END
    FROM unnest(changes) c
    WHERE u.user_address = c.user_address;

    -- The rows above are locked now: nobody else counts, bans or lifts for these users meanwhile.
    IF EXISTS (SELECT FROM unnest(changes) c WHERE c.suspicious_requests > 0) THEN
        INSERT INTO sightloop.bans (user_address, reported_by, why)
        SELECT u.user_address, 'sightloop',
               format('%s suspicious requests', u.suspicious_requests - u.forgiven_requests)
        FROM unnest(changes) c JOIN sightloop.users u USING (user_address)
        WHERE c.suspicious_requests > 0
          AND u.suspicious_requests - u.forgiven_requests > 10
          AND NOT EXISTS (SELECT FROM sightloop.bans b WHERE b.user_address = u.user_address)
        ORDER BY u.user_address
        ON CONFLICT DO NOTHING;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.count_inserted_requests()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changes sightloop.user_change[];
BEGIN
    SELECT array_agg(ROW(c.*)::sightloop.user_change) INTO changes
    FROM (SELECT r.user_address, count(*), sum(r.score::numeric),
                 count(*) FILTER (WHERE r.suspicious)
          FROM new_requests r GROUP BY r.user_address) c;
    IF changes IS NOT NULL THEN
        PERFORM sightloop.change_users(changes);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.count_deleted_requests()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changes sightloop.user_change[];
BEGIN
    SELECT array_agg(ROW(c.*)::sightloop.user_change) INTO changes
    FROM (SELECT r.user_address, -count(*), -sum(r.score::numeric),
                 -count(*) FILTER (WHERE r.suspicious)
          FROM old_requests r GROUP BY r.user_address) c;
    IF changes IS NOT NULL THEN
        PERFORM sightloop.change_users(changes);
    END IF;
    RETURN NULL;
END
$$;

-- An update that changes no counter, such as a review, leaves the users alone.
CREATE OR REPLACE FUNCTION sightloop.count_updated_requests()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changes sightloop.user_change[];
BEGIN
    SELECT array_agg(ROW(c.*)::sightloop.user_change) INTO changes
    FROM (SELECT r.user_address, sum(r.times), sum(r.times * r.score::numeric),
                 sum(r.times * r.suspicious::integer)
          FROM (SELECT user_address, score, suspicious, 1 AS times FROM new_requests
                UNION ALL
                SELECT user_address, score, suspicious, -1 FROM old_requests) r
          GROUP BY r.user_address
          HAVING sum(r.times) <> 0 OR sum(r.times * r.score::numeric) <> 0
              OR sum(r.times * r.suspicious::integer) <> 0) c;
    IF changes IS NOT NULL THEN
        PERFORM sightloop.change_users(changes);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.count_no_requests()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sightloop.users SET
        num_accesses = 0, total_score = 0, suspicious_requests = 0, forgiven_requests = 0;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER count_inserted AFTER INSERT ON sightloop.requests
    REFERENCING NEW TABLE AS new_requests
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_inserted_requests();
CREATE OR REPLACE TRIGGER count_updated AFTER UPDATE ON sightloop.requests
    REFERENCING OLD TABLE AS old_requests NEW TABLE AS new_requests
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_updated_requests();
CREATE OR REPLACE TRIGGER count_deleted AFTER DELETE ON sightloop.requests
    REFERENCING OLD TABLE AS old_requests
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_deleted_requests();
CREATE OR REPLACE TRIGGER count_truncated AFTER TRUNCATE ON sightloop.requests
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.count_no_requests();

-- A ban and its lifting are written down, whoever does it and however: by the Ledger, by a trigger,
-- in psql. Who lifts a ban says so in sightloop.decided_by and sightloop.why, for the transaction.
-- Lock the user's row before deleting a ban; the Ledger does.
CREATE OR REPLACE FUNCTION sightloop.write_down_bans()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sightloop.decisions (user_address, decision, decided_by, why, decided_at)
    SELECT b.user_address, 'ban', b.reported_by, b.why, b.reported_at
    FROM new_bans b ORDER BY b.user_address;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.write_down_lifted_bans()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM sightloop.users u
    WHERE u.user_address IN (SELECT b.user_address FROM old_bans b)
    ORDER BY u.user_address FOR NO KEY UPDATE;

    UPDATE sightloop.users u SET forgiven_requests = u.suspicious_requests
    FROM old_bans b WHERE b.user_address = u.user_address;

    INSERT INTO sightloop.decisions (user_address, decision, decided_by, why)
    SELECT b.user_address, 'lift',
           coalesce(nullif(current_setting('sightloop.decided_by', true), ''), session_user),
           coalesce(current_setting('sightloop.why', true), '')
    FROM old_bans b ORDER BY b.user_address;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sightloop.refuse_change()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of sightloop.% is refused: %', lower(TG_OP), TG_TABLE_NAME, TG_ARGV[0]
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE OR REPLACE TRIGGER write_down AFTER INSERT ON sightloop.bans
    REFERENCING NEW TABLE AS new_bans
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.write_down_bans();
CREATE OR REPLACE TRIGGER write_down_lifted AFTER DELETE ON sightloop.bans
    REFERENCING OLD TABLE AS old_bans
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.write_down_lifted_bans();
CREATE OR REPLACE TRIGGER never_edited BEFORE UPDATE OR TRUNCATE ON sightloop.bans
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.refuse_change('delete it and ban again');
CREATE OR REPLACE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON sightloop.decisions
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.refuse_change('what was decided stays');

-- Telling the Lambda `update_reported_list`, or whoever listens on the channel `sightloop_bans`
-- where there is no Lambda, that the bans changed. The Lambda may start before this transaction is
-- seen, so it is told a decision to look for: when it sees that one, it sees all of them. A
-- transaction tells once, at its end; one that is rolled back before tells nothing.
--
-- The Lambda's name or ARN: ALTER DATABASE … SET sightloop.update_reported_list = '…'. The
-- extension aws_lambda gives up after 1 s without a connection and 3 s without an answer.
CREATE OR REPLACE FUNCTION sightloop.announce_decisions()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told constant text := jsonb_build_object('decision_id', NEW.decision_id)::text;
    lambda constant text := coalesce(
        nullif(current_setting('sightloop.update_reported_list', true), ''),
        'update_reported_list');
BEGIN
    IF current_setting('sightloop.announced', true) = 'yes' THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('sightloop.announced', 'yes', true);  -- until the transaction ends
    PERFORM pg_notify('sightloop_bans', told);

    -- Not to_regproc('aws_lambda.invoke'): it has four signatures, and that finds only a sole one.
    IF EXISTS (SELECT FROM pg_proc p
               WHERE p.pronamespace = to_regnamespace('aws_lambda') AND p.proname = 'invoke') THEN
        BEGIN
            EXECUTE 'SELECT aws_lambda.invoke($1::text, $2::jsonb, invocation_type => ''Event'')'
            USING lambda, told;
        EXCEPTION WHEN OTHERS OR query_canceled THEN  -- a ban without its list beats no ban
            RAISE WARNING 'bans changed, but % was not told: %', lambda, SQLERRM;
        END;
    END IF;
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS announce ON sightloop.decisions;
CREATE CONSTRAINT TRIGGER announce AFTER INSERT ON sightloop.decisions
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION sightloop.announce_decisions();

COMMENT ON FUNCTION sightloop.change_users IS
    'Adds to the counters of users and bans those with an eleventh unforgiven suspicious request';
COMMENT ON FUNCTION sightloop.announce_decisions IS
    'Says at the end of a transaction that bans changed: NOTIFY, and the Lambda where there is one';
