"""Publishing a version: `model.yaml` is written last, so that readers see all of it or none."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from chalicelib.catalog.catalog import Catalog
from chalicelib.catalog.model import (
    NAME_PATTERN,
    ModelFile,
    VersionMetrics,
    model_key,
    version_key,
)
from chalicelib.catalog.promoting import MOST_TO_FALL_BACK_ON, Promoter
from chalicelib.catalog.proof import prove
from chalicelib.catalog.version_records import Origin, VersionRecords
from chalicelib.catalog.visibility import Visibility
from chalicelib.database import Database
from chalicelib.errors import (
    Conflict,
    InvalidModel,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
    NoDatabase,
    ObjectNotFound,
)
from chalicelib.storage import ObjectStore
from chalicelib.vision import Detector


@dataclass(frozen=True)
class Trained:
    """What a training brought: a version in the making.

    Attributes
    ----------
    onnx, metrics : bytes
        `model.onnx` and `metrics.json`.
    weights_key : str
        Where in the store bucket `best.pt` is.
    origin : Origin
    """

    onnx: bytes
    metrics: bytes
    weights_key: str
    origin: Origin


class Publisher:
    """Puts versions into the store bucket and makes them serve.

    Parameters
    ----------
    store : ObjectStore
    catalog : Catalog
    database : Database, optional
        Where the rows for planning and history go; none where none is attached.
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
        self.promoter = Promoter(store, catalog, database, now, went_live)

    def publish(
        self,
        name: str,
        onnx: bytes,
        metrics: bytes,
        visibility: Visibility = Visibility.PRIVATE,
    ) -> ModelFile:
        """Make weights the version of a model that serves.

        Publishing what serves already changes nothing in the store, so it may be repeated.

        Parameters
        ----------
        name : str
        onnx : bytes
            As ultralytics exports it.
        metrics : bytes
            `metrics.json`, as the training entry point writes it.
        visibility : Visibility, optional
            Of a model that neither serves nor is pending; the others keep theirs.

        Raises
        ------
        InvalidModel
            The weights cannot be served, the metrics cannot be read, or their classes differ; or
            the model was asked for with others.
        InvalidRequest
            A model cannot have that name.
        """
        if not re.fullmatch(NAME_PATTERN, name):
            raise InvalidRequest(f"{name!r} cannot name a model: it must match {NAME_PATTERN}")
        measured = VersionMetrics.parse(metrics, "metrics.json")
        detector = Detector(onnx, threads=1)
        prove(detector)
        sha256 = hashlib.sha256(onnx).hexdigest()
        self._refuse_others_than_asked(name, detector.class_names)
        served = self._serving(name, sha256)
        if served:
            self._record(served, sha256, measured)
            return served
        described = _described(name, detector.class_names, measured, self._now()).model_copy(
            update={"visibility": visibility}
        )
        made = self._put_files(described, onnx, metrics, sha256)
        serves = self._promote(made)
        if serves.live_version != made.live_version:
            made = made.model_copy(update={"promoted_at": None})
        self._record(made, sha256, measured)
        return serves

    def add_version(self, name: str, made: Trained) -> int:
        """Keep what a training made as a version that does not serve; return its number.

        A training has one version, however often this is called and wherever it broke off.

        Parameters
        ----------
        name : str
            A model that serves or was asked for.

        Raises
        ------
        InvalidModel
            The weights cannot be served, the metrics cannot be read, or they are of other classes.
        ModelNotFound
        NoDatabase, DatabaseUnavailable, ModelUnavailable, StorageUnavailable
        """
        if self._database is None:
            raise NoDatabase("versions of trainings are kept where a database is attached")
        records, file = VersionRecords(self._database), self.known(name)
        detector = Detector(made.onnx, threads=1)
        prove(detector)
        _refuse_others(file, detector.class_names)
        measured = VersionMetrics.parse(made.metrics, "metrics.json")
        _described(name, file.names, measured, self._now())
        sha256 = hashlib.sha256(made.onnx).hexdigest()
        while True:
            least = self._catalog.next_version(name)
            version = records.claim(file, made.origin, sha256, measured, least)
            if self._put_trained(name, version, made, sha256):
                return version
            records.give_up(made.origin.job_id)

    def known(self, name: str) -> ModelFile:
        """Return what a model is at this moment, as it serves or as it was asked for.

        Raises
        ------
        ModelNotFound
        ModelUnavailable
            What is stored of it cannot be read.
        StorageUnavailable
        """
        held, etag = self.promoter.serving(name)
        if held:
            return held
        if etag:
            raise ModelUnavailable(
                f"what is stored of the model {name!r} cannot be read: publish a version anew"
            )
        pending = self.promoter.pending(name)
        if pending is None:
            raise ModelNotFound(f"there is no model {name!r}, nor was one asked for")
        return pending

    def _put_trained(self, name: str, version: int, made: Trained, sha256: str) -> bool:
        """Write a version's files, `metrics.json` last; refuse where the number is another's."""
        marks = {"sha256": sha256, "job": str(made.origin.job_id)}
        weights = version_key(name, version, "model.onnx")
        try:
            self._store.put_over(weights, made.onnx, "application/octet-stream", marks, etag=None)
        except Conflict:
            if self._store.get(weights).metadata.get("job") != marks["job"]:
                return False
        self._store.copy(made.weights_key, version_key(name, version, "best.pt"))
        key = version_key(name, version, "metrics.json")
        self._store.put(key, made.metrics, "application/json", marks)
        return True

    def _refuse_others_than_asked(self, name: str, class_names: tuple[str, ...]) -> None:
        """Refuse other classes than a model was asked for with: its labels are by class id."""
        if pending := self.promoter.pending(name):
            _refuse_others(pending, class_names)

    def _put_files(self, made: ModelFile, onnx: bytes, metrics: bytes, sha256: str) -> ModelFile:
        """Take the next number, which whoever writes the weights first has, and write the rest."""
        version = self._catalog.next_version(made.name)
        weights = version_key(made.name, version, "model.onnx")
        marks = {"sha256": sha256}
        try:
            self._store.put_over(weights, onnx, "application/octet-stream", marks, etag=None)
        except Conflict:
            return self._put_files(made, onnx, metrics, sha256)
        key = version_key(made.name, version, "metrics.json")
        self._store.put(key, metrics, "application/json", marks)
        return made.model_copy(update={"live_version": version})

    def _promote(self, made: ModelFile) -> ModelFile:
        """Make a version serve, unless a later one was quicker; return what serves."""
        assert made.live_version is not None
        held, etag = self.promoter.serving(made.name)
        if held and held.live_version:
            if held.live_version > made.live_version:
                return held
            before = (*held.served_before, held.live_version)[-MOST_TO_FALL_BACK_ON:]
            made = made.model_copy(update={"replaced": before[-1], "served_before": before})
        made = made.with_visibility_of(held or self.promoter.pending(made.name))
        try:
            key = model_key(made.name)
            self._store.put_over(key, made.to_yaml(), "application/yaml", etag=etag)
        except Conflict:
            return self._promote(made)
        self._catalog.forget(made.name)
        return made

    def _serving(self, name: str, sha256: str) -> ModelFile | None:
        """Return the model if exactly these weights serve already."""
        self._catalog.forget(name)
        try:
            live = self._catalog.require(name)
            served = self._store.get(live.onnx_key)
        except (ModelNotFound, ModelUnavailable, ObjectNotFound):
            return None
        same = hashlib.sha256(served.body).hexdigest() == sha256
        return live.file if same else None

    def _record(self, file: ModelFile, sha256: str, measured: VersionMetrics) -> None:
        """Write the rows; whoever dies before the end is to publish the same once more."""
        if self._database is not None:
            VersionRecords(self._database).put(file, sha256, measured)
            self.promoter.follow(file.name)


def _refuse_others(file: ModelFile, class_names: tuple[str, ...]) -> None:
    if file.names != class_names:
        what = "has" if file.live_version else "was asked for with"
        raise InvalidModel(
            f"the model {what} the classes {dict(enumerate(file.names))}, "
            f"the weights have {dict(enumerate(class_names))}"
        )


def _described(
    name: str, names: tuple[str, ...], measured: VersionMetrics, now: datetime
) -> ModelFile:
    """Return a model's file, which lacks but the number of its version.

    Raises
    ------
    InvalidModel
        The metrics are of other classes than the weights.
    """
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
        training_set_size=measured.training_set_size,
        validation_set_size=measured.validation_set_size,
        validation_APs=measured.average_precisions(len(names)),
        promoted_at=now,
    )
