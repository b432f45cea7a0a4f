"""Fit a picture into the network's input: scale, centre, pad with grey, normalise to 0..1.

The arithmetic, roundings included, is ultralytics': a detector gives the same boxes only if the
network sees the same pixels.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image

PAD = np.float32(114 / 255)
RESIZE_GRAPH = Path(__file__).with_name("resize.onnx")

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Letterbox:
    """How a picture lies in the network's input; all in pixels.

    Attributes
    ----------
    scale : float
        Input pixels per original pixel.
    scaled : tuple[int, int]
        Width and height of the picture inside the input.
    left, top : int
        Where the picture begins.
    shape : tuple[int, int]
        Height and width of the input, as in NCHW.
    """

    scale: float
    scaled: tuple[int, int]
    left: int
    top: int
    shape: tuple[int, int]

    def to_original(self, xyxy: Float32, size: tuple[int, int]) -> Float32:
        """Return boxes [N, 4] of the input as boxes of the original of ``size``, clipped to it."""
        moved = (xyxy - np.array([self.left, self.top] * 2, np.float32)) / np.float32(self.scale)
        clipped: Float32 = np.clip(moved, 0, np.array(size * 2, np.float32))
        return clipped


def fit(size: tuple[int, int], shape: tuple[int, int], stride: int, rect: bool) -> Letterbox:
    """Lay a picture into an input.

    Parameters
    ----------
    size : tuple[int, int]
        Width and height of the upright original.
    shape : tuple[int, int]
        Height and width of the input at most.
    stride : int
    rect : bool
        Pad only up to the next multiple of the stride instead of the whole shape.
    """
    (width, height), (high, wide) = size, shape
    scale = min(high / height, wide / width)
    scaled = (max(1, round(width * scale)), max(1, round(height * scale)))
    spare_x, spare_y = wide - scaled[0], high - scaled[1]
    if rect:
        spare_x, spare_y = spare_x % stride, spare_y % stride
    return Letterbox(
        scale=scale,
        scaled=scaled,
        left=round(spare_x / 2 - 0.1),
        top=round(spare_y / 2 - 0.1),
        shape=(scaled[1] + spare_y, scaled[0] + spare_x),
    )


def fill(blob: Float32, image: Image.Image, box: Letterbox, threads: int) -> None:
    """Write a picture into one slot of the network's input.

    Parameters
    ----------
    blob : float32 [3, H, W]
        Written whole: RGB in 0..1.
    image : PIL.Image.Image
        RGB, any size.
    """
    width, height = box.scaled
    inside = blob[:, box.top : box.top + height, box.left : box.left + width]
    if inside.shape != blob.shape:
        blob.fill(PAD)
    pixels = np.asarray(image)
    if image.size == box.scaled:
        np.multiply(pixels.transpose(2, 0, 1), np.float32(1 / 255), out=inside)
        return
    sizes = np.array([1, height, width, 3], np.int64)
    feeds = {"pixels": pixels[None], "sizes": sizes}
    inside[:] = _resizer(threads).run(None, feeds)[0][0]


@functools.cache
def _resizer(threads: int) -> ort.InferenceSession:
    """Return the session that resizes: bilinear, half-pixel centres, no antialiasing, as OpenCV."""
    return ort.InferenceSession(RESIZE_GRAPH, session_options(threads))


def session_options(threads: int) -> ort.SessionOptions:
    """Return options for a session; 0 threads: as many as onnxruntime finds fit."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options
