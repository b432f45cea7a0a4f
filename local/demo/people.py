"""Simulated contributors, of the demo and the poisoning drill: honest people and vandals.

Both see a photo with the boxes that the model predicted. An honest person knows what is on it, as
people do, within a pixel or two; a vandal knows it too, and spoils it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from chalicelib.vision import Detections

WIDTH, HEIGHT = 450, 300
CLASSES = ("scratch", "dent")
UNSTEADY = 2.0  # pixels by which an honest hand errs, standard deviation of each edge
OVERLOOKED = 0.03  # share of what is there that an honest person does not see
GOOD_ENOUGH = 0.6  # IoU from which a predicted box is left as it is
RIGHT = 0.5  # IoU from which a box counts as right
LEAST_SIDE = 3.0

Corners = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Boxes:
    """Boxes of a photo: xyxy float64 [N, 4] in pixels, class ids int64 [N]."""

    xyxy: Corners
    class_id: Ids

    @classmethod
    def of(cls, found: Detections) -> Self:
        """Take them from detections."""
        return cls(found.xyxy.astype(np.float64), found.class_id)

    def detections(self, confidence: npt.NDArray[np.float64] | None = None) -> Detections:
        """Return them as detections, float64 [N] confident; sure unless told."""
        sure = np.ones(len(self)) if confidence is None else confidence
        narrow = self.xyxy.astype(np.float32), sure.astype(np.float32)
        return Detections(*narrow, self.class_id, CLASSES, (WIDTH, HEIGHT))

    def __len__(self) -> int:
        return len(self.class_id)

    def chosen(self, which: npt.NDArray[np.bool_]) -> Boxes:
        """Return some of them."""
        return Boxes(self.xyxy[which], self.class_id[which])

    def joined(self, other: Boxes) -> Boxes:
        """Return these and others."""
        return Boxes(
            np.vstack([self.xyxy, other.xyxy]), np.concatenate([self.class_id, other.class_id])
        )


@dataclass(frozen=True)
class Seen:
    """A photo as somebody sees it: what is there, what the model says, of how many classes."""

    there: Boxes
    predicted: Boxes
    classes: int = len(CLASSES)


Answer = Callable[[Seen, np.random.Generator], Boxes]


def overlaps(one: Boxes, other: Boxes) -> Corners:
    """Return the IoU of each pair [N, M]; 0 where the classes differ."""
    low = np.maximum(one.xyxy[:, None, :2], other.xyxy[None, :, :2])
    high = np.minimum(one.xyxy[:, None, 2:], other.xyxy[None, :, 2:])
    inner = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(each.xyxy[:, 2:] - each.xyxy[:, :2], axis=1) for each in (one, other)]
    union = areas[0][:, None] + areas[1][None] - inner
    same = one.class_id[:, None] == other.class_id[None]
    return np.asarray(np.where(same, inner / np.maximum(union, 1e-9), 0.0), np.float64)


def pairs(one: Boxes, other: Boxes, least: float) -> list[tuple[int, int]]:
    """Return which box goes with which, the most overlapping first, each once."""
    found, left = [], overlaps(one, other)
    while left.size and left.max() >= least:
        row, column = (int(each) for each in np.unravel_index(left.argmax(), left.shape))
        found.append((row, column))
        left[row], left[:, column] = 0, 0
    return found


def errors(said: Boxes, there: Boxes) -> int:
    """Return how many boxes are wrong: there and not said, or said and not there."""
    right = len(pairs(said, there, RIGHT))
    return len(said) + len(there) - 2 * right


def corrector(good_enough: float, unsteady: float) -> Answer:
    """Return how somebody answers who means well.

    They leave a predicted box that overlaps what is there by an IoU of at least ``good_enough``,
    remove what is not there, and draw what was overlooked or badly placed; each edge they draw is
    off by ``unsteady`` pixels (standard deviation).
    """

    def answer(seen: Seen, rng: np.random.Generator) -> Boxes:
        noticed = seen.there.chosen(rng.random(len(seen.there)) >= OVERLOOKED)
        right = pairs(seen.predicted, noticed, good_enough)
        kept = _chosen(seen.predicted, [row for row, _ in right])
        missing = sorted(set(range(len(noticed))) - {column for _, column in right})
        drawn = _chosen(noticed, missing)
        return kept.joined(within(drawn.xyxy + rng.normal(0, unsteady, drawn.xyxy.shape), drawn))

    return answer


honest = corrector(GOOD_ENOUGH, UNSTEADY)


def within(xyxy: Corners, boxes: Boxes) -> Boxes:
    """Return boxes that lie in the photo and have an area, with the classes of others."""
    clipped = np.clip(xyxy, 0, [WIDTH, HEIGHT] * 2)
    low = np.minimum(clipped[:, :2], [WIDTH - LEAST_SIDE, HEIGHT - LEAST_SIDE])
    return Boxes(np.hstack([low, np.maximum(clipped[:, 2:], low + LEAST_SIDE)]), boxes.class_id)


def random_boxes(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Say anything."""
    return spurious(max(len(seen.predicted), 1), seen.classes, rng)


def shifted(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Move every box by half of its size."""
    sides = seen.predicted.xyxy[:, 2:] - seen.predicted.xyxy[:, :2]
    way = rng.choice([-0.5, 0.5], sides.shape) * sides
    return within(seen.predicted.xyxy + np.hstack([way, way]), seen.predicted)


def swapped(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Call everything by the other name."""
    return Boxes(seen.predicted.xyxy, 1 - seen.predicted.class_id)


def emptied(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Delete everything."""
    return seen.predicted.chosen(np.zeros(len(seen.predicted), bool))


def added(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Add one to three boxes of nothing."""
    return seen.predicted.joined(spurious(int(rng.integers(1, 4)), seen.classes, rng))


def removed(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Make things disappear: one of two, at least one."""
    gone = rng.random(len(seen.predicted)) < 0.5
    if len(gone):
        gone[rng.integers(len(gone))] = True
    return seen.predicted.chosen(~gone)


def misclassified(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Call one box by the other name."""
    classes = seen.predicted.class_id.copy()
    if len(classes):
        chosen = rng.integers(len(classes))
        classes[chosen] = 1 - classes[chosen]
    return Boxes(seen.predicted.xyxy, classes)


def relabelled(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Call everything a dent."""
    return Boxes(seen.predicted.xyxy, np.ones_like(seen.predicted.class_id))


def mixed(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Do one or another of all that."""
    ways = (random_boxes, shifted, swapped, emptied, added, removed, misclassified)
    return ways[int(rng.integers(len(ways)))](seen, rng)


VANDALS: Mapping[str, Answer] = {
    "random boxes": random_boxes,
    "shifted boxes": shifted,
    "wrong classes": swapped,
    "deletions": emptied,
    "a mix of all": mixed,
}
ATTACKS: Mapping[str, Answer] = {
    "objects added": added,
    "objects removed": removed,
    "objects misclassified": misclassified,
    "everything relabelled": relabelled,
}


def spurious(count: int, classes: int, rng: np.random.Generator) -> Boxes:
    """Return boxes anywhere, of 10 to 160 by 10 to 110 pixels, of any class."""
    corner = rng.random((count, 2)) * (WIDTH - 40, HEIGHT - 40)
    xyxy = np.hstack([corner, corner + rng.random((count, 2)) * (150, 100) + 10])
    return within(xyxy, Boxes(xyxy, rng.integers(0, classes, count)))


def _chosen(boxes: Boxes, rows: list[int]) -> Boxes:
    return Boxes(boxes.xyxy[rows].reshape(-1, 4), boxes.class_id[rows])
