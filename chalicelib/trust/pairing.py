"""Pairs the boxes of two answers that are one object: of one class, IoU at least 0.5.

The most overlapping pair comes first, each box is in one pair at most, and of equal overlaps the
first boxes are paired: the first pass of ``chalicelib.trust.changes``, without the rest. Anybody
can send thousands of boxes, so what cannot overlap by half is not looked at. Two boxes that do are
at most twice as wide as each other, and begin close to each other. So both sides are sorted by an
edge, and each block of boxes of one side is compared with those of the other that begin near it.
``effort`` says how many pairs that leaves, before any of them is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.changes import SAME_OBJECT_IOU
from chalicelib.vision.overlap import iou_matrix

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

BLOCK = 64  # boxes of one side that are compared with those of the other at once
# An IoU of 0.5 takes an overlap of half of the longer side. So the other box begins at most one
# side before this one, and at most half a side after it; a tenth of a side more for rounding.
BEFORE, AFTER = 1.1, 0.6
SORTED_AT_ONCE = 32_768  # pairs in the first round; few are left where many overlap each other
LOOKED_AT = 4_096  # pairs at a time, without those of boxes that are paired already

Block = tuple[Int64, Int64]


def same_objects(one: ClassedBoxes, other: ClassedBoxes) -> list[tuple[int, int]]:
    """Return which boxes of two answers, in the same units, are one object.

    Examples
    --------
    >>> both = ClassedBoxes([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 0])
    >>> same_objects(both, ClassedBoxes([[21, 0, 31, 10], [0, 0, 10, 10]], [0, 1]))
    [(1, 0)]
    """
    if not most_matched(one, other):
        return []
    rows, columns, overlaps = _overlapping(one, other)
    return _best_first(rows, columns, overlaps, (len(one), len(other)))


def effort(one: ClassedBoxes, other: ClassedBoxes) -> int:
    """Return how many pairs of boxes are looked at to pair two answers.

    For 2,000 boxes beside each other that is a tenth of all pairs or less; all of them where every
    box lies over every other.
    """
    return _size(_blocks(one, other)) if most_matched(one, other) else 0


def most_matched(one: ClassedBoxes, other: ClassedBoxes) -> int:
    """Return how many pairs there are at most, by the number of boxes of each class.

    Examples
    --------
    >>> both = ClassedBoxes([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 3])
    >>> most_matched(both, ClassedBoxes([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 0]))
    1
    """
    sides = [np.unique(side.class_id, return_counts=True) for side in (one, other)]
    (classes, counts), (other_classes, other_counts) = sides
    _, here, there = np.intersect1d(classes, other_classes, assume_unique=True, return_indices=True)
    return int(np.minimum(counts[here], other_counts[there]).sum())


def _blocks(one: ClassedBoxes, other: ClassedBoxes) -> list[Block]:
    """Return boxes of one answer with those of the other that may be one object with them.

    Sorted by the left or the upper edge, whichever leaves fewer pairs.
    """
    return min((_blocks_along(one, other, axis) for axis in (0, 1)), key=_size)


def _size(blocks: Sequence[Block]) -> int:
    return sum(len(rows) * len(columns) for rows, columns in blocks)


def _blocks_along(one: ClassedBoxes, other: ClassedBoxes, axis: int) -> list[Block]:
    begins, side = one.xyxy[:, axis], one.xyxy[:, axis + 2] - one.xyxy[:, axis]
    order = begins.argsort(kind="stable")
    other_order = other.xyxy[:, axis].argsort(kind="stable")
    other_begins = other.xyxy[other_order, axis]
    cuts = np.arange(0, len(order), BLOCK)
    least = np.minimum.reduceat((begins - BEFORE * side)[order], cuts)
    most = np.maximum.reduceat((begins + AFTER * side)[order], cuts)
    starts, ends = other_begins.searchsorted(least), other_begins.searchsorted(most, "right")
    return [
        (order[cut : cut + BLOCK], other_order[start:end])
        for cut, start, end in zip(cuts, starts, ends, strict=True)
    ]


def _overlapping(one: ClassedBoxes, other: ClassedBoxes) -> tuple[Int64, Int64, Float64]:
    """Return all pairs of one class that overlap enough: both boxes, and their IoU."""
    rows, columns, overlaps = [], [], []
    for these, those in _blocks(one, other):
        iou = iou_matrix(one.xyxy[these], other.xyxy[those])
        same_class = one.class_id[these][:, None] == other.class_id[those]
        row, column = np.nonzero((iou >= SAME_OBJECT_IOU) & same_class)
        rows.append(these[row])
        columns.append(those[column])
        overlaps.append(iou[row, column])
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(overlaps)


def _best_first(
    rows: Int64, columns: Int64, overlaps: Float64, lengths: tuple[int, int]
) -> list[tuple[int, int]]:
    """Pair greedily. To sort all pairs takes longest, so it is done in rounds, the best first."""
    free, other_free = (np.ones(length, np.bool_) for length in lengths)
    pairs: list[tuple[int, int]] = []
    most = SORTED_AT_ONCE
    while len(rows):
        least = np.partition(overlaps, -most)[-most] if len(rows) > most else 0.0
        best = overlaps >= least
        order = np.lexsort((columns[best], rows[best], -overlaps[best]))
        ordered, other_ordered = rows[best][order], columns[best][order]
        for start in range(0, len(order), LOOKED_AT):
            these, those = (side[start : start + LOOKED_AT] for side in (ordered, other_ordered))
            left = free[these] & other_free[those]
            for row, column in zip(these[left].tolist(), those[left].tolist(), strict=True):
                if free[row] and other_free[column]:
                    free[row] = other_free[column] = False
                    pairs.append((row, column))
        left = ~best & free[rows] & other_free[columns]
        rows, columns, overlaps = rows[left], columns[left], overlaps[left]
        most *= 2
    return pairs
