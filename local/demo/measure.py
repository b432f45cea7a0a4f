"""How good a model is on photos that nobody has trained on: mean average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from local.demo.people import Boxes, overlaps

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())  # of IoU
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Found:
    """What a model finds on a photo of which the truth is known.

    Attributes
    ----------
    there, predicted : Boxes
    confidence : float64 [N]
        Of those predicted, falling.
    """

    there: Boxes
    predicted: Boxes
    confidence: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Precision:
    """Mean average precision of one class, as COCO counts it: 101 points of recall."""

    map50: float
    map50_95: float


def precision(found: Sequence[Found]) -> Precision:
    """Measure, over all photos and for boxes of all classes alike.

    Raises
    ------
    ValueError
        Nothing is on the photos: there is nothing to measure on.
    """
    aps = [average_precision(found, least) for least in THRESHOLDS]
    return Precision(aps[0], float(np.mean(aps)))


def average_precision(found: Sequence[Found], least: float) -> float:
    """Return the average precision where boxes are right from an IoU on.

    Raises
    ------
    ValueError
        Nothing is on the photos.
    """
    there = sum(len(each.there) for each in found)
    if not there:
        raise ValueError("nothing is on these photos: there is nothing to measure on")
    right = np.concatenate([_right(each, least) for each in found])
    order = np.argsort(-np.concatenate([each.confidence for each in found]), kind="stable")
    hits = np.cumsum(right[order])
    shares = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(shares[::-1])[::-1]
    at = np.searchsorted(hits / there, RECALLS, side="left")
    return float(np.mean(np.append(best, 0.0)[np.minimum(at, len(best))]))


def _right(found: Found, least: float) -> npt.NDArray[np.bool_]:
    """Return which predicted boxes are right: each takes the best that no surer one has taken."""
    left = overlaps(found.predicted, found.there)
    right = np.zeros(len(found.predicted), bool)
    for row in range(len(left)):
        if left.shape[1] and left[row].max() >= least:
            right[row] = True
            left[:, left[row].argmax()] = 0
    return right
