"""Bilinear resizing, bit for bit as OpenCV's ``resize(..., INTER_LINEAR)`` of 8-bit pixels.

Detectors are trained and measured on pixels that OpenCV resized; a resize that differs by one grey
level in every third pixel moves confidences by a hundredth. OpenCV computes in fixed point: weights
of 11 bits, and shifts that cut off between the passes. The same numbers are computed here, whole
rows at a time; in float32 where it is exact, because that is faster than int32.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

Float32 = npt.NDArray[np.float32]
Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
Index = npt.NDArray[np.intp]

WEIGHT_ONE = 2048  # a weight of 1 in OpenCV's fixed point
ROWS_AT_A_TIME = 32  # few enough for the intermediate rows to stay in the cache
CHANNELS = 3


def resize_into(image: Image.Image, out: Float32) -> None:
    """Resize an RGB picture into a part of the network's input.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode RGB.
    out : float32 [3, h, w]
        Written whole: planar, values in 0..1.
    """
    _, height, width = out.shape
    weights = _row_weights(image.height, height)
    strips = _shrunk if _samples_evenly(image.size, (width, height)) else _enlarged
    for rows, above, below in strips(image, (width, height)):
        blended = _weighed(above, weights[0][rows])
        blended += _weighed(below, weights[1][rows])
        blended += np.int16(2)
        blended >>= np.int16(2)
        planes = blended.reshape(-1, width, CHANNELS).transpose(2, 0, 1)
        np.divide(planes, np.float32(255), out=out[:, rows])


def _shrunk(image: Image.Image, size: tuple[int, int]) -> Iterator[tuple[slice, Int32, Int32]]:
    """Yield strips of the two blended source rows of each target row; copies only used pixels."""
    weights = _column_weights(image.width, size[0])
    (upper_left, upper_right), (lower_left, lower_right) = (
        [_sample(image, size, (right, down)) for right in (0, 1)] for down in (0, 1)
    )
    for rows in _strips(size[1]):
        yield (
            rows,
            _across(upper_left[rows], upper_right[rows], weights),
            _across(lower_left[rows], lower_right[rows], weights),
        )


def _enlarged(image: Image.Image, size: tuple[int, int]) -> Iterator[tuple[slice, Int32, Int32]]:
    """Yield as ``_shrunk`` does, for pictures of any size: blends each source row once."""
    upper, lower, _ = _taps(image.height, size[1])
    upper, lower = (rows.clip(0, image.height - 1) for rows in (upper, lower))
    left, right, _ = _taps(image.width, size[0])
    flat = np.asarray(image).reshape(image.height, -1)
    first, second = (
        flat.take(_of_channels(columns.clip(0, image.width - 1)), axis=1)
        for columns in (left, right)
    )
    weights = _column_weights(image.width, size[0])
    blended = np.empty(first.shape, np.int32)
    for rows in _strips(image.height):
        blended[rows] = _across(first[rows], second[rows], weights)
    for rows in _strips(size[1]):
        yield rows, blended[upper[rows]], blended[lower[rows]]


def _strips(height: int) -> Iterator[slice]:
    for start in range(0, height, ROWS_AT_A_TIME):
        yield slice(start, start + ROWS_AT_A_TIME)


def _samples_evenly(source: tuple[int, int], target: tuple[int, int]) -> bool:
    """Say whether the taps of a shrinking picture lie where an affine transform samples it."""
    return all(
        long > short and np.array_equal(_taps(long, short)[0], _exact_taps(long, short))
        for long, short in zip(source, target, strict=True)
    )


def _exact_taps(source: int, target: int) -> Index:
    """Return the first tap of each target position, in whole numbers."""
    return ((2 * np.arange(target) + 1) * source - target) // (2 * target)


def _sample(image: Image.Image, size: tuple[int, int], offset: tuple[int, int]) -> UInt8:
    """Return the tap of each target pixel that lies ``offset`` from the first: uint8 [h, 3 * w]."""
    matrix = []
    for axis, (source, target) in enumerate(zip(image.size, size, strict=True)):
        # Exact positions are multiples of 1/(2 target): half of that keeps off the edges of pixels.
        scale, start = source / target, offset[axis] - 0.5 + 0.25 / target
        matrix += [scale, 0, start] if axis == 0 else [0, scale, start]
    sampled = image.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)
    return np.asarray(sampled).reshape(size[1], -1)


def _across(first: UInt8, second: UInt8, weights: tuple[Float32, Float32]) -> Int32:
    """Blend horizontal neighbours and drop the last 4 of the 11 bits that the weights added.

    Sums are below 2**24, so float32 is exact.
    """
    blended = first.astype(np.float32)
    blended *= weights[0]
    other = second.astype(np.float32)
    other *= weights[1]
    blended += other
    return blended.astype(np.int32)


def _weighed(blended: Int32, weight: Int32) -> Int16:
    """Multiply rows by their weight and drop 16 bits."""
    product = blended * weight
    product >>= 16
    return product.astype(np.int16)


def _of_channels(columns: Index) -> Index:
    """Return the positions of RGB pixels in a row of single channels."""
    positions: Index = columns[:, None] * CHANNELS + np.arange(CHANNELS)
    return positions.ravel()


def _taps(source: int, target: int) -> tuple[Index, Index, Float32]:
    """Return, for each target position, the two source positions and the second one's weight."""
    at = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    low = np.floor(at)
    return low.astype(np.intp), low.astype(np.intp) + 1, at - low


def _fixed_point(weight: Float32) -> tuple[Float32, Float32]:
    """Return the weights of both taps, as OpenCV rounds them."""
    one = np.float32(WEIGHT_ONE)
    return np.rint((1 - weight) * one), np.rint(weight * one)


def _row_weights(source: int, target: int) -> tuple[Int32, Int32]:
    """Return the weights of the upper and the lower row of each target row: int32 [target, 1]."""
    upper, lower = _fixed_point(_taps(source, target)[2])
    return upper[:, None].astype(np.int32), lower[:, None].astype(np.int32)


def _column_weights(source: int, target: int) -> tuple[Float32, Float32]:
    """Return the weights of the left and the right pixel, for rows of RGB: float32 [3 * target]."""
    low, high, weight = _taps(source, target)
    weight[(low < 0) | (high >= source)] = 0
    first, second = (w.repeat(CHANNELS) / np.float32(16) for w in _fixed_point(weight))
    return first, second
