-- Which Lambda a stage's database calls. Not a setting of the database: on RDS nobody may set one of
-- ours (ALTER DATABASE … SET sightloop.… wants a superuser), and everybody may write to a table.

CREATE TABLE IF NOT EXISTS sightloop.called_functions (
    event         text COLLATE "C" PRIMARY KEY,
    function_name text NOT NULL,
    CONSTRAINT called_functions_have_a_name CHECK (btrim(function_name) <> '')
);

COMMENT ON TABLE sightloop.called_functions IS
    'Names or ARNs of the Lambdas that this database calls; written by each deployment';
COMMENT ON COLUMN sightloop.called_functions.event IS
    'What happened: "bans changed" is all there is';

-- As in 0003, but for where the name is from.
CREATE OR REPLACE FUNCTION sightloop.announce_decisions()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told constant text := jsonb_build_object('decision_id', NEW.decision_id)::text;
    lambda constant text := coalesce(
        nullif(current_setting('sightloop.update_reported_list', true), ''),
        (SELECT f.function_name FROM sightloop.called_functions f WHERE f.event = 'bans changed'),
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
