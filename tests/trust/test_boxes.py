"""The boxes of one side: what is taken, and how anything else is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from chalicelib.errors import InvalidLabel
from chalicelib.trust import ClassedBoxes

BOX = [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("xyxy", "class_id"),
    [
        ([BOX], [0, 1]),
        ([BOX], []),
        ([BOX], 0),
        ([BOX], [[0]]),
        ([[0, 0, 1]], [0]),
        ([0, 0, 1, 1], [0]),
        ([[BOX]], [0]),
        ([[0, 0, math.nan, 1]], [0]),
        ([[0, 0, math.inf, 1]], [0]),
        ([[-1e300, 0, 1e300, 1]], [0]),
        ([[1, 0, 0, 1]], [0]),
        ([[0, 1, 1, 0]], [0]),
        ([["left", 0, 1, 1]], [0]),
        ([[None, 0, 1, 1]], [0]),
        ([BOX, [0, 0, 1]], [0, 0]),
        ([BOX], [-1]),
        ([BOX], [0.5]),
        ([BOX], [math.nan]),
        ([BOX], [2**70]),
        ([BOX], [10**400]),
        ([BOX], ["scratch"]),
    ],
)
def test_what_is_no_box_with_a_class_is_refused(xyxy: Any, class_id: Any) -> None:
    with pytest.raises(InvalidLabel):
        ClassedBoxes(xyxy, class_id)


@pytest.mark.parametrize("cxcywh", [[[0.5, 0.5, -0.1, 0.1]], [[0.5, 0.5, 0.1]], [[math.inf] * 4]])
def test_what_is_no_centred_box_is_refused(cxcywh: Any) -> None:
    with pytest.raises(InvalidLabel):
        ClassedBoxes.from_centres(cxcywh, [0])


@pytest.mark.parametrize("empty", [([], []), ([[]], []), ((), ())])
def test_no_boxes_at_all_is_a_valid_answer(empty: Any) -> None:
    assert ClassedBoxes(*empty).xyxy.shape == (0, 4)
    assert len(ClassedBoxes(*empty)) == len(ClassedBoxes.none()) == 0
    assert len(ClassedBoxes.from_centres(*empty)) == 0


def test_a_box_outside_the_image_or_without_area_is_taken() -> None:
    assert len(ClassedBoxes([[-3, -3, 5, 5], [2, 2, 2, 2]], [0, 80])) == 2


def test_boxes_cannot_be_changed_afterwards() -> None:
    mine = [BOX]
    one = ClassedBoxes(mine, [0])

    with pytest.raises(ValueError, match="read-only"):
        one.xyxy[0, 0] = 5


def test_centres_become_corners_in_double_precision() -> None:
    [corners] = ClassedBoxes.from_centres([[1 / 3, 0.5, 1 / 7, 0.25]], [2]).xyxy.tolist()

    assert corners == [1 / 3 - 1 / 14, 0.375, 1 / 3 + 1 / 14, 0.625]
