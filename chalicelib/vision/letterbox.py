"""Fit a picture into the network's input: scale, centre, pad with grey, normalise to 0..1.

The arithmetic, roundings included, is ultralytics': a detector gives the same boxes only if the
network sees the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from chalicelib.vision.resize import resize_into

PAD = np.float32(114) / np.float32(255)

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Letterbox:
    """How a picture lies in the network's input; all in pixels.

    Attributes
    ----------
    scale : tuple[float, float]
        Input pixels per original pixel, across and down: they differ by what rounding takes.
    scaled : tuple[int, int]
        Width and height of the picture inside the input.
    left, top : int
        Where the picture begins.
    shape : tuple[int, int]
        Height and width of the input, as in NCHW.
    """

    scale: tuple[float, float]
    scaled: tuple[int, int]
    left: int
    top: int
    shape: tuple[int, int]

    def to_original(self, xyxy: Float32, size: tuple[int, int]) -> Float32:
        """Return boxes [N, 4] of the input as boxes of the original of ``size``, clipped to it."""
        moved = xyxy - np.array([self.left, self.top] * 2, np.float32)
        moved /= np.array(self.scale * 2, np.float32)
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
        scale=(scaled[0] / width, scaled[1] / height),
        scaled=scaled,
        left=round(spare_x / 2 - 0.1),
        top=round(spare_y / 2 - 0.1),
        shape=(scaled[1] + spare_y, scaled[0] + spare_x),
    )


def fill(blob: Float32, image: Image.Image, box: Letterbox) -> None:
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
    if image.size == box.scaled:
        np.divide(np.asarray(image).transpose(2, 0, 1), np.float32(255), out=inside)
    else:
        resize_into(image, inside)
