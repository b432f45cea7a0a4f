"""Erasing the files of images that left their datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.deletion.rows import ErasedImage
from chalicelib.labels.projection import lock_files_in
from chalicelib.labels.quarantine import Quarantine

if TYPE_CHECKING:
    from chalicelib.database import Database
    from chalicelib.storage import ObjectStore

LOCK_DATASET = "SELECT lock_dataset(%s)"
IS_BACK = "SELECT EXISTS (SELECT FROM samples WHERE model = %s AND sha256 = %s)"


class ImageFiles:
    """Erases images of datasets and of the quarantine.

    Parameters
    ----------
    database : Database
    store : ObjectStore
        The store bucket.
    quarantine : Quarantine
    """

    def __init__(self, database: Database, store: ObjectStore, quarantine: Quarantine) -> None:
        self._database = database
        self._store = store
        self._quarantine = quarantine

    def erase(self, image: ErasedImage) -> None:
        """Erase an image's files, unless somebody has sent the same bytes since.

        Whoever makes the files of the image just now is waited for, and nobody adds it meanwhile.

        Raises
        ------
        DatabaseUnavailable, StorageUnavailable
        """
        with self._database.transaction() as rows:
            if image.sample_id is not None:
                lock_files_in(rows, image.sample_id)
            rows.execute(LOCK_DATASET, (image.model,))
            rows.execute(IS_BACK, (image.model, image.sha256))
            [(is_back,)] = rows.fetchall()
            for key in () if is_back else image.keys:
                if not self._quarantine.is_key(key):
                    self._store.erase(key)
        self._quarantine.erase(image.sha256)
