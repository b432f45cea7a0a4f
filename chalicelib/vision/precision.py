"""How good boxes are: average precision as COCO defines it, and confidence curves.

Numbers agree with those of pycocotools (`tests/vision/test_precision.py`). Boxes of a class are
compared with true boxes of that class only; there are no crowds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.vision.boxes import Detections
from chalicelib.vision.overlap import iou_matrix

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of IoU
RECALLS = np.linspace(0, 1, 101)
CONFIDENCES = np.linspace(0, 1, 101)

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassPrecision:
    """How well the boxes of one class were found.

    Attributes
    ----------
    truths : int
        True boxes, at least one.
    ap : float64 [10]
        Average precision at IoU 0.5, 0.55 and so on to 0.95.
    precision, recall, f1 : float64 [101]
        At IoU 0.5, of what is at least as confident as 0, 0.01 and so on to 1. Where nothing is
        so confident the precision is 1.
    """

    truths: int
    ap: Float64
    precision: Float64
    recall: Float64
    f1: Float64


def correct(found: Detections, truth: Detections) -> Bool:
    """Return which boxes of one picture are right at each IoU of `THRESHOLDS`, bool [N, 10].

    In the order of falling confidence each takes the true box of its class that it overlaps most
    among those that are not taken yet.

    Examples
    --------
    >>> names, size = ("scratch",), (100, 100)
    >>> truth = Detections([[0, 0, 10, 10]], [1], [0], names, size)
    >>> twice = Detections([[0, 0, 10, 6], [0, 0, 10, 10]], [0.9, 0.8], [0, 0], names, size)
    >>> correct(twice, truth).sum(axis=1).tolist()
    [3, 7]
    """
    right = np.zeros((len(found), len(THRESHOLDS)), np.bool_)
    if not len(truth):
        return right
    overlaps = iou_matrix(found.xyxy.astype(np.float64), truth.xyxy.astype(np.float64))
    overlaps[found.class_id[:, None] != truth.class_id] = -1
    free = np.ones((len(truth), len(THRESHOLDS)), np.bool_)
    columns = np.arange(len(THRESHOLDS))
    for row in np.argsort(-found.confidence, kind="stable"):
        left = np.where(free, overlaps[row][:, None], -1)
        last = len(truth) - 1 - left[::-1].argmax(axis=0)  # of equals the last, as COCO has it
        right[row] = left[last, columns] >= THRESHOLDS
        free[last[right[row]], columns[right[row]]] = False
    return right


def precision_by_class(
    found: Sequence[Detections], truths: Sequence[Detections]
) -> dict[int, ClassPrecision]:
    """Return how well each class that the truth shows was found, by class id.

    Parameters
    ----------
    found, truths : Sequence[Detections]
        A pair for every picture.

    Raises
    ------
    ValueError
        There are not as many of the one as of the other.
    """
    right = [correct(*pair) for pair in zip(found, truths, strict=True)]
    if not right:
        return {}
    rights = np.concatenate(right)
    confidence = np.concatenate([each.confidence for each in found]).astype(np.float64)
    class_id = np.concatenate([each.class_id for each in found])
    shown, counts = np.unique(np.concatenate([t.class_id for t in truths]), return_counts=True)
    return {
        int(each): _class_precision(rights[class_id == each], confidence[class_id == each], int(n))
        for each, n in zip(shown, counts, strict=True)
    }


def _class_precision(right: Bool, confidence: Float64, truths: int) -> ClassPrecision:
    order = np.argsort(-confidence, kind="stable")
    right, confidence = right[order], confidence[order]
    hits = np.cumsum(right, axis=0, dtype=np.float64)
    ap = np.array([_average(hits[:, column], truths) for column in range(len(THRESHOLDS))])
    # How many are at least as confident: they are sorted by falling confidence.
    kept = np.searchsorted(-confidence, -CONFIDENCES, side="right")
    found = np.concatenate([[0.0], hits[:, 0]])[kept]
    precision = np.divide(found, kept, out=np.ones(len(kept)), where=kept > 0)
    recall = found / truths
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros(len(both)), where=both > 0)
    return ClassPrecision(truths, ap, precision, recall, f1)


def _average(hits: npt.NDArray[Any], truths: int) -> float:
    """Return the mean over 101 recalls of the best precision from each recall on.

    Parameters
    ----------
    hits : float64 [N]
        How many of the first so many, most confident first, were right.
    """
    if not len(hits):
        return 0.0
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / truths, RECALLS, side="left")
    return float(np.where(at < len(best), best[np.minimum(at, len(best) - 1)], 0).mean())
