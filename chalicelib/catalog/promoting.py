"""Which version serves: promoting one, falling back on an earlier one, and who did that when.

`model.yaml` alone decides, and is written whole over the ETag that was read, so readers see the old
version or the new one. It says who let the version serve and why, and what served before: whoever
dies between the file and the rows leaves that for the next promotion to write down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from chalicelib.catalog.catalog import Catalog
from chalicelib.catalog.model import (
    ModelFile,
    VersionMetrics,
    model_key,
    pending_key,
    version_key,
)
from chalicelib.catalog.proof import prove
from chalicelib.database import Database, storable
from chalicelib.errors import (
    Conflict,
    InvalidModel,
    ModelNotFound,
    ModelVersionNotFound,
    ObjectNotFound,
)
from chalicelib.storage import ObjectStore
from chalicelib.vision import Detector

MOST_TO_FALL_BACK_ON = 50
Serving = int | None | Literal["any"]

MODEL = """
INSERT INTO models (name, class_names, live_version, training_set_size, validation_set_size)
VALUES (%(name)s, %(names)s, %(live_version)s, %(training_set_size)s, %(validation_set_size)s)
ON CONFLICT (name) DO UPDATE SET
    class_names = excluded.class_names,
    live_version = excluded.live_version,
    training_set_size = excluded.training_set_size,
    validation_set_size = excluded.validation_set_size
"""
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('promotions of ' || %s, 0))"
VERSION = """
UPDATE model_versions SET promoted_at = %(promoted_at)s
WHERE model = %(name)s AND version = %(live_version)s
"""
HISTORY = """
INSERT INTO model_promotions (model, at, version, previous, by, why)
VALUES (%(name)s, %(promoted_at)s, %(live_version)s, %(previous)s, %(by)s, %(why)s)
ON CONFLICT DO NOTHING
"""
LISTED = """
SELECT version, previous, at, by, why FROM model_promotions
WHERE model = %s ORDER BY at DESC, version DESC LIMIT %s
"""
SERVED = "SELECT FROM model_promotions WHERE model = %s AND %s IN (version, previous) LIMIT 1"


@dataclass(frozen=True)
class Promotion:
    """Since when a version served, by whose will.

    Attributes
    ----------
    version : int
    previous : int or None
        What served before.
    at : datetime
    by, why : str
        In words.
    """

    version: int
    previous: int | None
    at: datetime
    by: str
    why: str


@dataclass(frozen=True)
class _Told:
    """What a promotion writes beside the version: what to fall back on, what it replaces, why."""

    before: tuple[int, ...]
    replaced: int | None
    by: str
    why: str


class Promoter:
    """Decides which version of a model serves.

    Parameters
    ----------
    store : ObjectStore
    catalog : Catalog
    database : Database, optional
        Where the history goes; none where none is attached.
    now : callable, optional
    went_live : callable, optional
        Is told the name of a model that was pending until now; may be told twice.
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        database: Database | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        went_live: Callable[[str], object] = lambda name: None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._database = database
        self._now = now
        self._went_live = went_live

    def promote(
        self, name: str, version: int, by: str, why: str, *, over: Serving = "any"
    ) -> Promotion:
        """Have a version serve, from now on and everywhere within 30 s.

        One that serves already goes on, and what an earlier call left undone is done.

        Parameters
        ----------
        by, why : str
            Who wants it, for which reason.
        over : int, None or "any", optional
            The version that has to serve until now; None: none has to.

        Raises
        ------
        ModelNotFound
        ModelVersionNotFound
        Conflict
            Another version serves than `over`.
        InvalidModel
            The version cannot detect; the one before serves on.
        """
        held, etag = self.serving(name)
        if held and held.live_version == version:
            return self._note(held)
        serves = held.live_version if held else None
        _refuse_unless_serving(name, serves, over)
        before = (*_without(held.served_before, version), serves) if held and serves else ()
        told = _Told(before, serves, by, why)
        made = self._described(name, version, told)
        return self._replace(made, held, etag) or self.promote(name, version, by, why, over=over)

    def rollback(self, name: str, by: str, why: str, *, over: Serving = "any") -> Promotion:
        """Have the version serve that served before the present one.

        Repeated, it goes back one further: what was rolled back is not fallen back on. Of two who
        do so at once one does, for neither wants to go back two.

        Parameters
        ----------
        by, why : str
            Who wants it, for which reason.
        over : int, None or "any", optional
            The version that has to serve until now.

        Raises
        ------
        ModelNotFound
        Conflict
            There is none to fall back on, or another version serves than `over`.
        InvalidModel
            It cannot detect any more; the present one serves on.
        """
        held, etag = self.serving(name)
        if held is None or held.live_version is None:
            raise ModelNotFound(f"no version of a model {name!r} serves")
        _refuse_unless_serving(name, held.live_version, over)
        if not held.served_before:
            raise Conflict(
                f"nothing is known to have served before version {held.live_version} of {name!r}: "
                f"promote a version by its number, GET /v1/models/{name}/versions lists them"
            )
        *before, version = held.served_before
        told = _Told(tuple(before), held.live_version, by, why)
        made = self._described(name, version, told)
        return self._replace(made, held, etag) or self.rollback(
            name, by, why, over=held.live_version
        )

    def history(self, name: str, limit: int = 100) -> list[Promotion]:
        """Return which versions served, newest first.

        Raises
        ------
        ModelNotFound
        DatabaseUnavailable
        """
        held, _ = self.serving(name)
        listed: list[Promotion] = []
        if self._database is not None:
            with self._database.transaction() as rows:
                rows.execute(LISTED, (name, limit))
                listed = [Promotion(*row) for row in rows.fetchall()]
        present = _promotion(held) if held else None
        if present and present not in listed:
            listed.insert(0, present)
        return listed[:limit]

    def has_served(self, name: str, version: int) -> bool:
        """Tell whether a version serves or once served.

        Raises
        ------
        ModelNotFound
        DatabaseUnavailable
        """
        held, _ = self.serving(name)
        if held and version in (held.live_version, *held.served_before):
            return True
        if self._database is None:
            return False
        with self._database.transaction() as rows:
            rows.execute(SERVED, (name, version))
            return rows.fetchone() is not None

    def serving(self, name: str) -> tuple[ModelFile | None, str | None]:
        """Return what `model.yaml` says at this moment and its ETag; nothing where there is none.

        One that cannot be read is as good as none, but for its ETag.
        """
        try:
            found = self._store.get(model_key(name))
        except ObjectNotFound:
            return None, None
        try:
            return ModelFile.parse(found.body, model_key(name)), found.etag
        except InvalidModel:
            return None, found.etag

    def pending(self, name: str) -> ModelFile | None:
        """Return what a model was requested as; None where none is pending under the name.

        Raises
        ------
        InvalidModel
            The file cannot be read.
        """
        try:
            found = self._store.get(pending_key(name))
        except ObjectNotFound:
            return None
        return ModelFile.parse(found.body, pending_key(name))

    def follow(self, name: str) -> None:
        """Let this process and the rows know of what serves, and who waits for a first version.

        Raises
        ------
        DatabaseUnavailable, StorageUnavailable
        """
        self._catalog.forget(name)
        self.note_serving(name)
        if self._database is not None and self._store.has(pending_key(name)):
            self._went_live(name)
            self._store.delete(pending_key(name))

    def note_serving(self, name: str) -> None:
        """Write into the rows what `model.yaml` says: the newest, whoever writes last.

        Raises
        ------
        DatabaseUnavailable, StorageUnavailable
        """
        if self._database is None:
            return
        with self._database.transaction() as rows:
            rows.execute(ONE_AT_A_TIME, (name,))
            file, _ = self.serving(name)
            if file is None or file.live_version is None:
                return
            told = _promotion(file)
            rows.execute(MODEL, file.model_dump(mode="python") | {"names": list(file.names)})
            given = {**file.model_dump(mode="python"), **(vars(told) if told else {})}
            rows.execute(VERSION, given)
            if told:
                rows.execute(HISTORY, given)

    def _replace(
        self, made: ModelFile, held: ModelFile | None, etag: str | None
    ) -> Promotion | None:
        """Write `model.yaml`, unless somebody else did meanwhile: then nothing is returned."""
        if held:
            self.note_serving(made.name)
        made = made.with_visibility_of(held or self.pending(made.name))
        try:
            key = model_key(made.name)
            self._store.put_over(key, made.to_yaml(), "application/yaml", etag=etag)
        except Conflict:
            return None
        return self._note(made)

    def _note(self, file: ModelFile) -> Promotion:
        self.follow(file.name)
        told = _promotion(file)
        assert told is not None
        return told

    def _described(self, name: str, version: int, told: _Told) -> ModelFile:
        """Return the `model.yaml` with which a version serves, once it is seen to detect."""
        names, measured = self._opened(name, version)
        return ModelFile(
            name=name,
            names=names,
            nc=len(names),
            live_version=version,
            training_set_size=measured.training_set_size,
            validation_set_size=measured.validation_set_size,
            validation_APs=measured.average_precisions(len(names)),
            promoted_at=self._now(),
            promoted_by=told.by,
            promoted_why=told.why,
            replaced=told.replaced,
            served_before=told.before[-MOST_TO_FALL_BACK_ON:],
        )

    def _opened(self, name: str, version: int) -> tuple[tuple[str, ...], VersionMetrics]:
        """Return a version's classes and metrics."""
        key = version_key(name, version, "metrics.json")
        try:
            measured = VersionMetrics.parse(self._store.get(key).body, key)
            weights = self._store.get(version_key(name, version, "model.onnx")).body
        except ObjectNotFound as error:
            raise ModelVersionNotFound(
                f"there is no version {version} of a model {name!r}: "
                f"GET /v1/models/{name}/versions lists those there are"
            ) from error
        detector = Detector(weights, threads=1)
        prove(detector)
        return detector.class_names, measured


def _without(versions: tuple[int, ...], version: int) -> Iterator[int]:
    return (each for each in versions if each != version)


def _refuse_unless_serving(name: str, serves: int | None, over: Serving) -> None:
    if over not in ("any", serves):
        raise Conflict(f"version {serves} of {name!r} serves by now, not {over}")


def _promotion(file: ModelFile) -> Promotion | None:
    """Return what a model's file tells of the version that serves, as rows can hold it."""
    if file.live_version is None or file.promoted_at is None:
        return None
    return Promotion(
        file.live_version,
        file.replaced,
        file.promoted_at,
        file.promoted_by or "the publisher",
        storable(file.promoted_why or "it was published"),
    )
