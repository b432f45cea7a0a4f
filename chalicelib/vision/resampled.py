"""Average precision of many resamples of the same pictures, for bootstrap intervals.

A resample says how often each picture is in it. Where each is in it once, figures are those of
``precision_by_class``; where one is in it twice, those of a set that has it twice (in which of two
equally confident boxes of a picture both copies of the first come before those of the second).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chalicelib.vision.boxes import Detections
from chalicelib.vision.precision import RECALLS, THRESHOLDS, correct

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

MOST_AT_ONCE = 20_000_000  # numbers that are held at once: 160 MB


@dataclass(frozen=True, eq=False)
class _Class:
    """What was found of one class, most confident first, and what there is.

    Attributes
    ----------
    right : bool [N, 10]
        At each IoU of ``THRESHOLDS``.
    picture : int64 [N]
        In which picture.
    truths : float64 [P]
        True boxes in each picture.
    """

    right: Bool
    picture: Int64
    truths: Float64


class Scored:
    """What a detector found on pictures, ready to be measured on resamples of them.

    Parameters
    ----------
    found, truths : Sequence[Detections]
        A pair for every picture.

    Raises
    ------
    ValueError
        There are not as many of the one as of the other.
    """

    def __init__(self, found: Sequence[Detections], truths: Sequence[Detections]) -> None:
        right = [correct(*pair) for pair in zip(found, truths, strict=True)]
        self._pictures = len(right)
        self._classes: dict[int, _Class] = {}
        if not right:
            return
        rights = np.concatenate(right)
        confidence = np.concatenate([each.confidence for each in found]).astype(np.float64)
        class_id = np.concatenate([each.class_id for each in found])
        picture = np.repeat(np.arange(len(found)), [len(each) for each in found])
        shown = np.unique(np.concatenate([each.class_id for each in truths]))
        for each in shown.tolist():
            mine = np.flatnonzero(class_id == each)
            mine = mine[np.argsort(-confidence[mine], kind="stable")]
            counts = np.array([np.sum(t.class_id == each) for t in truths], np.float64)
            self._classes[int(each)] = _Class(rights[mine], picture[mine], counts)

    def precision(self, times: Float64) -> dict[int, Float64]:
        """Return the AP50-95 of each class that the truth shows, in each resample.

        Parameters
        ----------
        times : float64 [R, P]
            How often each picture is in each resample.

        Returns
        -------
        dict of int to float64 [R]
            By class id; not a number where a resample shows no box of the class.
        """
        return {class_id: _precision(each, times) for class_id, each in self._classes.items()}


def _precision(of: _Class, times: Float64) -> Float64:
    """Return the mean over ``THRESHOLDS`` of the average precision in each resample."""
    rows = max(1, MOST_AT_ONCE // max(1, len(of.picture)))
    parts = [_precision_of_some(of, times[at : at + rows]) for at in range(0, len(times), rows)]
    return np.concatenate(parts) if parts else np.empty(0)


def _precision_of_some(of: _Class, times: Float64) -> Float64:
    truths = times @ of.truths
    wanted = _hits_for_recalls(truths)
    # What is found so far, right or wrong, is the same at each threshold; precision is looked at
    # where something right was found, for nowhere else can it be best.
    found = np.cumsum(times[:, of.picture], axis=1)
    total = np.zeros(len(times))
    for column in range(len(THRESHOLDS)):
        at = np.flatnonzero(of.right[:, column])
        if not len(at):
            continue
        hits = np.cumsum(times[:, of.picture[at]], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.nan_to_num(hits / found[:, at])
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        total += _mean_over_recalls(hits, best, wanted)
    return np.where(truths > 0, total / len(THRESHOLDS), np.nan)


def _hits_for_recalls(truths: Float64) -> Float64:
    """Return how many boxes have to be right for each of ``RECALLS``, float64 [R, 101].

    Whole numbers, and those for which `hits / truths` is no less than the recall as floats are.
    """
    some = np.maximum(truths, 1)[:, None]
    hits = np.ceil(RECALLS * some)
    hits -= (hits > 0) & ((hits - 1) / some >= RECALLS)
    return hits + (hits / some < RECALLS)


def _mean_over_recalls(hits: Float64, best: Float64, wanted: Float64) -> Float64:
    """Return the mean of the best precision from each of ``RECALLS`` on, by row.

    Parameters
    ----------
    hits, best : float64 [R, N]
        Rising and falling along a row.
    wanted : float64 [R, 101]
    """
    rows, columns = hits.shape
    # All rows are searched at once: each begins above the end of the one before.
    above = np.arange(rows)[:, None] * (max(hits[:, -1].max(), wanted.max()) + 1)
    found = np.searchsorted((hits + above).ravel(), (wanted + above).ravel(), side="left")
    at = found.reshape(rows, -1) - np.arange(rows)[:, None] * columns
    kept = np.take_along_axis(best, np.minimum(at, columns - 1), axis=1)
    return np.where(at < columns, kept, 0).sum(axis=1) / len(RECALLS)
