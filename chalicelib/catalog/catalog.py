"""Looking models up: what serves is asked often, so the answer is kept and revalidated."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial

from chalicelib.bounded import Revalidator
from chalicelib.catalog.model import (
    NAME_PATTERN,
    LiveModel,
    ModelFile,
    VersionMetrics,
    model_key,
    version_key,
)
from chalicelib.errors import (
    InvalidModel,
    ModelNotFound,
    ModelUnavailable,
    ObjectNotFound,
    SightloopError,
)
from chalicelib.observability import logger
from chalicelib.storage import ObjectStore, StoredObject

READ_AT_ONCE = 10  # as many connections as a client of S3 keeps


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
        self._folders: dict[str, list[str]] = {}
        self._measured: dict[tuple[str, int], VersionMetrics] = {}
        self._lock = threading.Lock()
        self._revalidator = Revalidator()

    def get(self, name: str) -> ModelFile:
        """Return what is known of a model, at most ``ttl_seconds`` old.

        Where S3 does not answer in time, or has something unreadable, what was known last is
        returned. One caller waits for S3 at most; the others are answered from what is known.

        Raises
        ------
        ModelNotFound
            There is no such model.
        ModelUnavailable, StorageUnavailable, ConfigurationError
            It cannot be read, and was not known before.
        """
        if not re.fullmatch(NAME_PATTERN, name):
            raise _not_found(name)
        known = self._known.get(name)
        if known is None:
            return self._ask(name, None)
        if self._clock() - known.checked_at >= self._ttl:
            self._revalidator.refresh(f"model/{name}", partial(self._revalidate, name, known))
            known = self._known.get(name)
        if known is None:
            raise _not_found(name)
        return known.file

    def _revalidate(self, name: str, known: _Known) -> None:
        """Ask S3 whether a model has changed; keep what is known where it does not say so."""
        try:
            self._ask(name, known)
        except ModelNotFound:
            return  # forgotten by now
        except SightloopError:
            logger.warning("the last known version serves on", exc_info=True, model=name)
            self._keep(name, known, over=known)

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
        """Return the names of all models, sorted; where S3 does not answer, those known last."""
        return sorted(name for name in self._listed("models/") if re.fullmatch(NAME_PATTERN, name))

    def _listed(self, folder: str) -> list[str]:
        """Return the folders below one; where S3 does not answer in time, those known last."""
        if folder not in self._folders:
            self._folders[folder] = list(self._store.folders(folder))
        else:
            # Each caller lists anew: one may have just made the model that it looks for.
            caller = f"{folder} {threading.get_ident()}"
            self._revalidator.refresh(caller, lambda: self._list_again(folder))
        return self._folders[folder]

    def _list_again(self, folder: str) -> None:
        try:
            self._folders[folder] = list(self._store.folders(folder))
        except SightloopError:
            logger.warning("the store does not answer: listing what was known last", exc_info=True)

    def all(self) -> list[ModelFile]:
        """Return all models, sorted by name; a folder without a good `model.yaml` is none."""
        return self._read(self.names())

    def page(
        self, after: str, limit: int | None, containing: str = ""
    ) -> tuple[list[ModelFile], str | None]:
        """Return some models, sorted by name, of which no other is read.

        Parameters
        ----------
        after : str
            They come behind this name; empty: from the first.
        limit : int | None
            So many at most, fewer where a folder is no model; None: all.
        containing : str
            Only those with this in their name.

        Returns
        -------
        list[ModelFile]
        str | None
            The name behind which the next page begins; None: there is none.
        """
        behind = [name for name in self.names() if name > after and containing in name]
        names = behind[:limit]
        return self._read(names), names[-1] if len(names) < len(behind) else None

    def _read(self, names: Sequence[str]) -> list[ModelFile]:
        """Read several at a time: S3 takes some tens of milliseconds for each."""
        if len(names) < 2:
            return list(filter(None, map(self._readable, names)))
        contexts = [copy_context() for _ in names]  # whose request it is, for the log
        with ThreadPoolExecutor(READ_AT_ONCE) as readers:
            found = readers.map(lambda of, name: of.run(self._readable, name), contexts, names)
            return list(filter(None, found))

    def _readable(self, name: str) -> ModelFile | None:
        """Return a model; nothing where there is none, or none that can be read."""
        try:
            return self.get(name)
        except ModelNotFound:
            return None
        except ModelUnavailable:
            logger.exception("a model is left out of the list", model=name)
            return None

    def live(self) -> list[ModelFile]:
        """Return the models that serve, sorted by name."""
        return [file for file in self.all() if file.live_version is not None]

    def serving(self) -> Iterator[ModelFile]:
        """Read the models that serve one by one, sorted by name, for who may want no more soon."""
        files = filter(None, map(self._readable, self.names()))
        return (file for file in files if file.live_version is not None)

    def first_live(self) -> ModelFile | None:
        """Return the first model that serves, by name; no more are read than that takes."""
        return next(self.serving(), None)

    def history(self, name: str) -> dict[int, VersionMetrics]:
        """Return the metrics of every version of a model, by number.

        A version's files never change, so each is read once; one whose metrics are missing or
        cannot be read is there without them. Where S3 does not answer in time, the versions that
        were known last are returned.
        """
        folder = f"models/{name}/versions/"
        return {n: self._metrics(name, n) for n in sorted(_numbers(self._listed(folder)))}

    def metrics(self, name: str, version: int) -> VersionMetrics:
        """Return what was measured of one version; nothing where that is missing."""
        return self._metrics(name, version)

    def next_version(self, name: str) -> int:
        """Return the number that a model's next version gets."""
        return max(_numbers(self._store.folders(f"models/{name}/versions/")), default=0) + 1

    def weights(self, live: LiveModel) -> bytes:
        """Read the ONNX file of a version.

        Raises
        ------
        InvalidModel
            `model.yaml` names a version that has none.
        """
        try:
            return self._store.get(live.onnx_key).body
        except ObjectNotFound as error:
            raise InvalidModel(error.detail) from error

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
            return self._keep(name, known, over=known)
        assert found is not None
        file = _parsed(found, key, name)
        return self._keep(name, _Known(file, found.etag, self._clock()), over=known)

    def _keep(self, name: str, known: _Known, over: _Known | None) -> ModelFile:
        """Take this as true until it is too old, unless another answer came while S3 was slow."""
        with self._lock:
            if self._known.get(name) is over:
                self._known[name] = replace(known, checked_at=self._clock())
        return known.file

    def _metrics(self, name: str, version: int) -> VersionMetrics:
        measured = self._measured.get((name, version))
        if measured is None:
            key = version_key(name, version, "metrics.json")
            try:
                measured = VersionMetrics.parse(self._store.get(key).body, key)
            except (ObjectNotFound, InvalidModel):
                logger.warning("a version without metrics", exc_info=True, key=key)
                return VersionMetrics.model_validate({})
            self._measured[name, version] = measured
        return measured


def _numbers(folders: Iterable[str]) -> list[int]:
    """Return the version numbers among the names of folders."""
    return [int(folder) for folder in folders if folder.isdecimal() and folder.isascii()]


def _parsed(found: StoredObject, key: str, name: str) -> ModelFile:
    try:
        file = ModelFile.parse(found.body, key)
        if file.name != name:
            raise InvalidModel(f"{key}: it is of a model {file.name!r}")
    except InvalidModel as error:
        raise ModelUnavailable(
            f"what is stored of the model {name!r} cannot be read: publish a version anew"
        ) from error
    return file


def _not_found(name: str) -> ModelNotFound:
    return ModelNotFound(f"there is no model {name!r}: GET /v1/models lists those there are")
