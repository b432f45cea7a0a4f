-- dataset_counts (0008) counts images by side too: one counter is enough, and each change pays for one.

DROP TRIGGER IF EXISTS count_new ON sightloop.samples;
DROP TRIGGER IF EXISTS count_changed ON sightloop.samples;
DROP TRIGGER IF EXISTS count_removed ON sightloop.samples;
DROP FUNCTION IF EXISTS sightloop.count_new_images();
DROP FUNCTION IF EXISTS sightloop.count_changed_images();
DROP FUNCTION IF EXISTS sightloop.count_removed_images();
DROP TABLE IF EXISTS sightloop.dataset_sizes;
