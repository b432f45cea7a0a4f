"""Publishing a version: `model.yaml` is written last, so that readers see all of it or none."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime

from psycopg2.extras import Json

from chalicelib.catalog.catalog import Catalog
from chalicelib.catalog.model import (
    NAME_PATTERN,
    ModelFile,
    VersionMetrics,
    model_key,
    version_key,
)
from chalicelib.database import Database
from chalicelib.errors import InvalidModel, InvalidRequest, ModelNotFound, ObjectNotFound
from chalicelib.storage import ObjectStore
from chalicelib.vision import Detector

INSERT_MODEL = """
INSERT INTO models (name, class_names, live_version, training_set_size, validation_set_size)
VALUES (%(name)s, %(names)s, %(live_version)s, %(training_set_size)s, %(validation_set_size)s)
ON CONFLICT (name) DO UPDATE SET
    class_names = excluded.class_names,
    live_version = excluded.live_version,
    training_set_size = excluded.training_set_size,
    validation_set_size = excluded.validation_set_size
"""
INSERT_VERSION = """
INSERT INTO model_versions (model, version, sha256, metrics, promoted_at)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (model, version) DO UPDATE SET
    sha256 = excluded.sha256, metrics = excluded.metrics, promoted_at = excluded.promoted_at
"""


class Publisher:
    """Puts versions into the store bucket and makes them serve.

    Parameters
    ----------
    store : ObjectStore
    catalog : Catalog
    database : Database, optional
        Where the rows for planning and history go; none where none is attached.
    now : callable, optional
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        database: Database | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._database = database
        self._now = now

    def publish(self, name: str, onnx: bytes, metrics: bytes) -> ModelFile:
        """Make weights the version of a model that serves.

        Publishing what serves already changes nothing in the store, so it may be repeated.

        Parameters
        ----------
        name : str
        onnx : bytes
            As ultralytics exports it.
        metrics : bytes
            `metrics.json`, as the training entry point writes it.

        Raises
        ------
        InvalidModel
            The weights cannot be served, the metrics cannot be read, or their classes differ.
        InvalidRequest
            A model cannot have that name.
        """
        if not re.fullmatch(NAME_PATTERN, name):
            raise InvalidRequest(f"{name!r} cannot name a model: it must match {NAME_PATTERN}")
        measured = VersionMetrics.parse(metrics, "metrics.json")
        names = Detector(onnx, threads=1).class_names
        sha256 = hashlib.sha256(onnx).hexdigest()
        file = self._serving(name, sha256)
        if file is None:
            file = self._next(name, names, measured)
            self._upload(file, onnx, metrics, sha256)
        self._record(file, sha256, measured)
        return file

    def _upload(self, file: ModelFile, onnx: bytes, metrics: bytes, sha256: str) -> None:
        """Write a version's files, and last the one that makes it serve."""
        assert file.live_version is not None
        for name, body, kind in (
            ("model.onnx", onnx, "application/octet-stream"),
            ("metrics.json", metrics, "application/json"),
        ):
            key = version_key(file.name, file.live_version, name)
            self._store.put(key, body, kind, {"sha256": sha256})
        self._store.put(model_key(file.name), file.to_yaml(), "application/yaml")
        self._catalog.forget(file.name)

    def _serving(self, name: str, sha256: str) -> ModelFile | None:
        """Return the model if exactly these weights serve already."""
        self._catalog.forget(name)
        try:
            live = self._catalog.require(name)
            served = self._store.get(live.onnx_key)
        except (ModelNotFound, ObjectNotFound, InvalidModel):
            return None
        same = hashlib.sha256(served.body).hexdigest() == sha256
        return live.file if same else None

    def _next(self, name: str, names: tuple[str, ...], measured: VersionMetrics) -> ModelFile:
        for row in measured.per_class:
            if names[row.class_id : row.class_id + 1] != (row.class_name,):
                raise InvalidModel(
                    f"metrics.json has class {row.class_id} {row.class_name!r}, "
                    f"the weights have {dict(enumerate(names))}"
                )
        return ModelFile(
            name=name,
            names=names,
            nc=len(names),
            live_version=self._catalog.next_version(name),
            training_set_size=measured.training_set_size,
            validation_set_size=measured.validation_set_size,
            validation_APs=measured.average_precisions(len(names)),
            promoted_at=self._now(),
        )

    def _record(self, file: ModelFile, sha256: str, measured: VersionMetrics) -> None:
        if self._database is None:
            return
        with self._database.transaction() as rows:
            rows.execute(INSERT_MODEL, file.model_dump(mode="python") | {"names": list(file.names)})
            told = Json(measured.model_dump(mode="json", by_alias=True))
            rows.execute(
                INSERT_VERSION, (file.name, file.live_version, sha256, told, file.promoted_at)
            )
