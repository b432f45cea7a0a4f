"""Looking models up: what serves is asked often, so the answer is kept and revalidated."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from chalicelib.catalog.model import (
    NAME_PATTERN,
    LiveModel,
    ModelFile,
    VersionMetrics,
    model_key,
    version_key,
)
from chalicelib.errors import ModelNotFound, ObjectNotFound, StorageUnavailable
from chalicelib.observability import logger
from chalicelib.storage import ObjectStore


@dataclass(frozen=True)
class _Known:
    file: ModelFile
    etag: str
    checked_at: float


class Catalog:
    """The models in the store bucket.

    Parameters
    ----------
    store : ObjectStore
    ttl_seconds : float
        For how long what is known of a model is taken as true before S3 is asked again, which
        costs one conditional GET.
    clock : callable, optional
        Monotonic seconds.
    """

    def __init__(
        self, store: ObjectStore, ttl_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._ttl = ttl_seconds
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> ModelFile:
        """Return what is known of a model, at most ``ttl_seconds`` old.

        Where S3 does not answer, what was known last is returned.

        Raises
        ------
        ModelNotFound
            There is no such model.
        """
        if not re.match(NAME_PATTERN, name):
            raise _not_found(name)
        known = self._known.get(name)
        if known and self._clock() - known.checked_at < self._ttl:
            return known.file
        try:
            return self._ask(name, known)
        except StorageUnavailable:
            if known is None:
                raise
            logger.warning("the store does not answer: the last known version serves", model=name)
            return known.file

    def require(self, name: str) -> LiveModel:
        """Return a model that serves.

        Raises
        ------
        ModelNotFound
            There is no such model, or it has no version yet.
        """
        file = self.get(name)
        if file.live_version is None:
            raise ModelNotFound(f"model {name!r} has no version that serves yet")
        return LiveModel(file=file, version=file.live_version)

    def names(self) -> list[str]:
        """Return the names of all models, sorted."""
        found = self._store.folders("models/")
        return sorted(name for name in found if re.match(NAME_PATTERN, name))

    def all(self) -> list[ModelFile]:
        """Return all models, sorted by name; a folder without `model.yaml` is none."""
        models = []
        for name in self.names():
            try:
                models.append(self.get(name))
            except ModelNotFound:
                continue
        return models

    def history(self, name: str) -> dict[int, VersionMetrics]:
        """Return the metrics of every version of a model, by number."""
        versions = [
            int(folder)
            for folder in self._store.folders(f"models/{name}/versions/")
            if folder.isdecimal()
        ]
        return {version: self._metrics(name, version) for version in sorted(versions)}

    def weights(self, live: LiveModel) -> bytes:
        """Read the ONNX file of a version."""
        return self._store.get(live.onnx_key).body

    def forget(self, name: str) -> None:
        """Ask S3 the next time this model is asked for."""
        with self._lock:
            self._known.pop(name, None)

    def _ask(self, name: str, known: _Known | None) -> ModelFile:
        key = model_key(name)
        try:
            found = self._store.get_if_changed(key, known.etag if known else None)
        except ObjectNotFound:
            self.forget(name)
            raise _not_found(name) from None
        if found is None and known is not None:
            fresh = _Known(known.file, known.etag, self._clock())
        else:
            assert found is not None
            fresh = _Known(ModelFile.parse(found.body, key), found.etag, self._clock())
        with self._lock:
            self._known[name] = fresh
        return fresh.file

    def _metrics(self, name: str, version: int) -> VersionMetrics:
        key = version_key(name, version, "metrics.json")
        try:
            return VersionMetrics.parse(self._store.get(key).body, key)
        except ObjectNotFound:
            return VersionMetrics.model_validate({})


def _not_found(name: str) -> ModelNotFound:
    return ModelNotFound(f"there is no model {name!r}: GET /v1/models lists those there are")
