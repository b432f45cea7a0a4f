"""Detectors kept warm: one a model and live version, loaded once however many ask."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from chalicelib.catalog import Catalog, LiveModel
from chalicelib.errors import InvalidImage, SightloopError
from chalicelib.observability import logger
from chalicelib.vision import Detected, DetectionOptions, Detections, Detector, Timing


@dataclass(frozen=True)
class Answer:
    """What a model's live version found in one picture."""

    model: str
    version: int
    detections: Detections
    timing: Timing

    def to_json(self) -> dict[str, Any]:
        """Return the detection answer, the shape that other programs rely on."""
        width, height = self.detections.image_size
        return {
            "model": self.model,
            "version": self.version,
            "image": {"width": width, "height": height},
            "detections": self.detections.to_json(),
            "timing_ms": {name: round(ms, 2) for name, ms in asdict(self.timing).items()},
        }


@dataclass(frozen=True)
class _Warm:
    version: int
    detector: Detector


class Inference:
    """Detects with the live version of any model.

    Parameters
    ----------
    catalog : Catalog
    keep : int
        How many models' detectors stay in memory; the one not used for longest goes first.
    threads : int
        Of a forward pass; 0: as many as there are cores.
    """

    def __init__(self, catalog: Catalog, keep: int, threads: int) -> None:
        self._catalog = catalog
        self._keep = keep
        self._threads = threads
        self._warm: OrderedDict[str, _Warm] = OrderedDict()
        self._broken: dict[str, int] = {}
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def detect(self, model: str, image: bytes, options: DetectionOptions) -> Answer:
        """Detect in one picture.

        Raises
        ------
        ModelNotFound, InvalidImage
        """
        warm = self._detector(model)
        return _answer(model, warm.version, warm.detector.detect(image, options))

    def detect_each(
        self, model: str, images: Sequence[bytes], options: DetectionOptions
    ) -> list[Answer | InvalidImage]:
        """Detect in several pictures with one version; a bad picture spoils no other."""
        warm = self._detector(model)
        answers: list[Answer | InvalidImage] = []
        for image in images:
            try:
                answers.append(_answer(model, warm.version, warm.detector.detect(image, options)))
            except InvalidImage as error:
                answers.append(error)
        return answers

    def ready(self, model: str) -> int:
        """Load a model's live version and return its number; a detection would now succeed."""
        return self._detector(model).version

    def _detector(self, model: str) -> _Warm:
        live = self._catalog.require(model)
        warm = self._recall(model)
        if warm and live.version in {warm.version, self._broken.get(model)}:
            return warm
        with self._loading_lock(model):
            warm = self._recall(model)
            if warm and warm.version == live.version:
                return warm
            return self._load(live, warm)

    def _load(self, live: LiveModel, serving: _Warm | None) -> _Warm:
        """Open a version; where that fails, the one that served until now serves on."""
        name = live.file.name
        try:
            opened = Detector(self._catalog.weights(live), threads=self._threads)
        except SightloopError:
            if serving is None:
                raise
            self._broken[name] = live.version
            logger.exception("a new version does not load", model=name, version=live.version)
            return serving
        logger.info("version loaded", model=name, version=live.version)
        warm = _Warm(live.version, opened)
        with self._lock:
            self._warm[name] = warm
            self._warm.move_to_end(name)
            while len(self._warm) > self._keep:
                self._warm.popitem(last=False)
        return warm

    def _recall(self, model: str) -> _Warm | None:
        with self._lock:
            warm = self._warm.get(model)
            if warm:
                self._warm.move_to_end(model)
            return warm

    def _loading_lock(self, model: str) -> threading.Lock:
        with self._lock:
            return self._loading.setdefault(model, threading.Lock())


def _answer(model: str, version: int, found: Detected) -> Answer:
    return Answer(model, version, found.detections, found.timing)
