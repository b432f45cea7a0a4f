"""Models that were asked for and have no version yet: their names and classes, before any image.

The row is the truth, and `pending_models/<name>/model.yaml` is written before the row can be seen.
Whoever dies in between leaves a file that the next one who asks for the name writes over.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.catalog.catalog import Catalog
from chalicelib.catalog.model import NAME_PATTERN, ModelFile, pending_key
from chalicelib.catalog.visibility import Visibility
from chalicelib.database import Database
from chalicelib.errors import Conflict, InvalidLabel, ModelNotFound
from chalicelib.storage import ObjectStore

MOST_CLASSES = 1_000
LONGEST_CLASS = 100
MOST_A_USER = 20

COLUMNS = "name, class_names, created_at, requested_by, visibility"
FIND = f"SELECT {COLUMNS}, live_version FROM models WHERE name = %s"
LIST = f"SELECT {COLUMNS} FROM models WHERE live_version IS NULL ORDER BY name"
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('pending models of ' || %s, 0))"
COUNT = "SELECT 1 FROM models WHERE requested_by = %s AND live_version IS NULL OFFSET %s - 1"
INSERT = """
INSERT INTO models (name, class_names, requested_by, visibility) VALUES (%s, %s, %s, %s)
ON CONFLICT (name) DO NOTHING RETURNING created_at
"""


@dataclass(frozen=True)
class PendingModel:
    """A model that has no version yet.

    Attributes
    ----------
    name : str
    class_names : tuple[str, ...]
        By class id.
    requested_at : datetime
    requested_by : str or None
        Not for others to see.
    visibility : Visibility
        Who may be shown the photos of its contributors.
    """

    name: str
    class_names: tuple[str, ...]
    requested_at: datetime
    requested_by: str | None
    visibility: Visibility = Visibility.PRIVATE


class PendingModels:
    """Takes requests for new models and tells which there are.

    Parameters
    ----------
    database : Database
    store : ObjectStore
    catalog : Catalog
        Whose names are taken.
    """

    def __init__(self, database: Database, store: ObjectStore, catalog: Catalog) -> None:
        self._database = database
        self._store = store
        self._catalog = catalog

    def ask(
        self,
        name: str,
        class_names: Sequence[str],
        user: str,
        visibility: Visibility = Visibility.PRIVATE,
    ) -> tuple[PendingModel, bool]:
        """Ask for a model; the same request of the same user again changes nothing.

        Parameters
        ----------
        name : str
            As ``ModelName`` allows.
        class_names : Sequence[str]
            As ``cleaned`` returns them.
        user : str
        visibility : Visibility, optional
            Who may be shown its photos. Of a request that is there already it is not compared:
            operators may have changed it.

        Returns
        -------
        tuple[PendingModel, bool]
            The model, and whether it was made just now.

        Raises
        ------
        Conflict
            The name is taken, or the user has asked for too many.
        DatabaseUnavailable, StorageUnavailable
        """
        self._refuse_what_serves(name)
        fields = {"name": name, "names": class_names, "nc": len(class_names)}
        file = ModelFile.model_validate({**fields, "visibility": visibility})
        with self._database.transaction() as rows:
            rows.execute(ONE_AT_A_TIME, (user,))
            if held := _held(rows, name):
                return _same(held, file, user), False
            rows.execute(COUNT, (user, MOST_A_USER))
            if rows.fetchone():
                raise Conflict(f"{MOST_A_USER} models that you asked for wait: fill one first")
            rows.execute(INSERT, (name, list(file.names), user, visibility))
            if (made := rows.fetchone()) is None:  # somebody else was quicker
                raise _taken(name)
            self._store.put(pending_key(name), file.to_yaml(), "application/yaml")
        return PendingModel(name, file.names, made[0], user, visibility), True

    def all(self) -> list[PendingModel]:
        """Return all models that have no version yet, by name.

        Raises
        ------
        DatabaseUnavailable
        """
        with self._database.transaction() as rows:
            rows.execute(LIST)
            return [_model(row) for row in rows.fetchall()]

    def get(self, name: str) -> PendingModel:
        """Return one model.

        Raises
        ------
        ModelNotFound
            Nobody asked for it, or it has a version by now.
        DatabaseUnavailable
        """
        row = self._row(name) if re.fullmatch(NAME_PATTERN, name) else None
        if row is None:
            raise ModelNotFound(f"nobody asked for a model {name!r}: see GET /v1/pending-models")
        if row[-1] is not None:
            raise ModelNotFound(f"the model {name!r} serves by now: see GET /v1/models/{name}")
        return _model(row[:-1])

    def class_names(self, name: str) -> tuple[str, ...]:
        """Return the classes of a model, whether it serves or is pending.

        Raises
        ------
        ModelNotFound
            There is no such model.
        """
        try:
            return self._catalog.get(name).names
        except ModelNotFound:
            return self.get(name).class_names

    def _row(self, name: str) -> tuple[Any, ...] | None:
        with self._database.transaction() as rows:
            return _held(rows, name)

    def _refuse_what_serves(self, name: str) -> None:
        """Refuse the name of a model that is in the store, with a row or without."""
        try:
            self._catalog.get(name)
        except ModelNotFound:
            return
        raise _taken(name)


def cleaned(class_names: str | Sequence[str]) -> tuple[str, ...]:
    r"""Return classes as they are to be stored: trimmed, in one spelling.

    Parameters
    ----------
    class_names : str or Sequence[str]
        One a line, of which empty ones are passed over; or a list, in which none may be empty.

    Raises
    ------
    InvalidLabel
        There are none or too many, or one is empty, too long, cannot be printed or is there twice.

    >>> cleaned(" scratch \n\ndent\n")
    ('scratch', 'dent')
    """
    listed = class_names
    if isinstance(class_names, str):
        listed = [line for line in class_names.splitlines() if line.strip()]
    names = tuple(unicodedata.normalize("NFC", name).strip() for name in listed)
    if not 0 < len(names) <= MOST_CLASSES:
        raise InvalidLabel(f"name between 1 and {MOST_CLASSES} classes, not {len(names)}")
    for number, name in enumerate(names, 1):
        if reason := _class_fault(name, names[: number - 1]):
            raise InvalidLabel(f"class {number} {reason}")
    return names


def _class_fault(name: str, before: Sequence[str]) -> str:
    """Return what is wrong with a class, empty if nothing is."""
    if not name:
        return "is empty"
    if len(name) > LONGEST_CLASS:
        return f"has {len(name)} characters: at most {LONGEST_CLASS} are taken"
    if not name.isprintable():
        return "has a character that cannot be printed"
    return f"is {name!r} again" if name in before else ""


def _held(rows: Any, name: str) -> tuple[Any, ...] | None:
    rows.execute(FIND, (name,))
    found: tuple[Any, ...] | None = rows.fetchone()
    return found


def _same(held: tuple[Any, ...], file: ModelFile, user: str) -> PendingModel:
    """Return what is there, if it is what the same user asks for again."""
    *row, live_version = held
    model = _model(row)
    if live_version is None and (model.class_names, model.requested_by) == (file.names, user):
        return model
    raise _taken(file.name)


def _model(row: Sequence[Any]) -> PendingModel:
    name, class_names, created_at, requested_by, visibility = row
    return PendingModel(
        name, tuple(class_names), created_at, requested_by, Visibility.parse(visibility)
    )


def _taken(name: str) -> Conflict:
    return Conflict(f"the name {name!r} is taken: choose another")
