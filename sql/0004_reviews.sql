-- An operator's word on a submission is a decision like a ban: written down by a trigger, for good.

ALTER TABLE sightloop.decisions ADD COLUMN IF NOT EXISTS request_id bigint;
ALTER TABLE sightloop.decisions DROP CONSTRAINT IF EXISTS decisions_are_known;
ALTER TABLE sightloop.decisions ADD CONSTRAINT decisions_are_known
    CHECK (decision IN ('ban', 'lift', 'accept', 'reject'));
ALTER TABLE sightloop.decisions DROP CONSTRAINT IF EXISTS decisions_name_what_was_reviewed;
ALTER TABLE sightloop.decisions ADD CONSTRAINT decisions_name_what_was_reviewed
    CHECK ((request_id IS NOT NULL) = (decision IN ('accept', 'reject')));

COMMENT ON TABLE sightloop.decisions IS
    'Every ban, lifting, acceptance and rejection, with who and when; rows are only ever added, by triggers';
COMMENT ON COLUMN sightloop.decisions.request_id IS
    'What was accepted or rejected; no foreign key: the decision outlives the request';

CREATE INDEX IF NOT EXISTS decisions_by_request
    ON sightloop.decisions (request_id, decision_id) WHERE request_id IS NOT NULL;

ALTER TABLE sightloop.requests DROP CONSTRAINT IF EXISTS requests_review_decides;
ALTER TABLE sightloop.requests ADD CONSTRAINT requests_review_decides
    CHECK (reviewed_at IS NULL OR state <> 'quarantined');

CREATE OR REPLACE FUNCTION sightloop.write_down_reviews()
RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sightloop.decisions
        (user_address, decision, decided_by, why, decided_at, request_id)
    SELECT n.user_address, CASE n.state WHEN 'accepted' THEN 'accept' ELSE 'reject' END,
           n.reviewed_by, coalesce(current_setting('sightloop.why', true), ''), n.reviewed_at,
           n.request_id
    FROM new_requests n JOIN old_requests o USING (request_id)
    WHERE n.reviewed_at IS NOT NULL
      AND (n.reviewed_at, n.reviewed_by, n.state)
          IS DISTINCT FROM (o.reviewed_at, o.reviewed_by, o.state)
    ORDER BY n.request_id;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER write_down_reviewed AFTER UPDATE ON sightloop.requests
    REFERENCING OLD TABLE AS old_requests NEW TABLE AS new_requests
    FOR EACH STATEMENT EXECUTE FUNCTION sightloop.write_down_reviews();

-- Only bans are announced.
DROP TRIGGER IF EXISTS announce ON sightloop.decisions;
CREATE CONSTRAINT TRIGGER announce AFTER INSERT ON sightloop.decisions
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.decision IN ('ban', 'lift'))
    EXECUTE FUNCTION sightloop.announce_decisions();
