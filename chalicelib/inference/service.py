"""Detectors kept warm: one a model and live version, loaded once however many ask."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from chalicelib.bounded import Revalidator
from chalicelib.catalog import Catalog, LiveModel, prove
from chalicelib.errors import (
    InvalidImage,
    InvalidModel,
    ModelUnavailable,
    OutOfTime,
    SightloopError,
)
from chalicelib.observability import logger
from chalicelib.vision import (
    DetectionOptions,
    Detections,
    Detector,
    Picture,
    Timing,
    decode_image,
)

FIRST_LOAD_SECONDS = 20.0  # that a call waits for another that loads the same model
REPLACE_SECONDS = 3.0  # that a call waits for a new version before the old one serves it
RETRY_SECONDS = 10.0  # until a version that did not load is tried again
BATCH_SECONDS = 20.0  # after which no further picture of a call is begun: API Gateway waits 29


@dataclass(frozen=True)
class Answer:
    """What a model's live version found in one picture.

    Attributes
    ----------
    model : str
    version : int
    detections : Detections
        At the caller's options.
    timing : Timing
    reference : Detections | None
        At the service's own options; None: those are the caller's.
    """

    model: str
    version: int
    detections: Detections
    timing: Timing
    reference: Detections | None = None

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
class Look:
    """What was found in one picture, and the picture, for whoever needs its pixels as well."""

    answer: Answer
    picture: Picture


@dataclass(frozen=True)
class Decoded:
    """A picture, and how long it took to decode it."""

    picture: Picture
    milliseconds: float


@dataclass(frozen=True)
class Batch:
    """What a model's live version found in several pictures, or why it could not look."""

    version: int
    answers: tuple[Answer | InvalidImage | OutOfTime, ...]


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
        self._revalidator = Revalidator(REPLACE_SECONDS)

    def detect(self, model: str, image: bytes, options: DetectionOptions) -> Answer:
        """Detect in one picture.

        Raises
        ------
        ModelNotFound, InvalidImage
        ModelUnavailable
            Its live version cannot be opened, and no other is warm.
        """
        return _look(model, self._detector(model), image, options)

    def look(self, model: str, image: bytes, options: DetectionOptions) -> Look:
        """Detect in one picture and return it too, so that it is decoded once.

        Raises
        ------
        ModelNotFound, InvalidImage, ModelUnavailable
            As ``detect``.
        """
        warm = self._detector(model)
        return self._look_at(model, warm, decode_timed(image, options), options)

    def _look_at(
        self, model: str, warm: _Warm, decoded: Decoded, options: DetectionOptions
    ) -> Look:
        """Detect in a picture that is decoded already."""
        answer = _look(model, warm, decoded.picture, options)
        timing = replace(answer.timing, decode=decoded.milliseconds)
        return Look(replace(answer, timing=timing), decoded.picture)

    def detect_each(self, model: str, images: Sequence[bytes], options: DetectionOptions) -> Batch:
        """Detect in several pictures with one version; a bad picture spoils no other.

        A few kilobytes can hold a picture that takes seconds to decode. Those that the call has
        no time for are answered by ``OutOfTime``.
        """
        warm = self._detector(model)
        until = self._clock() + BATCH_SECONDS
        answers: list[Answer | InvalidImage | OutOfTime] = []
        for image in images:
            try:
                if self._clock() > until:
                    raise OutOfTime("the images before it took too long: send it in another call")
                answers.append(_look(model, warm, image, options))
            except (InvalidImage, OutOfTime) as error:
                answers.append(error)
        return Batch(warm.version, tuple(answers))

    def warm(self) -> list[str]:
        """Return the models whose detectors are in memory, the one not used for longest first."""
        with self._lock:
            return [*self._warm]

    def prove(self, model: str) -> int:
        """Detect in a blank picture, once for each version that goes live; return its number.

        Raises
        ------
        SightloopError
            A detection would not succeed.
        """
        warm = self._detector(model)
        if self._proved.get(model) != warm.version:
            with _served(model, warm.version):
                prove(warm.detector)
            self._proved[model] = warm.version
        return warm.version

    def _detector(self, model: str) -> _Warm:
        """Return the live version's detector.

        While a new one loads, the old one serves on: one caller waits for it for some seconds, the
        others not at all.
        """
        live = self._catalog.require(model)
        warm = self._recall(model)
        if warm and (warm.version == live.version or self._failure(live)):
            return warm
        if warm is None:
            return self._first(live)
        self._revalidator.refresh(model, lambda: self._replace(live))
        return self._recall(model) or warm

    def _first(self, live: LiveModel) -> _Warm:
        """Load a model of which no version is warm; of several callers one loads it."""
        lock = self._loading_lock(live.file.name)
        if not lock.acquire(timeout=FIRST_LOAD_SECONDS):
            raise ModelUnavailable(f"the model {live.file.name!r} takes long to load: try again")
        try:
            return self._loaded(live)
        finally:
            lock.release()

    def _replace(self, live: LiveModel) -> None:
        with self._loading_lock(live.file.name):
            self._loaded(live)

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
        with _served(name, live.version):
            opened = Detector(self._catalog.weights(live), threads=self._threads)
            if replaces:
                prove(opened)
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


def decode_timed(image: bytes, options: DetectionOptions) -> Decoded:
    """Decode a picture and measure how long that takes.

    Raises
    ------
    InvalidImage
    """
    started = time.perf_counter()
    picture = decode_image(image, max_pixels=options.max_pixels)
    return Decoded(picture, (time.perf_counter() - started) * 1000)


def _look(model: str, warm: _Warm, image: bytes | Picture, options: DetectionOptions) -> Answer:
    with _served(model, warm.version):
        found = warm.detector.detect(image, options, reference_options(options))
    return Answer(model, warm.version, found.detections, found.timing, found.reference)


def reference_options(options: DetectionOptions) -> DetectionOptions | None:
    """Return the service's own options where a caller chose others; None: they are the same.

    >>> reference_options(DetectionOptions(confidence=1.0)).confidence
    0.25
    """
    own = DetectionOptions(max_pixels=options.max_pixels)
    return None if options == own else own


@contextmanager
def _served(model: str, version: int) -> Iterator[None]:
    """Tell whose fault it is that a version that serves cannot."""
    try:
        yield
    except InvalidModel as error:
        raise ModelUnavailable(
            f"version {version} of the model {model!r} cannot be used: another has to be published"
        ) from error
