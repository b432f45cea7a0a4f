"""Dataset versions: a dataset as it was at one moment, written down under its own sha256."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.database import Database
from chalicelib.errors import DatasetVersionNotFound, ObjectNotFound
from chalicelib.labels.keys import manifest_key
from chalicelib.labels.manifest import Entry, Summary, write
from chalicelib.storage import ObjectStore

MEDIA_TYPE = "application/gzip"
IN_MEMORY = 8 * 1024 * 1024
ROWS_AT_ONCE = 5_000
LINK_SECONDS = 900

SIZE = """
SELECT coalesce(sum(n), 0)::bigint FROM dataset_counts WHERE model = %(model)s AND fact = 'images'
"""
ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
REVISION = "SELECT revision FROM datasets WHERE model = %(model)s"
IMAGES = """
SELECT s.sha256, s.extension, s.side, s.width, s.height, l.yolo, l.label_id,
       s.side = 'valid' AND coalesce(c.train, 0) > 0
FROM samples s JOIN labels l ON l.label_id = s.label_id
LEFT JOIN cluster_names k ON k.model = s.model AND k.name = s.sha256
LEFT JOIN clusters c ON c.cluster_id = k.cluster_id
WHERE s.model = %(model)s ORDER BY s.sha256
"""
COLUMNS = """
model, sha256, revision, train, valid, leaking, boxes, bytes, created_by, created_at
FROM dataset_versions
"""
ADD = """
INSERT INTO dataset_versions
    (model, sha256, revision, train, valid, leaking, boxes, bytes, created_by)
VALUES (%(model)s, %(sha256)s, %(revision)s, %(train)s, %(valid)s, %(leaking)s, %(boxes)s,
        %(bytes)s, %(by)s)
ON CONFLICT DO NOTHING RETURNING true
"""
ONE = f"SELECT {COLUMNS} WHERE model = %(model)s AND sha256 = %(sha256)s"
ALL = f"""SELECT {COLUMNS} WHERE model = %(model)s
ORDER BY created_at DESC, sha256 LIMIT %(limit)s"""


@dataclass(frozen=True)
class DatasetVersion:
    """A dataset as it was at one moment.

    Attributes
    ----------
    model, sha256 : str
        Its name: of the manifest, unpacked.
    revision : int
        Of the dataset when it was first written down.
    train, valid, leaking : int
        Images; those of valid not to be measured on.
    boxes, bytes : int
        Of all images; of the manifest, unpacked.
    created_by : str
    created_at : datetime
    """

    model: str
    sha256: str
    revision: int
    train: int
    valid: int
    leaking: int
    boxes: int
    bytes: int
    created_by: str
    created_at: datetime

    @property
    def key(self) -> str:
        """Where the manifest is in the store bucket."""
        return manifest_key(self.model, self.sha256)


class DatasetVersions:
    """Writes datasets down, and tells which were.

    Parameters
    ----------
    database : Database
    store : ObjectStore
    """

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._database = database
        self._store = store

    def cut(self, model: str, class_names: Sequence[str], by: str) -> tuple[DatasetVersion, bool]:
        """Write down a dataset as it is at this moment, without holding up who changes it.

        It may be done twice or break off anywhere: the row is written when the file is there.

        Parameters
        ----------
        class_names : Sequence[str]
            By class id.
        by : str
            Who wants it.

        Returns
        -------
        tuple[DatasetVersion, bool]
            The version, and whether there was none of the same content before.

        Raises
        ------
        DatabaseUnavailable, StorageUnavailable
        """
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            revision, written = self._write(model, class_names, file)
            self._keep(manifest_key(model, written.sha256), file)
        given = {**vars(written), "model": model, "revision": revision, "by": by}
        with self._database.transaction() as rows:
            rows.execute(ADD, given)
            is_new = rows.fetchone() is not None
            rows.execute(ONE, given)
            return DatasetVersion(*rows.fetchall()[0]), is_new

    def revision(self, model: str) -> int:
        """Return the revision of a dataset's last change; 0: there was none.

        Raises
        ------
        DatabaseUnavailable
        """
        found = self._all(REVISION, model=model)
        return int(found[0][0]) if found else 0

    def images(self, model: str) -> int:
        """Return how many images a version would have if it were cut now."""
        [(count,)] = self._all(SIZE, model=model)
        return int(count)

    def one(self, model: str, sha256: str) -> DatasetVersion:
        """Return one version.

        Raises
        ------
        DatasetVersionNotFound
        DatabaseUnavailable
        """
        found = self._all(ONE, model=model, sha256=sha256)
        if not found:
            raise DatasetVersionNotFound(f"no version of the dataset of {model!r} is {sha256}")
        return DatasetVersion(*found[0])

    def newest(self, model: str, limit: int) -> list[DatasetVersion]:
        """Return versions, newest first."""
        return [DatasetVersion(*row) for row in self._all(ALL, model=model, limit=limit)]

    def link(self, version: DatasetVersion) -> str:
        """Return a link that reads the manifest for a quarter of an hour."""
        name = f"{version.model}-{version.sha256[:12]}.jsonl.gz"
        return self._store.presigned_get(version.key, LINK_SECONDS, name)

    def _write(self, model: str, class_names: Sequence[str], file: Any) -> tuple[int, Summary]:
        """Write a manifest of one moment; a revision of a model is seen whole or not at all."""
        with self._database.transaction() as rows:
            rows.execute(ONE_MOMENT)
            rows.execute(REVISION, {"model": model})
            [revision] = rows.fetchone() or [0]
            with closing(rows.connection.cursor("manifest")) as images:
                images.itersize = ROWS_AT_ONCE
                images.execute(IMAGES, {"model": model})
                return revision, write(file, model, class_names, _entries(images))

    def _keep(self, key: str, file: Any) -> None:
        """Store a manifest unless it is there: under one name there is only one content."""
        try:
            self._store.size(key)
        except ObjectNotFound:
            file.seek(0)
            self._store.put_file(key, file, MEDIA_TYPE)

    def _all(self, query: str, **given: object) -> list[tuple[Any, ...]]:
        with self._database.transaction() as rows:
            rows.execute(query, given)
            return list(rows.fetchall())


def _entries(rows: Iterator[tuple[Any, ...]]) -> Iterator[Entry]:
    for row in rows:
        yield Entry(*row)
