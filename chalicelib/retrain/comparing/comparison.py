"""Has two versions look at the same validation images, and finds those on which they differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chalicelib.catalog.catalog import Catalog
from chalicelib.catalog.model import VersionMetrics, version_key
from chalicelib.errors import InvalidImage, InvalidLabel, ModelNotFound, ObjectNotFound
from chalicelib.labels.datasets.images import DatasetImage, DatasetImages
from chalicelib.observability import logger
from chalicelib.retrain.comparing.curves import CurvePair, Measured
from chalicelib.storage import ObjectStore
from chalicelib.trust import ClassedBoxes
from chalicelib.trust.grading import agreement
from chalicelib.vision import DetectionOptions, Detections, Detector

MOST_LOOKED_AT = 48
MOST_SHOWN = 12
MOST_SECONDS = 15.0  # API Gateway waits 29 s for the answer


@dataclass(frozen=True)
class Weighed:
    """One of the versions.

    Attributes
    ----------
    version : int
    metrics : VersionMetrics
        Measured when it was made, each version on the validation images of its time.
    size_bytes : int
        Of its ONNX file.
    """

    version: int
    metrics: VersionMetrics
    size_bytes: int


@dataclass(frozen=True)
class Seen:
    """What both versions found on an image.

    Attributes
    ----------
    image : DatasetImage
    truth : Detections
        What people say is there.
    a, b : Detections
        Of the two versions.
    difference : float
        0: they found the same; 1: nothing that one found the other found too. Two boxes are the
        same where they are of one class and overlap by half at least.
    """

    image: DatasetImage
    truth: Detections
    a: Detections
    b: Detections
    difference: float


@dataclass(frozen=True)
class Comparison:
    """Two versions side by side.

    Attributes
    ----------
    class_names : tuple of str
        By class id.
    a, b : Weighed
    curves : CurvePair
    compared : int
        Images at which both looked.
    images : tuple of Seen
        Those on which they differ most, at most `MOST_SHOWN`; none on which they found the same.
    """

    class_names: tuple[str, ...]
    a: Weighed
    b: Weighed
    curves: CurvePair
    compared: int
    images: tuple[Seen, ...]


class Comparer:
    """Compares versions.

    Parameters
    ----------
    store : ObjectStore
    catalog : Catalog
    images : DatasetImages
    options : DetectionOptions
        With which both look.
    threads : int
        For a forward pass; 0: as many as there are cores.
    now : callable, optional
        Seconds that only go forward.
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        images: DatasetImages,
        options: DetectionOptions,
        threads: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._images = images
        self._options = options
        self._threads = threads
        self._now = now

    def compare(self, model: str, a: int, b: int) -> Comparison:
        """Compare two versions on a sample of the validation images that there are now.

        It stops early where that would take too long.

        Raises
        ------
        ModelNotFound
            There is no such model, or no such version of it.
        InvalidModel
            A version cannot detect.
        DatabaseUnavailable, StorageUnavailable
        """
        until = self._now() + MOST_SECONDS
        (one, first), (other, second) = self._opened(model, a), self._opened(model, b)
        class_names = second.class_names
        seen = list(self._looks(model, class_names, first, second, until))
        differing = sorted((each for each in seen if each.difference), key=_by_difference)
        curves = CurvePair.of((a, self._measured(model, a)), (b, self._measured(model, b)))
        shown = tuple(differing[:MOST_SHOWN])
        return Comparison(class_names, one, other, curves, len(seen), shown)

    def _opened(self, model: str, version: int) -> tuple[Weighed, Detector]:
        try:
            weights = self._store.get(version_key(model, version, "model.onnx")).body
        except ObjectNotFound:
            raise ModelNotFound(f"there is no version {version} of the model {model!r}") from None
        metrics = self._catalog.metrics(model, version)
        detector = Detector(weights, threads=self._threads)
        return Weighed(version, metrics, len(weights)), detector

    def _measured(self, model: str, version: int) -> Measured:
        key = version_key(model, version, "metrics.json")
        try:
            return Measured.parse(self._store.get(key).body, key)
        except ObjectNotFound:
            return Measured()

    def _looks(
        self,
        model: str,
        class_names: tuple[str, ...],
        first: Detector,
        second: Detector,
        until: float,
    ) -> Iterator[Seen]:
        """Have both look at one image after another; one that cannot be read is passed over."""
        for image, yolo in self._images.to_measure_on(model, MOST_LOOKED_AT):
            if self._now() > until:
                return
            try:
                truth = Detections.from_yolo(yolo, class_names, (image.width, image.height))
                picture = self._store.get(image.source_key).body
                a, b = (each.detect(picture, self._options).detections for each in (first, second))
            except (ObjectNotFound, InvalidImage, InvalidLabel):
                logger.warning(
                    "an image cannot be compared on", exc_info=True, key=image.source_key
                )
                continue
            yield Seen(image, truth, a, b, difference(a, b))


def difference(a: Detections, b: Detections) -> float:
    """Return how far two answers about one image differ, 0 to 1.

    Examples
    --------
    >>> names, size = ("dent",), (100, 100)
    >>> one = Detections([[0, 0, 10, 10], [20, 0, 30, 10]], [0.9, 0.8], [0, 0], names, size)
    >>> difference(one, one[:1])
    0.5
    """
    found, other = ClassedBoxes.from_detections(a), ClassedBoxes.from_detections(b)
    return 1 - agreement(found, other).share


def _by_difference(seen: Seen) -> tuple[float, str]:
    return (-seen.difference, seen.image.sha256)
