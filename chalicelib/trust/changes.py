"""What a person changed: which boxes were added, removed, moved, relabelled.

Predicted and submitted boxes are paired one to one, in three passes, the most overlapping pair
first in each:

1. of one class, IoU at least 0.5: the same object, kept or moved;
2. of two classes, IoU at least 0.5: the same object, relabelled;
3. of one class, IoU at least 0.1: the same object, moved far.

What is left over was removed (predicted) or added (submitted). A box that is moved far and
relabelled at once reads as removed and added. 0.5 is where the validation AP counts a box as
found, and 0.1 where the usual taxonomy of detection errors (TIDE) stops to speak of a badly placed
box. The pairing is greedy, as in the evaluation of detectors: an untouched box, with its IoU of 1,
always finds itself; among many boxes that overlap each other it may leave over a pair that a
cleverer assignment would have made.

The score does not depend on any of this.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.vision.overlap import iou_matrix

UNTOUCHED_IOU = 0.95  # a box dragged by less than a fortieth of its side was not moved on purpose
SAME_OBJECT_IOU = 0.5
NEARBY_IOU = 0.1


class ChangeKind(StrEnum):
    """What became of a box."""

    KEPT = "kept"
    MOVED = "moved"
    RELABELLED = "relabelled"
    REMOVED = "removed"
    ADDED = "added"


@dataclass(frozen=True)
class Change:
    """One box, or one pair of boxes, and what became of it.

    Attributes
    ----------
    kind : ChangeKind
    predicted, submitted : int | None
        Which box of each side; None where there is none.
    predicted_class, submitted_class : int | None
    iou : float
        How much the two overlap; 0 for an added or removed box.
    """

    kind: ChangeKind
    predicted: int | None
    submitted: int | None
    predicted_class: int | None
    submitted_class: int | None
    iou: float

    @property
    def undone(self) -> bool:
        """Say that the predicted object, with its class and place, is no longer there."""
        far = self.kind is ChangeKind.MOVED and self.iou < SAME_OBJECT_IOU
        return far or self.kind in (ChangeKind.REMOVED, ChangeKind.RELABELLED)

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class Changes:
    """All that was changed: first by predicted box, then what was added, by submitted box."""

    changes: tuple[Change, ...]

    def of(self, kind: ChangeKind) -> tuple[Change, ...]:
        """Return the changes of one kind."""
        return tuple(change for change in self.changes if change.kind is kind)

    def to_json(self) -> dict[str, Any]:
        """Return how many there are of each kind, and each of them."""
        return {
            "counts": {kind.value: len(self.of(kind)) for kind in ChangeKind},
            "changes": [change.to_json() for change in self.changes],
        }


def compare(predicted: ClassedBoxes, submitted: ClassedBoxes) -> Changes:
    """Say what was changed from the predicted boxes to the submitted ones.

    Examples
    --------
    >>> predicted = ClassedBoxes([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 0])
    >>> submitted = ClassedBoxes([[0, 0, 10, 10], [50, 50, 60, 60], [21, 20, 31, 30]], [1, 0, 0])
    >>> compare(predicted, submitted).to_json()["counts"]
    {'kept': 0, 'moved': 1, 'relabelled': 1, 'removed': 0, 'added': 1}
    """
    pairs = _pairs(predicted, submitted)
    was, now = predicted.class_id.tolist(), submitted.class_id.tolist()
    answered = [
        _paired(index, *pairs[index], was, now)
        if index in pairs
        else Change(ChangeKind.REMOVED, index, None, was[index], None, 0.0)
        for index in range(len(was))
    ]
    taken = {other for other, _ in pairs.values()}
    added = [
        Change(ChangeKind.ADDED, None, index, None, now[index], 0.0)
        for index in range(len(now))
        if index not in taken
    ]
    return Changes((*answered, *added))


def _paired(index: int, other: int, iou: float, was: list[int], now: list[int]) -> Change:
    if was[index] != now[other]:
        kind = ChangeKind.RELABELLED
    else:
        kind = ChangeKind.KEPT if iou >= UNTOUCHED_IOU else ChangeKind.MOVED
    return Change(kind, index, other, was[index], now[other], iou)


def _pairs(predicted: ClassedBoxes, submitted: ClassedBoxes) -> dict[int, tuple[int, float]]:
    """Return which submitted box answers each predicted one, and their IoU."""
    iou = iou_matrix(predicted.xyxy, submitted.xyxy)
    same_class = predicted.class_id[:, None] == submitted.class_id
    passes = np.where(iou >= SAME_OBJECT_IOU, np.where(same_class, 1, 2), 3)
    rows, columns = np.nonzero(iou >= np.where(same_class, NEARBY_IOU, SAME_OBJECT_IOU))
    overlaps = iou[rows, columns]
    order = np.lexsort((columns, rows, -overlaps, passes[rows, columns]))
    best_first = (rows[order].tolist(), columns[order].tolist(), overlaps[order].tolist())
    pairs: dict[int, tuple[int, float]] = {}
    taken: set[int] = set()
    for row, column, overlap in zip(*best_first, strict=True):
        if row not in pairs and column not in taken:
            pairs[row] = (column, overlap)
            taken.add(column)
    return pairs
