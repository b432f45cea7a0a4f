-- Writing a version of a large dataset down takes seconds: it is a job, as imports and exports are.

ALTER TABLE sightloop.transfers DROP CONSTRAINT IF EXISTS transfers_kind_is_known;
ALTER TABLE sightloop.transfers ADD CONSTRAINT transfers_kind_is_known
    CHECK (kind IN ('import', 'export', 'cut'));
ALTER TABLE sightloop.transfers DROP CONSTRAINT IF EXISTS transfers_state_is_known;
ALTER TABLE sightloop.transfers ADD CONSTRAINT transfers_state_is_known CHECK (
    (kind = 'import' AND state IN
        ('waiting', 'checking', 'faulty', 'placing', 'publishing', 'done', 'failed'))
    OR (kind IN ('export', 'cut') AND state IN ('queued', 'building', 'done', 'failed')));

COMMENT ON TABLE sightloop.transfers IS
    'Imports, exports, and versions of datasets that are written down (cut), and how far they are';
