"""How much boxes overlap, and which of them to drop for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK = 128  # candidates that are compared with each other at once
CLASS_OFFSET = np.float32(7680)

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


def iou_matrix[Real: (np.float32, np.float64)](
    a: npt.NDArray[Real], b: npt.NDArray[Real]
) -> npt.NDArray[Real]:
    """Return the intersection over union [N, M] of boxes [N, 4] and [M, 4], xyxy.

    Single precision in, single precision out; likewise double. A box without area overlaps nothing.

    Examples
    --------
    >>> iou_matrix(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2], [5, 5, 6, 6]])).round(3)
    array([[0.333, 0.   ]])
    """
    left, top, right, bottom = (
        clip(a[:, None, side], b[None, :, side])
        for side, clip in enumerate((np.maximum, np.maximum, np.minimum, np.minimum))
    )
    overlap = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    union = _areas(a)[:, None] + _areas(b)[None, :] - overlap
    nothing = np.zeros_like(overlap * 1.0)
    matrix: npt.NDArray[Real] = np.divide(overlap, union, out=nothing, where=union > 0)
    return matrix


def _areas[Real: (np.float32, np.float64)](xyxy: npt.NDArray[Real]) -> npt.NDArray[Real]:
    areas: npt.NDArray[Real] = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    return areas


def suppress(xyxy: Float32, class_id: Int64, iou: float, limit: int) -> Int64:
    """Class-aware non-maximum suppression: a box that overlaps a better one of its class goes.

    Overlaps are taken of boxes moved apart by class, as ultralytics takes them: far from zero a
    float32 is coarse (1/16 pixel from class 69 on), and that decides close calls.

    Parameters
    ----------
    xyxy : float32 [N, 4]
        Sorted by falling confidence.
    class_id : int64 [N]
    iou : float
        How much overlap is too much: more than this.
    limit : int
        Keep at most so many.

    Returns
    -------
    int64 [K]
        Indices of those kept, in order.
    """
    moved = xyxy + class_id[:, None].astype(np.float32) * CLASS_OFFSET
    kept = np.zeros(0, np.int64)
    for start in range(0, len(xyxy), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(xyxy)))
        block = block[~_rivals(moved, class_id, block, kept, iou).any(axis=1)]
        block = block[_survivors(_rivals(moved, class_id, block, block, iou))]
        kept = np.concatenate([kept, block])[:limit]
        if len(kept) == limit:
            break
    return kept


def _rivals(moved: Float32, class_id: Int64, these: Int64, those: Int64, iou: float) -> Bool:
    """Say which of ``these`` and ``those`` are of one class and overlap too much."""
    rivals: Bool = class_id[these][:, None] == class_id[those][None, :]
    rivals &= iou_matrix(moved[these], moved[those]) > iou
    return rivals


def _survivors(rivals: Bool) -> Bool:
    """Return which of N boxes, best first, no better survivor overlaps; ``rivals`` is [N, N]."""
    alive = np.ones(len(rivals), np.bool_)
    for index in range(len(rivals)):
        if alive[index]:
            alive[index + 1 :] &= ~rivals[index, index + 1 :]
    return alive
