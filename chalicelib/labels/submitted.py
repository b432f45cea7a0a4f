"""What somebody sends as the right boxes: checked box by box, every fault named."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from chalicelib.errors import InvalidSubmission
from chalicelib.vision import Detections

Verb = Literal["corrected", "confirmed", "empty"]

MOST_BOXES = 2_000  # twice what a detection may have; comparing so many takes some hundred ms
ROUNDING = 0.5  # pixels that a box may lie beyond an edge: it is clipped
LEAST_SIDE = 0.1  # pixels; less would be no area in a label file of six decimals
SAME = 0.011  # pixels; answers are rounded to a hundredth


@dataclass(frozen=True)
class GivenBox:
    """A box as it was sent: corners in pixels of the upright original, and its class."""

    x1: float
    y1: float
    x2: float
    y2: float
    class_id: int | None = None
    class_name: str | None = None


def checked(
    answer: Verb,
    boxes: Sequence[GivenBox],
    predicted: Detections,
) -> Detections:
    """Return the boxes that an answer stands for; those sent get confidence 1.

    Parameters
    ----------
    answer : {"corrected", "confirmed", "empty"}
    boxes : Sequence[GivenBox]
        With "empty" none; with "confirmed" none, or those that were predicted.
    predicted : Detections
        What the answer is to; with all classes of the model and the size of the image.

    Raises
    ------
    InvalidSubmission
        Each fault is named with the index of its box.
    """
    if len(boxes) > MOST_BOXES:
        raise InvalidSubmission(
            [("body.boxes", f"{len(boxes)} boxes: at most {MOST_BOXES} are taken")]
        )
    if answer == "empty":
        if boxes:
            raise InvalidSubmission(
                [("body.boxes", 'boxes with the answer "empty": send none, or answer "corrected"')]
            )
        return Detections.empty(predicted.class_names, predicted.image_size)
    if answer == "confirmed" and not boxes:
        return _with_area(predicted)
    found = _all_sound(boxes, predicted.class_names, predicted.image_size)
    if answer == "confirmed":
        _check_same(found, predicted)
        return _with_area(predicted)
    return found


def _all_sound(
    boxes: Sequence[GivenBox], names: Sequence[str], size: tuple[int, int]
) -> Detections:
    faults: list[tuple[str, str]] = []
    class_ids = [_class_id(box, names) for box in boxes]
    for index, (box, class_id) in enumerate(zip(boxes, class_ids, strict=True)):
        wrong = [class_id] if isinstance(class_id, str) else []
        wrong += [where for where in [_misplaced(box, size)] if where]
        faults += [(f"body.boxes.{index}", what) for what in wrong]
    if faults:
        raise InvalidSubmission(faults)
    return Detections(
        [_clipped(box, size) for box in boxes],  # type: ignore[arg-type] # made arrays there
        [1.0] * len(boxes),  # type: ignore[arg-type]
        class_ids,  # type: ignore[arg-type]
        tuple(names),
        size,
    )


def _class_id(box: GivenBox, names: Sequence[str]) -> int | str:
    """Return a box's class, or what is wrong with it."""
    if box.class_id is None and box.class_name is None:
        return "it has no class: give class_id or class_name"
    if box.class_id is not None and not 0 <= box.class_id < len(names):
        return f"there is no class {box.class_id}: the model has 0 to {len(names) - 1}"
    if box.class_name is None:
        assert box.class_id is not None
        return box.class_id
    plain = [unicodedata.normalize("NFC", name) for name in names]
    wanted = unicodedata.normalize("NFC", box.class_name)
    if wanted not in plain:
        return f"there is no class {_short(box.class_name)!r}: see GET /v1/models"
    class_id = plain.index(wanted)
    if box.class_id is not None and plain[box.class_id] != wanted:
        return (
            f"class_id {box.class_id} is {_short(names[box.class_id])!r}, "
            f"but class_name is {_short(box.class_name)!r}"
        )
    return class_id if box.class_id is None else box.class_id


def _misplaced(box: GivenBox, size: tuple[int, int]) -> str | None:
    """Return what is wrong with where a box is."""
    edges = (box.x1, box.y1, box.x2, box.y2)
    if not all(map(math.isfinite, edges)):
        return "an edge is not a finite number"
    if box.x2 < box.x1 or box.y2 < box.y1:
        return "it ends before it begins: x1, y1 is the upper left corner, x2, y2 the lower right"
    width, height = size
    inside = min(box.x1, box.y1) >= -ROUNDING
    if not inside or box.x2 > width + ROUNDING or box.y2 > height + ROUNDING:
        return f"it lies outside the image, which has {width} x {height} pixels"
    x1, y1, x2, y2 = _clipped(box, size)
    if min(x2 - x1, y2 - y1) < LEAST_SIDE:
        return f"it has no area: a side has at least {LEAST_SIDE} pixels"
    return None


def _clipped(box: GivenBox, size: tuple[int, int]) -> list[float]:
    width, height = size
    return [
        min(max(box.x1, 0.0), width),
        min(max(box.y1, 0.0), height),
        min(max(box.x2, 0.0), width),
        min(max(box.y2, 0.0), height),
    ]


def _with_area(found: Detections) -> Detections:
    """Take over what was predicted, as sure as if it was sent.

    What a detector now and then finds at an edge is left out: a label has no room for it.
    """
    sides = found.xyxy[:, 2:] - found.xyxy[:, :2]
    kept = found[(sides >= LEAST_SIDE).all(axis=1)]
    return replace(kept, confidence=np.ones(len(kept), np.float32))


def _rows(found: Detections) -> list[tuple[float, ...]]:
    """Return class and edges of each box, in an order of their own."""
    pairs = zip(found.class_id.tolist(), found.xyxy.tolist(), strict=True)
    return sorted((class_id, *edges) for class_id, edges in pairs)


def _check_same(sent: Detections, predicted: Detections) -> None:
    """Refuse boxes that are not the predicted ones, in whatever order."""
    ours, theirs = _rows(predicted), _rows(sent)
    if len(ours) != len(theirs) or any(
        abs(one - other) > SAME
        for row, sent_row in zip(ours, theirs, strict=True)
        for one, other in zip(row, sent_row, strict=True)
    ):
        raise InvalidSubmission(
            [
                (
                    "body.boxes",
                    'the boxes are not those that were predicted: answer "corrected", '
                    'or "confirmed" without boxes',
                )
            ]
        )


def _short(name: str) -> str:
    return name if len(name) <= 100 else f"{name[:100]}…"
