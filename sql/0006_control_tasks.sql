-- Images that we hand out ourselves: control tasks, whose boxes are settled, and second opinions. How
-- their answers agree with what is settled, and with one another, says how far a contributor is to be
-- trusted.
--
-- Locks are taken after those of 0002 and 0005, in this order: control_standings, tasks,
-- control_answers, agreements.

-- Which image a submission is about, to find what others said of the same one.
ALTER TABLE sightloop.requests ADD COLUMN IF NOT EXISTS image_sha256 text
    GENERATED ALWAYS AS (detail -> 'image' ->> 'sha256') STORED;

COMMENT ON COLUMN sightloop.requests.image_sha256 IS 'Of the image, as detail says';

CREATE INDEX IF NOT EXISTS requests_by_image
    ON sightloop.requests (image_sha256, model) WHERE image_sha256 IS NOT NULL;
CREATE INDEX IF NOT EXISTS requests_to_review_by_model
    ON sightloop.requests (model, request_id) WHERE state = 'quarantined' AND reviewed_at IS NULL;
CREATE INDEX IF NOT EXISTS requests_settled
    ON sightloop.requests (model, request_id) WHERE state = 'accepted' AND reviewed_at IS NOT NULL;

-- The lists of contributors, page by page.
CREATE INDEX IF NOT EXISTS users_by_suspicious
    ON sightloop.users (suspicious_requests, user_address);
CREATE INDEX IF NOT EXISTS users_by_accesses ON sightloop.users (num_accesses, user_address);
CREATE INDEX IF NOT EXISTS users_by_mean_score
    ON sightloop.users ((total_score / greatest(num_accesses, 1)), user_address);

CREATE TABLE IF NOT EXISTS sightloop.tasks (
    prediction_id uuid PRIMARY KEY,
    user_address  text COLLATE "C" NOT NULL,
    model         text COLLATE "C" NOT NULL,
    image_sha256  text COLLATE "C" NOT NULL,
    kind          text NOT NULL,
    label_id      bigint,
    boxes         jsonb,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    answered_at   timestamptz,
    CONSTRAINT tasks_once_an_image_and_user UNIQUE (user_address, model, image_sha256),
    CONSTRAINT tasks_kind_is_known CHECK (kind IN ('control', 'second_opinion')),
    CONSTRAINT tasks_sha256_is_one CHECK (image_sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT tasks_controls_are_graded_against_boxes CHECK ((kind = 'control') = (boxes IS NOT NULL))
);

COMMENT ON TABLE sightloop.tasks IS
    'One row an image that we asked somebody to look at; nobody is asked twice about one image';
COMMENT ON COLUMN sightloop.tasks.kind IS 'Known to operators only';
COMMENT ON COLUMN sightloop.tasks.boxes IS
    'Of a control: the settled boxes as they were when it was handed out, in pixels';
COMMENT ON COLUMN sightloop.tasks.label_id IS 'Of a control: the label that held them';

CREATE INDEX IF NOT EXISTS tasks_open
    ON sightloop.tasks (user_address, model, created_at) WHERE answered_at IS NULL;
CREATE INDEX IF NOT EXISTS tasks_by_image ON sightloop.tasks (image_sha256, model);

CREATE TABLE IF NOT EXISTS sightloop.control_answers (
    prediction_id uuid PRIMARY KEY REFERENCES sightloop.tasks (prediction_id),
    user_address  text COLLATE "C" NOT NULL,
    boxes         integer NOT NULL,
    matched       integer NOT NULL,
    overlooked    integer NOT NULL,
    misplaced     integer NOT NULL,
    mislabelled   integer NOT NULL,
    spurious      integer NOT NULL,
    accuracy      double precision NOT NULL,
    answered_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT control_answers_not_negative
        CHECK (least(matched, overlooked, misplaced, mislabelled, spurious) >= 0),
    CONSTRAINT control_answers_account_for_all_boxes
        CHECK (matched + overlooked + misplaced + mislabelled = boxes),
    CONSTRAINT control_answers_accuracy_is_a_share CHECK (accuracy BETWEEN 0 AND 1)
);

COMMENT ON TABLE sightloop.control_answers IS 'How an answer to a control task compares with it';

CREATE INDEX IF NOT EXISTS control_answers_by_user
    ON sightloop.control_answers (user_address, answered_at DESC);

CREATE TABLE IF NOT EXISTS sightloop.control_standings (
    user_address text COLLATE "C" PRIMARY KEY,
    controls     integer NOT NULL DEFAULT 0,
    accuracy     double precision
) WITH (fillfactor = 80);

COMMENT ON TABLE sightloop.control_standings IS
    'The mean accuracy of each contributor''s newest control answers; made anew with each of them';

CREATE INDEX IF NOT EXISTS control_standings_by_accuracy
    ON sightloop.control_standings (accuracy, user_address) WHERE controls > 0;

CREATE TABLE IF NOT EXISTS sightloop.agreements (
    user_address text COLLATE "C" NOT NULL,
    peer_address text COLLATE "C" NOT NULL,
    model        text COLLATE "C" NOT NULL,
    image_sha256 text COLLATE "C" NOT NULL,
    matched      integer NOT NULL,
    total        integer NOT NULL,
    compared_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (image_sha256, model, user_address, peer_address),
    CONSTRAINT agreements_are_of_two CHECK (user_address <> peer_address),
    CONSTRAINT agreements_are_a_share CHECK (matched >= 0 AND total >= matched AND total > 0)
);

COMMENT ON TABLE sightloop.agreements IS
    'How many boxes two contributors have in common on one image, of how many they have together; '
    'one row from each one''s side. At least one of the two was asked by us';

CREATE INDEX IF NOT EXISTS agreements_by_user
    ON sightloop.agreements (user_address, compared_at DESC);
