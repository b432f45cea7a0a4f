"""Who may be shown an image of a dataset: the promise of its senders, and operators' releases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from psycopg2.extras import execute_values

from chalicelib.catalog.visibility import Visibility
from chalicelib.database import Database
from chalicelib.errors import ImageNotFound

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

NARROW = """
UPDATE samples s SET visibility = v.visibility
FROM (VALUES %s) v (sample_id, visibility)
WHERE s.sample_id = v.sample_id
  AND array_position(ARRAY['private', 'members', 'public'], v.visibility)
      < array_position(ARRAY['private', 'members', 'public'], s.visibility)
"""
RELEASE = """
UPDATE samples s SET released_at = now(), released_by = v.by
FROM (VALUES %s) v (sample_id, by)
WHERE s.sample_id = v.sample_id AND s.released_at IS NULL RETURNING s.sample_id, s.released_by
"""
TAKE_BACK = """
UPDATE samples SET released_at = NULL, released_by = NULL
WHERE sample_id = ANY(%s) AND released_at IS NOT NULL RETURNING sample_id
"""
RECORD = "INSERT INTO image_releases (sample_id, released, by) VALUES %s"
OF_IMAGES = """
SELECT sha256, sample_id FROM samples WHERE model = %s AND sha256 = ANY(%s) ORDER BY sample_id
FOR NO KEY UPDATE
"""
ROWS_AT_ONCE = 1000


class Releases:
    """Releases images of datasets and takes releases back; each is recorded.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, model: str, images: Sequence[str], *, released: bool, by: str) -> int:
        """Release images as control images, or take that back; return how many changed.

        Parameters
        ----------
        images : Sequence[str]
            sha256 in hexadecimal.
        by : str
            The operator.

        Raises
        ------
        ImageNotFound
            The dataset has no such image; nothing is changed.
        DatabaseUnavailable
        """
        wanted = list(dict.fromkeys(images))
        with self._database.transaction() as rows:
            rows.execute(OF_IMAGES, (model, wanted))
            samples: dict[str, int] = dict(rows.fetchall())
            if missing := [each for each in wanted if each not in samples]:
                raise ImageNotFound(f"the dataset of {model!r} has no image {missing[0]}")
            if released:
                return release_in(rows, dict.fromkeys(samples.values(), by))
            return _take_back_in(rows, list(samples.values()), by)


def narrow_in(rows: cursor, promises: Mapping[int, Visibility]) -> None:
    """Let the narrowest promise of all who sent an image decide, in the caller's transaction.

    Parameters
    ----------
    promises : mapping
        From sample_id to the promise under which the image was sent now.
    """
    values = [(sample_id, promise.value) for sample_id, promise in sorted(promises.items())]
    if values:
        execute_values(rows, NARROW, values, page_size=ROWS_AT_ONCE)


def release_in(rows: cursor, released_by: Mapping[int, str]) -> int:
    """Release samples in the caller's transaction; return how many were not released before.

    Parameters
    ----------
    released_by : mapping
        From sample_id to the operator.
    """
    if not released_by:
        return 0
    changed = execute_values(
        rows, RELEASE, sorted(released_by.items()), page_size=ROWS_AT_ONCE, fetch=True
    )
    return _record(rows, [(sample_id, True, by) for sample_id, by in changed])


def _take_back_in(rows: cursor, samples: Sequence[int], by: str) -> int:
    rows.execute(TAKE_BACK, ([*samples],))
    return _record(rows, [(sample_id, False, by) for (sample_id,) in rows.fetchall()])


def _record(rows: cursor, changes: Sequence[tuple[int, bool, str]]) -> int:
    if changes:
        execute_values(rows, RECORD, changes, page_size=ROWS_AT_ONCE)
    return len(changes)
