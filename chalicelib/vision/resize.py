"""Bilinear resizing, bit for bit as OpenCV's ``resize(..., INTER_LINEAR)`` of 8-bit pixels.

Detectors are trained and measured on pixels that OpenCV resized; a resize that differs by one grey
level in every third pixel moves confidences by a hundredth. OpenCV computes in fixed point: weights
of 11 bits, and shifts that cut off between the passes. The same numbers are computed here in
float32, where each of them is exact, so that numpy's SIMD loops apply.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
Index = npt.NDArray[np.intp]

WEIGHT_ONE = 2048  # a weight of 1 in OpenCV's fixed point
ROWS_AT_A_TIME = 32  # few enough for the intermediate rows to stay in the cache
CHANNELS = 3


def resize_into(pixels: UInt8, out: Float32) -> None:
    """Resize an RGB picture into a part of the network's input.

    Parameters
    ----------
    pixels : uint8 [H, W, 3]
    out : float32 [3, h, w]
        Written whole: planar, values in 0..1.
    """
    (source_height, source_width, _), (_, height, width) = pixels.shape, out.shape
    left, right, left_weight, right_weight = _columns(source_width, width)
    upper, lower, weights = _taps(source_height, height)
    upper, lower = upper.clip(0, source_height - 1), lower.clip(0, source_height - 1)
    above, below = (w[:, None] / np.float32(65536) for w in _fixed_point(weights))
    flat = pixels.reshape(source_height, source_width * CHANNELS)
    for start in range(0, height, ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        used, (first, second) = _used_rows(upper[rows], lower[rows])
        strip = flat[used]
        across = np.multiply(strip.take(left, axis=1), left_weight, dtype=np.float32)
        across += np.multiply(strip.take(right, axis=1), right_weight, dtype=np.float32)
        np.floor(across, out=across)
        blended = across[first]
        blended *= above[rows]
        np.floor(blended, out=blended)
        rest = across[second]
        rest *= below[rows]
        np.floor(rest, out=rest)
        blended += rest
        blended += np.float32(2)
        blended *= np.float32(0.25)
        np.floor(blended, out=blended)
        planes = blended.reshape(-1, CHANNELS, width).transpose(1, 0, 2)
        np.multiply(planes, np.float32(1 / 255), out=out[:, rows])


def _taps(source: int, target: int) -> tuple[Index, Index, Float32]:
    """Return, for each target position, the two source positions and the second one's weight."""
    at = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    low = np.floor(at)
    return low.astype(np.intp), low.astype(np.intp) + 1, at - low


def _fixed_point(weight: Float32) -> tuple[Float32, Float32]:
    """Return the weights of both taps, as OpenCV rounds them."""
    one = np.float32(WEIGHT_ONE)
    return np.rint((1 - weight) * one), np.rint(weight * one)


def _columns(source: int, target: int) -> tuple[Index, Index, Float32, Float32]:
    """Return the positions in a row of interleaved RGB and their weights, planar: [3 * target]."""
    low, high, weight = _taps(source, target)
    outside = (low < 0) | (high >= source)
    weight[outside] = 0
    low, high = low.clip(0, source - 1), high.clip(0, source - 1)
    channel = np.arange(CHANNELS)[:, None]
    sixteenth = np.float32(1 / 16)
    first, second = (np.tile(w * sixteenth, CHANNELS) for w in _fixed_point(weight))
    return (low * CHANNELS + channel).ravel(), (high * CHANNELS + channel).ravel(), first, second


def _used_rows(upper: Index, lower: Index) -> tuple[slice | Index, tuple[Index, Index]]:
    """Return which source rows a strip needs, and where its taps are among them."""
    first, last = upper[0], lower[-1]
    if last - first < 2 * len(upper):
        return slice(first, last + 1), (upper - first, lower - first)
    even = np.arange(0, 2 * len(upper), 2)
    return np.stack([upper, lower], axis=1).ravel(), (even, even + 1)
