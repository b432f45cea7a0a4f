"""Reading and changing who may be shown a model's photos, over the ETag of `model.yaml`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from chalicelib.catalog.catalog import Catalog
from chalicelib.catalog.model import NAME_PATTERN, ModelFile, model_key, pending_key
from chalicelib.catalog.visibility import Visibility
from chalicelib.errors import Conflict, ModelNotFound, ObjectNotFound
from chalicelib.observability import logger
from chalicelib.storage import ObjectStore

if TYPE_CHECKING:
    from chalicelib.database import Database

PENDING = "SELECT visibility FROM models WHERE name = %s AND live_version IS NULL"
FOLLOW = "UPDATE models SET visibility = %s WHERE name = %s"
HISTORY = """
INSERT INTO model_visibilities (model, at, visibility, by) VALUES (%s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True)
class VisibilityChange:
    """The visibility of a model, and who set it when; nobody where it was never changed."""

    model: str
    visibility: Visibility
    changed_at: datetime | None
    changed_by: str | None


class VisibilitySetting:
    """The visibility of every model, live and pending.

    Parameters
    ----------
    store : ObjectStore
    catalog : Catalog
    database : callable
        Returns the database, or None where none is attached.
    now : callable, optional
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        database: Callable[[], Database | None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._database = database
        self._now = now

    def of(self, model: str) -> Visibility:
        """Return a model's visibility, as old as the catalog's cache at most.

        A model that is neither live nor pending is private.

        Raises
        ------
        ModelUnavailable, StorageUnavailable, DatabaseUnavailable
            It cannot be read, and was not known before.
        """
        try:
            return self._catalog.get(model).visibility
        except ModelNotFound:
            return self._of_pending(model)

    def change(
        self, model: str, visibility: Visibility, by: str, previous: Visibility | None = None
    ) -> VisibilityChange:
        """Set a model's visibility; the same again changes nothing.

        Parameters
        ----------
        by : str
            Who sets it, as ``caller`` names an operator.
        previous : Visibility, optional
            What the operator saw: another one is a conflict.

        Raises
        ------
        ModelNotFound
        Conflict
            It was changed since the operator looked.
        InvalidModel, StorageUnavailable, DatabaseUnavailable
        """
        while True:
            key, file, etag = self._read(model)
            self._record(file)  # a change whose row was lost when its process died
            if file.visibility is visibility:
                return _change_of(file)
            if previous not in (None, file.visibility):
                raise Conflict(f"the visibility of {model!r} is {file.visibility} by now")
            fields = {
                "visibility": visibility,
                "visibility_changed_at": self._now(),
                "visibility_changed_by": by,
            }
            changed = file.model_copy(update=fields)
            try:
                self._store.put_over(key, changed.to_yaml(), "application/yaml", etag=etag)
            except Conflict:  # somebody else wrote the file: compare with what is there now
                continue
            self._catalog.forget(model)
            self._record(changed)
            logger.info("visibility changed", model=model, visibility=visibility, by=by)
            return _change_of(changed)

    def _read(self, model: str) -> tuple[str, ModelFile, str]:
        """Return the key, content and ETag of the file that holds the setting."""
        if not re.fullmatch(NAME_PATTERN, model):
            raise _not_found(model)
        self._catalog.forget(model)
        for key in (model_key(model), pending_key(model)):
            try:
                found = self._store.get(key)
            except ObjectNotFound:
                continue
            return key, ModelFile.parse(found.body, key), found.etag
        raise _not_found(model)

    def _record(self, file: ModelFile) -> None:
        database = self._database()
        if database is None or file.visibility_changed_at is None:
            return
        with database.transaction() as rows:
            rows.execute(FOLLOW, (file.visibility, file.name))
            rows.execute(
                HISTORY,
                (
                    file.name,
                    file.visibility_changed_at,
                    file.visibility,
                    file.visibility_changed_by,
                ),
            )

    def _of_pending(self, model: str) -> Visibility:
        database = self._database()
        if database is None:
            return Visibility.PRIVATE
        with database.transaction() as rows:
            rows.execute(PENDING, (model,))
            row = rows.fetchone()
        return Visibility.parse(row[0]) if row else Visibility.PRIVATE


def _not_found(model: str) -> ModelNotFound:
    return ModelNotFound(f"there is no model {model!r}, nor was one requested")


def _change_of(file: ModelFile) -> VisibilityChange:
    return VisibilityChange(
        file.name, file.visibility, file.visibility_changed_at, file.visibility_changed_by
    )
