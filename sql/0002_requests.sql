-- Who corrects our boxes, what they sent, and who may not any more (DESIGN: trust).
--
-- Locks are taken in this order, by the triggers of 0003 as by everybody else: requests, users,
-- bans, decisions. Who holds a row further down touches nothing further up in that transaction.

CREATE TABLE IF NOT EXISTS sightloop.users (
    user_address        text COLLATE "C" PRIMARY KEY,
    num_accesses        bigint NOT NULL DEFAULT 0,
    total_score         numeric NOT NULL DEFAULT 0,
    suspicious_requests bigint NOT NULL DEFAULT 0,
    forgiven_requests   bigint NOT NULL DEFAULT 0,
    first_seen_at       timestamptz NOT NULL DEFAULT now(),
    last_seen_at        timestamptz NOT NULL DEFAULT now(),
    -- A line of the report list holds the address, so no blank and no control character is in it.
    CONSTRAINT users_address_is_one_word CHECK (user_address ~ '^[^\s[:cntrl:]]{1,255}$'),
    CONSTRAINT users_accesses_not_negative CHECK (num_accesses >= 0),
    CONSTRAINT users_score_not_negative CHECK (total_score >= 0),
    CONSTRAINT users_suspicious_are_accesses
        CHECK (suspicious_requests BETWEEN 0 AND num_accesses),
    CONSTRAINT users_forgiven_are_suspicious
        CHECK (forgiven_requests BETWEEN 0 AND suspicious_requests)
) WITH (fillfactor = 80);

COMMENT ON TABLE sightloop.users IS
    'One row a contributor; the counters are kept by triggers and equal a recount of requests';
COMMENT ON COLUMN sightloop.users.user_address IS
    'Subject of a verified token, else the source address that API Gateway saw';
COMMENT ON COLUMN sightloop.users.num_accesses IS 'Rows in requests';
COMMENT ON COLUMN sightloop.users.total_score IS
    'Sum of score::numeric over them; numeric, so that taking one away again leaves no rest';
COMMENT ON COLUMN sightloop.users.suspicious_requests IS 'Those of them that are suspicious';
COMMENT ON COLUMN sightloop.users.forgiven_requests IS
    'suspicious_requests when the last ban was lifted: only those above count towards the next';

CREATE INDEX IF NOT EXISTS users_most_suspicious
    ON sightloop.users (suspicious_requests DESC, user_address) WHERE suspicious_requests > 0;

CREATE TABLE IF NOT EXISTS sightloop.requests (
    request_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prediction_id   uuid NOT NULL,
    user_address    text COLLATE "C" NOT NULL,
    model           text COLLATE "C" NOT NULL,
    model_version   integer NOT NULL,
    score           double precision NOT NULL,
    predicted_boxes integer NOT NULL,
    submitted_boxes integer NOT NULL,
    suspicious      boolean NOT NULL
        GENERATED ALWAYS AS (score > 0.7 AND predicted_boxes > 0) STORED,
    state           text NOT NULL,
    detail          jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    reviewed_at     timestamptz,
    reviewed_by     text,
    CONSTRAINT requests_once_a_prediction_and_user UNIQUE (prediction_id, user_address),
    -- The trigger makes the user's row after the statement; at the end of the transaction it counts.
    CONSTRAINT requests_user FOREIGN KEY (user_address)
        REFERENCES sightloop.users (user_address) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT requests_model_name CHECK (model ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    CONSTRAINT requests_version_counts_from_one CHECK (model_version > 0),
    CONSTRAINT requests_score_is_a_probability CHECK (score >= 0 AND score <= 1),
    CONSTRAINT requests_boxes_not_negative CHECK (predicted_boxes >= 0 AND submitted_boxes >= 0),
    CONSTRAINT requests_state_is_known CHECK (state IN ('accepted', 'quarantined', 'rejected')),
    CONSTRAINT requests_detail_is_an_object CHECK (jsonb_typeof(detail) = 'object'),
    CONSTRAINT requests_review_is_signed CHECK ((reviewed_at IS NULL) = (reviewed_by IS NULL)),
    CONSTRAINT requests_only_people_reject CHECK (state <> 'rejected' OR reviewed_at IS NOT NULL)
);

COMMENT ON TABLE sightloop.requests IS
    'One row a submission: corrected or confirmed boxes for one prediction by one user';
COMMENT ON COLUMN sightloop.requests.model IS
    'No foreign key: which models exist is told by model.yaml in the store bucket';
COMMENT ON COLUMN sightloop.requests.model_version IS 'The version that predicted';
COMMENT ON COLUMN sightloop.requests.score IS 'How likely it is malicious, 0 to 1';
COMMENT ON COLUMN sightloop.requests.predicted_boxes IS
    'How many the prediction had; with none, the submission counts towards no ban';
COMMENT ON COLUMN sightloop.requests.suspicious IS 'It counts towards a ban';
COMMENT ON COLUMN sightloop.requests.state IS
    'What becomes of it: accepted into the dataset, quarantined until reviewed, or rejected';
COMMENT ON COLUMN sightloop.requests.detail IS
    'What a reviewer looks at: the boxes of both sides and the parts of the score';
COMMENT ON COLUMN sightloop.requests.updated_at IS 'When it was last sent with other content';
COMMENT ON COLUMN sightloop.requests.reviewed_by IS 'The operator who accepted or rejected it';

CREATE INDEX IF NOT EXISTS requests_by_user
    ON sightloop.requests (user_address, request_id DESC);
CREATE INDEX IF NOT EXISTS requests_to_review
    ON sightloop.requests (request_id) WHERE state = 'quarantined' AND reviewed_at IS NULL;

CREATE TABLE IF NOT EXISTS sightloop.bans (
    user_address text COLLATE "C" PRIMARY KEY REFERENCES sightloop.users (user_address),
    reported_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    reported_by  text NOT NULL,
    why          text NOT NULL,
    CONSTRAINT bans_are_signed CHECK (btrim(reported_by) <> ''),
    CONSTRAINT bans_have_a_reason CHECK (btrim(why) <> '')
);

COMMENT ON TABLE sightloop.bans IS
    'The bans in force; trust/report_list.txt is written from them. Lifting one deletes its row';
COMMENT ON COLUMN sightloop.bans.reported_by IS
    'The operator, or "sightloop" where the eleventh suspicious request did it';

CREATE TABLE IF NOT EXISTS sightloop.decisions (
    decision_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_address text COLLATE "C" NOT NULL REFERENCES sightloop.users (user_address),
    decision     text NOT NULL,
    decided_by   text NOT NULL,
    why          text NOT NULL,
    decided_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT decisions_are_known CHECK (decision IN ('ban', 'lift'))
);

COMMENT ON TABLE sightloop.decisions IS
    'Every ban and every lifting of one, with who and when; rows are only ever added, by triggers';

CREATE INDEX IF NOT EXISTS decisions_by_user
    ON sightloop.decisions (user_address, decision_id);
