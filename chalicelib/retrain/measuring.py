"""How good a version is: measured as it serves, on validation images, wherever onnxruntime runs.

Confidence at least 0.001, NMS at IoU 0.7, at most 300 boxes an image: what the field compares with.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chalicelib.catalog.model import version_key
from chalicelib.errors import InvalidModel, ObjectNotFound
from chalicelib.labels.fingerprint import fingerprint_of
from chalicelib.labels.keys import manifest_key
from chalicelib.labels.manifest import Manifest
from chalicelib.labels.materialise import from_store
from chalicelib.observability import logger
from chalicelib.retrain.evidence import compare, look_alikes
from chalicelib.retrain.job import Job
from chalicelib.retrain.keys import output_key
from chalicelib.retrain.measured import Evidence, LiveMetrics
from chalicelib.storage import ObjectStore
from chalicelib.vision import DetectionOptions, Detections, Detector
from chalicelib.vision.precision import CONFIDENCES, ClassPrecision, precision_by_class
from chalicelib.vision.resampled import Scored

EVERYTHING = DetectionOptions(confidence=0.001, iou=0.7, max_detections=300)
MOST_SECONDS = 200.0  # a function may take 900, and the new version is opened first
DIGITS = 6


@dataclass(frozen=True)
class Photo:
    """A validation image, and the truth about it.

    Attributes
    ----------
    read : callable
        Returns the image's file.
    truth : Detections
    """

    read: Callable[[], bytes]
    truth: Detections


class OutOfPatience(Exception):
    """Measuring takes longer than there is time."""


@dataclass(frozen=True)
class Looked:
    """What a detector found on photos.

    Attributes
    ----------
    class_names : tuple[str, ...]
    found, truths : list[Detections]
        A pair for every photo.
    milliseconds : list[float]
        That each took, without decoding.
    """

    class_names: tuple[str, ...]
    found: list[Detections]
    truths: list[Detections]
    milliseconds: list[float]

    def figures(self) -> dict[str, Any]:
        """Return how well that is, and how fast.

        Figures are means of the classes that the photos show; null where they show none.

        Returns
        -------
        dict
            As `metrics.json` has it: `mAP50`, `mAP50-95`, `per_class`, `precision`, `recall`, `f1`
            and `confidence` where F1 is highest, `curves` of these by confidence,
            `validation_set_size`, `ms_per_image` (the median, without decoding).
        """
        by_class = precision_by_class(self.found, self.truths)
        taken = self.milliseconds
        return _means(list(by_class.values())) | {
            "per_class": [
                _row(class_id, name, by_class.get(class_id))
                for class_id, name in enumerate(self.class_names)
            ],
            "validation_set_size": len(self.truths),
            "ms_per_image": round(statistics.median(taken), 2) if taken else None,
        }

    def scored(self) -> Scored:
        """Return the same, ready to be measured on resamples of the photos."""
        return Scored(self.found, self.truths)


def look(detector: Detector, photos: Iterable[Photo], until: float | None = None) -> Looked:
    """Return what a detector finds on photos.

    Parameters
    ----------
    until : float, optional
        Monotonic seconds.

    Raises
    ------
    InvalidImage
        A photo is none.
    InvalidModel
        The network does not run.
    OutOfPatience
        It would last beyond ``until``.
    """
    looked = Looked(tuple(detector.class_names), [], [], [])
    for photo in photos:
        if until is not None and time.monotonic() > until:
            raise OutOfPatience
        detected = detector.detect(photo.read(), EVERYTHING)
        timing = detected.timing
        looked.milliseconds.append(timing.preprocess + timing.inference + timing.postprocess)
        looked.found.append(detected.detections)
        looked.truths.append(photo.truth)
    return looked


def measure(detector: Detector, photos: Iterable[Photo]) -> dict[str, Any]:
    """Return how well a detector finds what is on photos: ``Looked.figures``.

    Raises
    ------
    InvalidImage, InvalidModel
    """
    return look(detector, photos).figures()


def evidence_of(new: Looked, live: Looked, photos: Iterable[Photo]) -> Evidence:
    """Return how sure it is that one version is better than another on the same photos."""
    groups = look_alikes(fingerprint_of(photo.read()) for photo in photos)
    return compare(new.scored(), live.scored(), groups)


def _row(class_id: int, name: str, found: ClassPrecision | None) -> dict[str, Any]:
    return {
        "class_id": class_id,
        "class_name": name,
        "AP50": _rounded(found.ap[0]) if found else None,
        "AP50-95": _rounded(found.ap.mean()) if found else None,
        "boxes": found.truths if found else 0,
    }


def _means(classes: Sequence[ClassPrecision]) -> dict[str, Any]:
    names = ("mAP50", "mAP50-95", "precision", "recall", "f1", "confidence", "curves")
    if not classes:
        return dict.fromkeys(names)
    ap = np.array([each.ap for each in classes])
    curves = {
        "precision": np.mean([each.precision for each in classes], axis=0),
        "recall": np.mean([each.recall for each in classes], axis=0),
        "f1": np.mean([each.f1 for each in classes], axis=0),
    }
    best = int(curves["f1"].argmax())
    return {
        "mAP50": _rounded(ap[:, 0].mean()),
        "mAP50-95": _rounded(ap.mean()),
        **{name: _rounded(curve[best]) for name, curve in curves.items()},
        "confidence": _rounded(CONFIDENCES[best]),
        "curves": {
            name: [_rounded(value) for value in curve]
            for name, curve in {"confidence": CONFIDENCES, **curves}.items()
        },
    }


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)


class Beside:
    """Measures versions on the validation images of a training's dataset, in the store bucket.

    Parameters
    ----------
    store : ObjectStore
    seconds : float, optional
        How long that may take.
    """

    def __init__(self, store: ObjectStore, seconds: float = MOST_SECONDS) -> None:
        self._store = store
        self._seconds = seconds

    def measure(self, job: Job, version: int) -> tuple[LiveMetrics, Evidence] | None:
        """Return what a version is worth there, and how sure it is that the job's is better.

        None where that would take too long. Images that leak are left out, as they are where
        models are trained.

        Raises
        ------
        InvalidModel
            The version cannot detect, or has no weights.
        InvalidManifest, InvalidImage, ObjectNotFound
            The dataset is not what it was.
        """
        until = time.monotonic() + self._seconds
        try:
            onnx = self._store.get(version_key(job.model, version, "model.onnx")).body
        except ObjectNotFound as error:
            raise InvalidModel(error.detail) from error
        made = self._store.get(output_key(job.job_id, "model.onnx")).body
        try:
            live = look(Detector(onnx), self._photos(job), until)
            new = look(Detector(made), self._photos(job), until)
        except OutOfPatience:
            logger.warning("measuring takes too long", job_id=str(job.job_id), version=version)
            return None
        found = live.figures() | {"version": version, "bytes": len(onnx)}
        evidence = evidence_of(new, live, self._photos(job))
        return LiveMetrics.model_validate(found), evidence

    def _photos(self, job: Job) -> Iterator[Photo]:
        sha256 = job.dataset_sha256 or ""
        packed = self._store.get(manifest_key(job.model, sha256)).body
        manifest, fetch = Manifest(io.BytesIO(packed), sha256), from_store(self._store, job.model)
        for entry in manifest:
            if entry.side == "valid" and not entry.leaking:
                size = (entry.width, entry.height)
                truth = Detections.from_yolo(entry.label, manifest.class_names, size)
                yield Photo(lambda entry=entry: fetch(entry), truth)  # type: ignore[misc]
