"""Image bytes to boxes in three steps: prepare, forward, postprocess."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.errors import InvalidImage, InvalidLabel, InvalidModel, InvalidRequest
from chalicelib.vision import heads, letterbox
from chalicelib.vision.boxes import Detections
from chalicelib.vision.image import MAX_PIXELS, Picture, decode_image, keep_memory
from chalicelib.vision.letterbox import Letterbox
from chalicelib.vision.model import BROKEN, open_model

MOST_DETECTIONS = 10_000
MOST_SPARE = 4  # inputs that are kept to be filled again

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


@dataclass(frozen=True, eq=False)
class Prepared:
    """A decoded picture in the network's input.

    Attributes
    ----------
    pixels : float32 [3, H, W]
        RGB in 0..1.
    box : Letterbox
        Where the picture lies in it.
    size : tuple[int, int]
        Width and height in pixels of the upright original.
    decode_seconds, preprocess_seconds : float
        How long it took.
    """

    pixels: Float32
    box: Letterbox
    size: tuple[int, int]
    decode_seconds: float
    preprocess_seconds: float


@dataclass(frozen=True)
class Detected:
    """What was found in one picture, and how long it took.

    Attributes
    ----------
    detections : Detections
    timing : Timing
    reference : Detections | None
        The same forward pass at the reference options; None: no such options were passed.
    """

    detections: Detections
    timing: Timing
    reference: Detections | None = None


class Detector:
    """One model, ready to detect; safe to share between threads.

    Parameters
    ----------
    model : bytes or Path
        ONNX, as ultralytics exports it.
    threads : int
        Of a forward pass, and of decoding a batch; 0: as many as there are cores.

    Raises
    ------
    InvalidModel
        The file cannot be served.
    """

    def __init__(self, model: bytes | Path, *, threads: int = 0) -> None:
        keep_memory()
        self._session, self.facts = open_model(model, threads)
        self._threads = threads or os.cpu_count() or 1
        self._spare: deque[Float32] = deque(maxlen=MOST_SPARE)

    @property
    def class_names(self) -> tuple[str, ...]:
        """All classes of the model, by class id."""
        return self.facts.class_names

    def detect(
        self,
        image: bytes | Picture,
        options: DetectionOptions | None = None,
        reference: DetectionOptions | None = None,
    ) -> Detected:
        """Find objects in one picture, given as its file or decoded.

        Parameters
        ----------
        image : bytes or Picture
        options : DetectionOptions, optional
        reference : DetectionOptions, optional
            Threshold and suppress the same forward pass a second time, at these options.

        Raises
        ------
        InvalidImage
            As ``decode_image``.
        """
        return self.detect_batch([image], options, reference)[0]

    def detect_batch(
        self,
        images: Sequence[bytes | Picture],
        options: DetectionOptions | None = None,
        reference: DetectionOptions | None = None,
    ) -> list[Detected]:
        """Find objects in several pictures; those of one input shape share a forward pass.

        Parameters are those of ``detect``.

        Raises
        ------
        InvalidImage
            As ``decode_image``; with several pictures the message begins with the index.
        """
        chosen = options or DetectionOptions()
        prepared = self._prepare_all(images, chosen)
        found: dict[int, Detected] = {}
        for indices in self._runs(prepared):
            ran = self._run([prepared[i] for i in indices], chosen, reference)
            found.update(zip(indices, ran, strict=True))
        return [found[i] for i in range(len(images))]

    def prepare(self, image: bytes | Picture, options: DetectionOptions) -> Prepared:
        """Decode one picture, where it is not yet, and fit it into the network's input.

        Raises
        ------
        InvalidImage
            As ``decode_image``.
        """
        started = time.perf_counter()
        picture = image if isinstance(image, Picture) else self._decoded(image, options)
        decoded = time.perf_counter()
        box = self._fit(picture.size)
        pixels = self._empty((3, *box.shape))
        letterbox.fill(pixels, picture.image, box)
        ended = time.perf_counter()
        return Prepared(pixels, box, picture.size, decoded - started, ended - decoded)

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
        self, output: Floats, prepared: Prepared, head: heads.Head, options: DetectionOptions
    ) -> Detections:
        """Return one picture's boxes in pixels of its original.

        Raises
        ------
        InvalidModel
            The network gave boxes that cannot be.
        """
        kept = heads.decode(output, head, options.confidence, options.iou, options.max_detections)
        size = prepared.size
        xyxy = prepared.box.to_original(kept.xyxy, size)
        try:
            return Detections(xyxy, kept.confidence, kept.class_id, self.class_names, size)
        except InvalidLabel as error:
            raise InvalidModel(f"the network gave impossible boxes: {error.detail}") from error

    def _decoded(self, image: bytes, options: DetectionOptions) -> Picture:
        enough = max(self.facts.shape) if options.draft else None
        return decode_image(image, max_pixels=options.max_pixels, enough=enough)

    def _prepare_all(
        self, images: Sequence[bytes | Picture], options: DetectionOptions
    ) -> list[Prepared]:
        if len(images) == 1:
            return [self.prepare(images[0], options)]

        def prepare(numbered: tuple[int, bytes | Picture]) -> Prepared:
            index, image = numbered
            try:
                return self.prepare(image, options)
            except InvalidImage as error:
                raise type(error)(f"image {index}: {error.detail}") from error

        with ThreadPoolExecutor(self._threads) as threads:
            return list(threads.map(prepare, enumerate(images)))

    def _fit(self, size: tuple[int, int]) -> Letterbox:
        facts = self.facts
        box = letterbox.fit(size, facts.shape, facts.stride, rect=facts.dynamic)
        if facts.end_to_end and heads.cells(box.shape, facts.stride) < (facts.rows or 0):
            # The network picks its best rows from more cells than so narrow an input has.
            return letterbox.fit(size, facts.shape, facts.stride, rect=False)
        return box

    def _runs(self, prepared: Sequence[Prepared]) -> Iterator[list[int]]:
        """Yield the indices that share a forward pass."""
        by_shape: dict[tuple[int, int], list[int]] = {}
        for index, each in enumerate(prepared):
            by_shape.setdefault(each.box.shape, []).append(index)
        for indices in by_shape.values():
            size = self.facts.batch or len(indices)
            yield from (indices[i : i + size] for i in range(0, len(indices), size))

    def _run(
        self,
        prepared: Sequence[Prepared],
        options: DetectionOptions,
        reference: DetectionOptions | None,
    ) -> list[Detected]:
        started = time.perf_counter()
        output = self.forward(self._stacked([each.pixels for each in prepared]))
        self._spare.extend(each.pixels for each in prepared)
        forwarded = time.perf_counter()
        head = heads.recognise(output.shape, self.facts, prepared[0].box.shape)
        pairs = [*zip(output, prepared, strict=False)]
        detections = [self.postprocess(rows, each, head, options) for rows, each in pairs]
        references = [
            self.postprocess(rows, each, head, reference) if reference else None
            for rows, each in pairs
        ]
        ended = time.perf_counter()
        count = len(prepared)
        return [
            Detected(
                kept,
                Timing(
                    decode=each.decode_seconds * 1000,
                    preprocess=each.preprocess_seconds * 1000,
                    inference=(forwarded - started) / count * 1000,
                    postprocess=(ended - forwarded) / count * 1000,
                ),
                at_reference,
            )
            for kept, at_reference, each in zip(detections, references, prepared, strict=True)
        ]

    def _empty(self, shape: tuple[int, int, int]) -> Float32:
        """Return an array to be filled: one used before if it fits, since new memory costs time."""
        with suppress(IndexError):
            used = self._spare.popleft()
            if used.shape == shape:
                return used
        return np.empty(shape, np.float32)

    def _stacked(self, pixels: Sequence[Float32]) -> Float32:
        """Return one batch, filled up with zeros to the size that the network takes."""
        size = self.facts.batch or len(pixels)
        if len(pixels) == size == 1:
            return pixels[0][None]
        blob = np.zeros((size, *pixels[0].shape), np.float32)
        np.stack(pixels, out=blob[: len(pixels)])
        return blob
