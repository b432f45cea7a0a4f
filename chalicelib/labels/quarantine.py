"""Images of submissions that a person has to look at, until nobody can any more.

An image lies under its sha256, for all submissions about it. Whoever puts it there does so in the
transaction that says why, and whoever takes it away asks under the same lock: so none is taken
away that is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import batched
from typing import TYPE_CHECKING

from chalicelib.database import Database
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.storage import ObjectStore
from chalicelib.trust.looked_at import looked_at_in
from chalicelib.trust.votes import lock_image

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

PREFIX = "quarantine/"
KEY = re.compile(PREFIX + r"([0-9a-f]{64})\.jpg")
ASKED_AT_ONCE = 500
# Of images whose files are made, source_key is among these files.
TO_BE_PUT_IN = "SELECT source_key FROM samples WHERE NOT published AND source_key = ANY(%s)"


def quarantine_key(sha256: str) -> str:
    """Return where an image waits."""
    return f"{PREFIX}{sha256}.jpg"


class Quarantine:
    """Keeps images of submissions that wait.

    Parameters
    ----------
    database : Database
    store : ObjectStore
        The store bucket.
    days : int
        For how long the image of a rejected submission is kept.
    """

    def __init__(self, database: Database, store: ObjectStore, days: int) -> None:
        self._database = database
        self._store = store
        self._days = days

    def keep_in(self, rows: cursor, sha256: str, image: bytes) -> None:
        """Put an image there before anything else is done in the caller's transaction.

        Parameters
        ----------
        sha256 : str
            Of the image's bytes.
        image : bytes
            A JPEG.

        Raises
        ------
        StorageUnavailable
        """
        lock_image(rows, sha256)
        self._store.put(quarantine_key(sha256), image, "image/jpeg")

    def holds_in(self, rows: cursor, key: str) -> bool:
        """Tell whether an image is there, and stays until the caller's transaction ends.

        A key of another place is not looked for.

        Raises
        ------
        StorageUnavailable
        """
        if (named := KEY.fullmatch(key)) is None:
            return True
        lock_image(rows, named[1])
        return self._store.has(key)

    def clear(self, most: int) -> int:
        """Delete up to so many images that nobody looks at any more; return how many.

        Kept are those of submissions that wait, of those that were rejected lately, and those
        that are still to be put into a dataset.

        Raises
        ------
        DatabaseUnavailable, StorageUnavailable
        """
        cleared = 0
        for some in batched(self._waiting(), ASKED_AT_ONCE):
            with self._database.transaction() as rows:
                unwanted = self._unwanted(rows, some)
            for sha256 in unwanted[: most - cleared]:
                cleared += self._delete(sha256)
            if cleared >= most:
                break
        if cleared:
            metrics.add_metric("QuarantineCleared", MetricUnit.Count, cleared)
        return cleared

    def _waiting(self) -> Iterable[str]:
        for key in self._store.keys(PREFIX):
            if named := KEY.fullmatch(key):
                yield named[1]

    def _unwanted(self, rows: cursor, images: Sequence[str]) -> list[str]:
        """Return those that neither an operator nor a dataset needs.

        In this order: what is accepted in between is seen by the second question.
        """
        wanted = looked_at_in(rows, images, self._days)
        keys = {quarantine_key(sha256): sha256 for sha256 in images}
        rows.execute(TO_BE_PUT_IN, (list(keys),))
        wanted |= {keys[key] for (key,) in rows.fetchall()}
        return [sha256 for sha256 in images if sha256 not in wanted]

    def _delete(self, sha256: str) -> bool:
        """Delete one image, unless somebody wants it by now."""
        with self._database.transaction() as rows:
            lock_image(rows, sha256)
            if not self._unwanted(rows, [sha256]):
                return False
            self._store.delete(quarantine_key(sha256))
        logger.info("an image left the quarantine", sha256=sha256)
        return True
