"""Filters for pictures that somebody sends: arrays in, arrays of the same size out.

A picture is an array of shape (height, width, 3), uint8, RGB, upright. What is a matter of
brightness alone (`contour`, `segment`) gives three equal channels, so that each filter takes what
any other gave. 12 megapixels need less than 512 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Turn = Literal[90, 180, 270]
Direction = Literal["horizontal", "vertical"]

WHITE, BLACK = 255, 0
SALT, PEPPER = 1, 2
SEGMENT_ABOVE = 100


def grey(pixels: Pixels) -> Pixels:
    """Return the luma of a picture, shape (height, width): 0.299 R + 0.587 G + 0.114 B.

    The same as Pillow's conversion to mode L.
    """
    return np.asarray(Image.fromarray(pixels).convert("L"))


def blur(pixels: Pixels, level: int = 16) -> Pixels:
    """Return the mean over a box of level × level pixels around each pixel, rounded.

    The box reaches from ``level // 2`` pixels above and left of the pixel to
    ``(level - 1) // 2`` below and right of it; of a box that leaves the picture, the part inside
    counts.

    Parameters
    ----------
    pixels : uint8 array, shape (height, width, 3)
    level : int
        At least 1, which changes nothing.
    """
    height, width = pixels.shape[:2]
    before, after = level // 2, (level - 1) // 2
    heights, widths = _lengths(height, level), _lengths(width, level)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    blurred = np.empty_like(planes)
    columns = planes[:, :after].sum(axis=1, dtype=np.uint32)  # of the rows that the box reaches
    running = np.zeros((3, width + level), np.uint32)  # overflow cancels out in differences
    inside = running[:, before + 1 : before + 1 + width]
    for row in range(height):
        if row + after < height:
            columns += planes[:, row + after]
        if row > before:
            columns -= planes[:, row - before - 1]
        np.cumsum(columns, axis=1, out=inside)
        running[:, before + 1 + width :] = inside[:, -1:]
        area = heights[row] * widths
        sums = running[:, level:] - running[:, :-level]
        blurred[:, row] = (sums + area // 2) / area  # float64: the floor of it is exact
    return np.ascontiguousarray(blurred.transpose(1, 2, 0))


def contour(pixels: Pixels) -> Pixels:
    """Return how much the brightness of each pixel differs from that of the one left of it.

    Pixels of the first column have none left of them: 0.
    """
    brightness = grey(pixels)
    edges = np.zeros_like(brightness)
    left, right = brightness[:, :-1], brightness[:, 1:]
    np.subtract(np.maximum(left, right), np.minimum(left, right), out=edges[:, 1:])
    return _of_three_channels(edges)


def rotate(pixels: Pixels, clockwise: Turn = 90) -> Pixels:
    """Return a picture turned clockwise by so many degrees; 90 and 270 swap height and width."""
    return np.ascontiguousarray(np.rot90(pixels, k=-clockwise // 90))


def salt_and_pepper(
    pixels: Pixels, proportion: float = 0.05, rng: np.random.Generator | None = None
) -> Pixels:
    """Return a picture in which some pixels, chosen by chance, are white and as many are black.

    Parameters
    ----------
    pixels : uint8 array, shape (height, width, 3)
    proportion : float
        Share of the pixels that change, 0 to 1: half of them, rounded down, turn white, and as many
        black.
    rng : numpy.random.Generator, optional
        The source of chance.
    """
    rng = rng or np.random.default_rng()
    count = pixels.shape[0] * pixels.shape[1]
    half = int(count * proportion / 2)
    kinds = np.zeros(count, np.uint8)  # shuffled faster than as many places are chosen
    kinds[:half], kinds[half : 2 * half] = SALT, PEPPER
    rng.shuffle(kinds)
    noisy = pixels.copy()
    flat = noisy.reshape(count, -1)
    flat[kinds == SALT] = WHITE
    flat[kinds == PEPPER] = BLACK
    return noisy


def segment(pixels: Pixels) -> Pixels:
    """Return white where a picture's brightness is above 100, black elsewhere."""
    bright = grey(pixels) > SEGMENT_ABOVE
    return _of_three_channels(np.where(bright, np.uint8(WHITE), np.uint8(BLACK)))


def concat(
    pictures: Sequence[Pixels], direction: Direction = "horizontal", first_at_start: bool = True
) -> Pixels:
    """Return pictures side by side or one above the other, all scaled to the smallest of them.

    Parameters
    ----------
    pictures : Sequence[Pixels]
        Two or more, in order.
    direction : "horizontal" or "vertical"
        Scaled to one height, or to one width.
    first_at_start : bool
        Whether the first is on the left, or above; else it is on the right, or below.

    Raises
    ------
    ValueError
        There are fewer than two.
    """
    if len(pictures) < 2:
        raise ValueError(f"expected two pictures or more, got {len(pictures)}")
    across = 0 if direction == "horizontal" else 1
    side = min(picture.shape[across] for picture in pictures)
    scaled = [_scaled(picture, across, side) for picture in pictures]
    return np.concatenate(scaled if first_at_start else scaled[::-1], axis=1 - across)


def _scaled(picture: Pixels, axis: int, length: int) -> Pixels:
    """Return a picture whose one side has this length, the other in proportion."""
    if picture.shape[axis] == length:
        return picture
    other = max(1, round(picture.shape[1 - axis] * length / picture.shape[axis]))
    size = (other, length) if axis == 0 else (length, other)  # Pillow's order: width, height
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def _lengths(length: int, level: int) -> npt.NDArray[np.int64]:
    """Return how long the part inside is, of a box around each pixel of a side."""
    begins = np.arange(length) - level // 2
    return np.minimum(begins + level, length) - np.maximum(begins, 0)


def _of_three_channels(brightness: Pixels) -> Pixels:
    return np.repeat(brightness[..., np.newaxis], 3, axis=2)
