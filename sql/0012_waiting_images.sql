-- What waits for a model, to choose from without reading what was submitted.
DROP INDEX IF EXISTS sightloop.requests_to_review_by_model;
CREATE INDEX IF NOT EXISTS requests_waiting
    ON sightloop.requests (model, request_id) INCLUDE (user_address, image_sha256, prediction_id)
    WHERE state = 'quarantined' AND reviewed_at IS NULL;
