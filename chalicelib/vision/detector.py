"""Image bytes to boxes in three steps: preprocess, forward, postprocess."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.errors import InvalidImage, InvalidLabel, InvalidModel, InvalidRequest
from chalicelib.vision import heads, letterbox
from chalicelib.vision.boxes import Detections
from chalicelib.vision.image import MAX_PIXELS, Picture, decode_image
from chalicelib.vision.letterbox import Letterbox
from chalicelib.vision.model import BROKEN, open_model

MOST_DETECTIONS = 10_000

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class DetectionOptions:
    """What a caller may choose.

    Attributes
    ----------
    confidence : float
        Keep detections above this, 0..1.
    iou : float
        Of two boxes of a class that overlap by more than this, keep the better, 0..1.
    max_detections : int
        Keep at most so many, 1..10,000.
    max_pixels : int
        Refuse larger pictures.
    draft : bool
        Let JPEGs of over 6 megapixels be decoded reduced: faster, but other pixels reach the
        network, and confidences move by 0.01 on average and 0.27 at worst (measured).

    Raises
    ------
    InvalidRequest
        A value is out of range.
    """

    confidence: float = 0.25
    iou: float = 0.45
    max_detections: int = 300
    max_pixels: int = MAX_PIXELS
    draft: bool = False

    def __post_init__(self) -> None:
        for name in ("confidence", "iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidRequest(f"{name} must be in 0..1, got {getattr(self, name)}")
        if not 1 <= self.max_detections <= MOST_DETECTIONS:
            raise InvalidRequest(
                f"max_detections must be in 1..{MOST_DETECTIONS}, got {self.max_detections}"
            )
        if self.max_pixels < 1:
            raise InvalidRequest(f"max_pixels must be positive, got {self.max_pixels}")


@dataclass(frozen=True)
class Timing:
    """How long each step took, in milliseconds; in a batch, an image's share of it."""

    decode: float
    preprocess: float
    inference: float
    postprocess: float


@dataclass(frozen=True)
class Detected:
    """What was found in one picture, and how long it took."""

    detections: Detections
    timing: Timing


class Detector:
    """One model, ready to detect; safe to share between threads.

    Parameters
    ----------
    model : bytes or Path
        ONNX, as ultralytics exports it.
    threads : int
        Of a forward pass; 0: as many as onnxruntime finds fit.

    Raises
    ------
    InvalidModel
        The file cannot be served.
    """

    def __init__(self, model: bytes | Path, *, threads: int = 0) -> None:
        self._session, self.facts = open_model(model, threads)

    @property
    def class_names(self) -> tuple[str, ...]:
        """All classes of the model, by class id."""
        return self.facts.class_names

    def detect(self, image: bytes, options: DetectionOptions | None = None) -> Detected:
        """Find objects in one picture.

        Raises
        ------
        InvalidImage
            As ``decode_image``.
        """
        return self.detect_batch([image], options)[0]

    def detect_batch(
        self, images: Sequence[bytes], options: DetectionOptions | None = None
    ) -> list[Detected]:
        """Find objects in several pictures; those of one input shape share a forward pass.

        Raises
        ------
        InvalidImage
            As ``decode_image``; with several pictures the message begins with the index.
        """
        chosen = options or DetectionOptions()
        decoded = [self._decode(i, data, len(images), chosen) for i, data in enumerate(images)]
        boxes = [self._fit(picture) for picture, _ in decoded]
        found: dict[int, Detected] = {}
        for indices in self._runs(boxes):
            pictures = [decoded[i][0] for i in indices]
            times = [decoded[i][1] for i in indices]
            ran = self._run(pictures, [boxes[i] for i in indices], times, chosen)
            found.update(zip(indices, ran, strict=True))
        return [found[i] for i in range(len(images))]

    def preprocess(self, pictures: Sequence[Picture], boxes: Sequence[Letterbox]) -> Float32:
        """Return the network's input, float32 [batch, 3, H, W], RGB in 0..1."""
        size = self.facts.batch or len(pictures)
        blob = np.empty((size, 3, *boxes[0].shape), np.float32)
        for slot, picture, box in zip(blob, pictures, boxes, strict=False):
            letterbox.fill(slot, picture.image, box)
        blob[len(pictures) :] = 0
        return blob

    def forward(self, blob: Float32) -> Floats:
        """Return the network's first output, float32 or float16.

        Raises
        ------
        InvalidModel
            The network does not take what its metadata says it takes.
        """
        facts = self.facts
        fed = blob.astype(np.float16) if facts.half else blob
        try:
            output: Floats = self._session.run([facts.output], {facts.input: fed})[0]
        except BROKEN as error:
            raise InvalidModel(f"the network does not run on {blob.shape}: {error}") from error
        return output

    def postprocess(
        self,
        output: Floats,
        picture: Picture,
        box: Letterbox,
        head: heads.Head,
        options: DetectionOptions,
    ) -> Detections:
        """Return one picture's boxes in pixels of its original.

        Raises
        ------
        InvalidModel
            The network gave boxes that cannot be.
        """
        kept = heads.decode(output, head, options.confidence, options.iou, options.max_detections)
        xyxy = box.to_original(kept.xyxy, picture.size)
        try:
            return Detections(xyxy, kept.confidence, kept.class_id, self.class_names, picture.size)
        except InvalidLabel as error:
            raise InvalidModel(f"the network gave impossible boxes: {error.detail}") from error

    def _decode(
        self, index: int, data: bytes, count: int, options: DetectionOptions
    ) -> tuple[Picture, float]:
        started = time.perf_counter()
        enough = max(self.facts.shape) if options.draft else None
        try:
            picture = decode_image(data, max_pixels=options.max_pixels, enough=enough)
        except InvalidImage as error:
            if count > 1:
                raise type(error)(f"image {index}: {error.detail}") from error
            raise
        return picture, time.perf_counter() - started

    def _fit(self, picture: Picture) -> Letterbox:
        facts = self.facts
        box = letterbox.fit(picture.size, facts.shape, facts.stride, rect=facts.dynamic)
        if facts.end_to_end and heads.cells(box.shape, facts.stride) < (facts.rows or 0):
            # The network picks its best rows from more cells than so narrow an input has.
            return letterbox.fit(picture.size, facts.shape, facts.stride, rect=False)
        return box

    def _runs(self, boxes: Sequence[Letterbox]) -> Iterator[list[int]]:
        """Yield the indices that share a forward pass."""
        by_shape: dict[tuple[int, int], list[int]] = {}
        for index, box in enumerate(boxes):
            by_shape.setdefault(box.shape, []).append(index)
        for indices in by_shape.values():
            size = self.facts.batch or len(indices)
            yield from (indices[i : i + size] for i in range(0, len(indices), size))

    def _run(
        self,
        pictures: Sequence[Picture],
        boxes: Sequence[Letterbox],
        decode_seconds: Sequence[float],
        options: DetectionOptions,
    ) -> list[Detected]:
        started = time.perf_counter()
        blob = self.preprocess(pictures, boxes)
        preprocessed = time.perf_counter()
        output = self.forward(blob)
        forwarded = time.perf_counter()
        head = heads.recognise(output.shape, self.facts, boxes[0].shape)
        found = [
            self.postprocess(rows, picture, box, head, options)
            for rows, picture, box in zip(output, pictures, boxes, strict=False)
        ]
        ended = time.perf_counter()
        spent = np.diff([started, preprocessed, forwarded, ended]) / len(pictures) * 1000
        return [
            Detected(detections, Timing(seconds * 1000, *spent.tolist()))
            for detections, seconds in zip(found, decode_seconds, strict=True)
        ]
