"""Detectors kept warm: one a model and live version, loaded once however many ask."""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from chalicelib.catalog import Catalog, LiveModel
from chalicelib.errors import InvalidImage, SightloopError
from chalicelib.observability import logger
from chalicelib.vision import Detected, DetectionOptions, Detections, Detector, Timing

RETRY_SECONDS = 10.0  # until a version that did not load is tried again


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
class Batch:
    """What a model's live version found in several pictures, or why it could not look."""

    version: int
    answers: tuple[Answer | InvalidImage, ...]


@dataclass(frozen=True)
class _Warm:
    version: int
    detector: Detector


@dataclass(frozen=True)
class _Failure:
    """A version that did not load, and when to try again."""

    version: int
    error: SightloopError
    until: float


class Inference:
    """Detects with the live version of any model.

    Parameters
    ----------
    catalog : Catalog
    keep : int
        How many models' detectors stay in memory; the one not used for longest goes first.
    threads : int
        Of a forward pass; 0: as many as there are cores.
    clock : callable, optional
        Monotonic seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        keep: int,
        threads: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._keep = keep
        self._threads = threads
        self._clock = clock
        self._warm: OrderedDict[str, _Warm] = OrderedDict()
        self._failures: dict[str, _Failure] = {}
        self._proved: dict[str, int] = {}
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

    def detect_each(self, model: str, images: Sequence[bytes], options: DetectionOptions) -> Batch:
        """Detect in several pictures with one version; a bad picture spoils no other."""
        warm = self._detector(model)
        answers: list[Answer | InvalidImage] = []
        for image in images:
            try:
                answers.append(_answer(model, warm.version, warm.detector.detect(image, options)))
            except InvalidImage as error:
                answers.append(error)
        return Batch(warm.version, tuple(answers))

    def prove(self, model: str) -> int:
        """Detect in a blank picture, once for each version that goes live; return its number.

        Raises
        ------
        SightloopError
            A detection would not succeed.
        """
        warm = self._detector(model)
        if self._proved.get(model) != warm.version:
            warm.detector.detect(_blank_picture())
            self._proved[model] = warm.version
        return warm.version

    def _detector(self, model: str) -> _Warm:
        """Return the live version's detector; while a new one loads, the old one serves on."""
        live = self._catalog.require(model)
        warm = self._recall(model)
        if warm and (warm.version == live.version or self._failure(live)):
            return warm
        lock = self._loading_lock(model)
        if not lock.acquire(blocking=warm is None):
            assert warm is not None
            return warm
        try:
            return self._loaded(live)
        finally:
            lock.release()

    def _loaded(self, live: LiveModel) -> _Warm:
        """Open a version unless another thread just did; where that fails, the old one serves."""
        warm, failure = self._recall(live.file.name), self._failure(live)
        if warm and (warm.version == live.version or failure):
            return warm
        if failure:
            raise type(failure.error)(failure.error.detail)
        try:
            return self._load(live, replaces=warm)
        except SightloopError as error:
            self._note_failure(live, error)
            if warm is None:
                raise
            return warm

    def _load(self, live: LiveModel, replaces: _Warm | None) -> _Warm:
        """Open a version; one that replaces another has to detect before it may."""
        name = live.file.name
        opened = Detector(self._catalog.weights(live), threads=self._threads)
        if replaces:
            opened.detect(_blank_picture())
        logger.info("version loaded", model=name, version=live.version)
        warm = _Warm(live.version, opened)
        with self._lock:
            self._warm[name] = warm
            self._warm.move_to_end(name)
            while len(self._warm) > self._keep:
                self._warm.popitem(last=False)
        return warm

    def _note_failure(self, live: LiveModel, error: SightloopError) -> None:
        logger.exception("a version does not load", model=live.file.name, version=live.version)
        until = self._clock() + RETRY_SECONDS
        self._failures[live.file.name] = _Failure(live.version, error, until)

    def _failure(self, live: LiveModel) -> _Failure | None:
        """Return why a version did not load, if it was tried a moment ago."""
        failure = self._failures.get(live.file.name)
        if failure and failure.version == live.version and self._clock() < failure.until:
            return failure
        return None

    def _recall(self, model: str) -> _Warm | None:
        with self._lock:
            warm = self._warm.get(model)
            if warm:
                self._warm.move_to_end(model)
            return warm

    def _loading_lock(self, model: str) -> threading.Lock:
        with self._lock:
            return self._loading.setdefault(model, threading.Lock())


@functools.cache
def _blank_picture() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 48), "gray").save(buffer, "PNG")
    return buffer.getvalue()


def _answer(model: str, version: int, found: Detected) -> Answer:
    return Answer(model, version, found.detections, found.timing)
