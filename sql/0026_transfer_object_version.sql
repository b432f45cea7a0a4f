-- Which version of the object in the uploads bucket an import reads: a file that is sent to the same
-- key later is another version, which neither changes the import nor stays.

ALTER TABLE sightloop.transfers ADD COLUMN IF NOT EXISTS object_version text;

COMMENT ON COLUMN sightloop.transfers.object_version IS
    'S3 version id of the ZIP that arrived first; null: none has, or the bucket kept no versions';
