-- What somebody sent before control tasks or others' answers made them distrusted, and nobody has
-- looked at, waits for a person too: its label is taken back, its request is quarantined again.

ALTER TABLE sightloop.labels DROP CONSTRAINT IF EXISTS labels_withdrawn_why_is_known;
ALTER TABLE sightloop.labels ADD CONSTRAINT labels_withdrawn_why_is_known
    CHECK (withdrawn_why IN ('doubted', 'banned', 'replaced', 'rejected'));

COMMENT ON COLUMN sightloop.labels.withdrawn_why IS
    'doubted: its author is distrusted, an operator decides; banned: comes back when the ban is lifted; replaced: sent anew; rejected: by an operator';
