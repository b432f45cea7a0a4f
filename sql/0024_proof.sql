-- What somebody sends who has not proven themselves waits, and says for what: until its sender is
-- established ("proof"), until people agree ("opinions"), or for an operator. What people agree on is
-- decided by "sightloop", as a ban is that follows from counters.

ALTER TABLE sightloop.requests ADD COLUMN IF NOT EXISTS waits_for text;
ALTER TABLE sightloop.requests ADD COLUMN IF NOT EXISTS audit boolean NOT NULL DEFAULT false;
ALTER TABLE sightloop.requests DROP CONSTRAINT IF EXISTS requests_wait_for_something_known;
ALTER TABLE sightloop.requests ADD CONSTRAINT requests_wait_for_something_known
    CHECK (waits_for IN ('proof', 'opinions', 'operator'));

COMMENT ON COLUMN sightloop.requests.waits_for IS
    'While it is quarantined: proof, opinions or operator; null: an operator, as before 0024';
COMMENT ON COLUMN sightloop.requests.audit IS
    'Drawn at random when it was accepted: other members are asked about its image';
COMMENT ON COLUMN sightloop.requests.reviewed_by IS
    'The operator who accepted or rejected it; "sightloop": people agreed';

-- A contributor's newest decided answers: their audits, won and lost.
CREATE INDEX IF NOT EXISTS requests_decided
    ON sightloop.requests (user_address, reviewed_at DESC) INCLUDE (state)
    WHERE reviewed_at IS NOT NULL;
-- What is released when its sender is established.
CREATE INDEX IF NOT EXISTS requests_unproven
    ON sightloop.requests (user_address, request_id)
    WHERE state = 'quarantined' AND reviewed_at IS NULL AND waits_for = 'proof';
-- What was accepted at once and is to be audited.
CREATE INDEX IF NOT EXISTS requests_to_audit
    ON sightloop.requests (model, request_id) INCLUDE (user_address, image_sha256, prediction_id)
    WHERE audit AND state = 'accepted' AND reviewed_at IS NULL;

DROP INDEX IF EXISTS sightloop.requests_waiting;
CREATE INDEX IF NOT EXISTS requests_waiting_for
    ON sightloop.requests (model, request_id)
    INCLUDE (user_address, image_sha256, prediction_id, waits_for)
    WHERE state = 'quarantined' AND reviewed_at IS NULL;
