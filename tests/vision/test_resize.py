"""Resizing equals OpenCV's fixed-point arithmetic, written here the slow and plain way."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from chalicelib.vision.resize import resize_into

SIZES = [
    ((81, 108), (48, 64)),
    ((97, 61), (40, 30)),
    ((30, 20), (96, 64)),
    ((400, 300), (64, 48)),
    ((7, 5), (7, 9)),
    ((1, 1), (3, 2)),
    ((3, 1), (1, 4)),
    ((90, 1), (40, 1)),
    ((1, 77), (1, 30)),
    ((64, 48), (64, 47)),
    ((128, 96), (64, 48)),
    ((192, 144), (64, 48)),
    ((101, 103), (100, 102)),
    ((2048, 3), (100, 1)),
]


@pytest.mark.parametrize(("size", "to"), SIZES)
def test_pixels_are_those_of_opencvs_fixed_point(
    size: tuple[int, int], to: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    out = np.empty((3, to[1], to[0]), np.float32)

    resize_into(Image.fromarray(pixels), out)

    assert np.array_equal(np.rint(out * 255).astype(int), fixed_point(pixels, to))


def fixed_point(pixels: np.ndarray, to: tuple[int, int]) -> np.ndarray:
    """Return the resized picture, int [3, h, w], one pixel after the other."""
    result = np.empty((3, to[1], to[0]), int)
    for y in range(to[1]):
        y0, y1, b0, b1 = taps(y, pixels.shape[0], to[1], zero_outside=False)
        for x in range(to[0]):
            x0, x1, a0, a1 = taps(x, pixels.shape[1], to[0], zero_outside=True)
            for channel in range(3):
                upper = int(pixels[y0, x0, channel]) * a0 + int(pixels[y0, x1, channel]) * a1
                lower = int(pixels[y1, x0, channel]) * a0 + int(pixels[y1, x1, channel]) * a1
                total = ((b0 * (upper >> 4)) >> 16) + ((b1 * (lower >> 4)) >> 16)
                result[channel, y, x] = (total + 2) >> 2
    return result


def taps(at: int, source: int, target: int, zero_outside: bool) -> tuple[int, int, int, int]:
    exact = np.float32((at + 0.5) * (source / target) - 0.5)
    low = int(np.floor(exact))
    weight = np.float32(exact - np.floor(exact))
    if zero_outside and (low < 0 or low + 1 >= source):
        weight = np.float32(0)
    first, second = min(max(low, 0), source - 1), min(max(low + 1, 0), source - 1)
    return (
        first,
        second,
        int(np.rint((1 - weight) * np.float32(2048))),
        int(np.rint(weight * np.float32(2048))),
    )


@pytest.mark.training
def test_pixels_are_those_of_opencv_itself() -> None:
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(1)
    for _ in range(150):
        longest, side = rng.choice([50, 700, 3000]), rng.choice([32, 320, 640])
        width, height = rng.integers(1, longest, 2).tolist()
        scale = side / max(width, height)
        to = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        out = np.empty((3, to[1], to[0]), np.float32)

        resize_into(Image.fromarray(pixels), out)

        if to != (width, height):
            expected = cv2.resize(pixels, to, interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
            assert np.array_equal(out, expected / np.float32(255)), (width, height, to)
