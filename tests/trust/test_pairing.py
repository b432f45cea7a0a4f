"""Boxes of two answers that are one object: as the comparison of changes pairs them, at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.trust import ChangeKind, ClassedBoxes, compare
from chalicelib.trust.changes import SAME_OBJECT_IOU
from chalicelib.trust.pairing import (
    BLOCK,
    LOOKED_AT,
    SORTED_AT_ONCE,
    effort,
    most_matched,
    same_objects,
)

MANY = 2_000
Pairs = list[tuple[int | None, int | None]]

corner = st.integers(0, 12) | st.floats(0, 12)
side = st.integers(0, 9) | st.floats(0, 9)
row = st.tuples(corner, corner, side, side, st.integers(0, 2))
answers = st.lists(row, max_size=25).map(
    lambda rows: ClassedBoxes(
        [[x, y, x + width, y + height] for x, y, width, height, _ in rows],  # type: ignore[arg-type]
        [each[-1] for each in rows],  # type: ignore[arg-type]
    )
)


def expected(one: ClassedBoxes, other: ClassedBoxes) -> Pairs:
    """Return the pairs of one class and an IoU of at least 0.5 among all changes."""
    kinds = (ChangeKind.KEPT, ChangeKind.MOVED)
    return sorted(
        (change.predicted, change.submitted)
        for change in compare(one, other).changes
        if change.kind in kinds and change.iou >= SAME_OBJECT_IOU
    )


def beside_each_other(seed: int, count: int = MANY) -> ClassedBoxes:
    """Return boxes in rows of fifty, each moved a little."""
    number = np.arange(count)
    corners = np.stack([number % 50 * 20, number // 50 * 20], axis=1)
    moved = corners + np.random.default_rng(seed).uniform(-2, 2, corners.shape)
    return ClassedBoxes(np.hstack([moved, moved + 15]), number % 3)


def over_each_other(seed: int, count: int = 500) -> ClassedBoxes:
    """Return boxes of one class, each of which overlaps every other."""
    within = np.random.default_rng(seed).uniform(0, 100, (count, 4))
    return ClassedBoxes(within + np.array([0, 0, 900, 900]), np.zeros(count, np.int64))


def on_a_grid(seed: int, count: int = 500) -> ClassedBoxes:
    """Return boxes of one size at few places, many pairs of which overlap equally."""
    corners = np.random.default_rng(seed).integers(0, 5, (count, 2)) * 10.0
    return ClassedBoxes(np.hstack([corners, corners + 40]), np.zeros(count, np.int64))


@settings(max_examples=300, deadline=None)
@given(answers, answers)
@example(ClassedBoxes.none(), ClassedBoxes.none())
@example(ClassedBoxes([[0, 0, 10, 10]], [0]), ClassedBoxes([[-10, 0, 10, 10]], [0]))
@example(ClassedBoxes([[0, 0, 10, 10]], [0]), ClassedBoxes([[5, 0, 10, 10]], [0]))
def test_pairs_are_those_of_all_changes(one: ClassedBoxes, other: ClassedBoxes) -> None:
    pairs = same_objects(one, other)

    assert sorted(pairs) == expected(one, other)
    assert len(pairs) <= most_matched(one, other) <= min(len(one), len(other))


@pytest.mark.parametrize("answer", [beside_each_other, over_each_other, on_a_grid])
def test_pairs_of_many_boxes_are_the_same(answer: type[ClassedBoxes]) -> None:
    one, other = answer(1), answer(2)  # type: ignore[arg-type, call-arg]

    assert sorted(same_objects(one, other)) == expected(one, other)


def test_many_pairs_are_sorted_and_looked_at_in_parts() -> None:
    assert 500 * 500 > SORTED_AT_ONCE > LOOKED_AT  # else those above tell nothing of it
    assert BLOCK < 500


def test_boxes_far_from_each_other_are_not_looked_at() -> None:
    assert effort(over_each_other(1), over_each_other(2)) == 500 * 500
    assert effort(beside_each_other(1), beside_each_other(2)) < MANY * MANY / 10


def test_boxes_below_each_other_are_told_apart_by_their_upper_edges() -> None:
    number = np.arange(MANY)
    lines = ClassedBoxes(
        np.stack([0 * number, 10 * number, 0 * number + 600, 10 * number + 8], axis=1),
        np.zeros(MANY),  # type: ignore[arg-type]
    )

    assert effort(lines, lines) < MANY * MANY / 10
    assert len(same_objects(lines, lines)) == MANY


def test_answers_without_a_class_in_common_are_not_compared_at_all() -> None:
    one, other = over_each_other(1), over_each_other(2)
    relabelled = ClassedBoxes(other.xyxy, other.class_id + 1)

    assert (effort(one, relabelled), same_objects(one, relabelled)) == (0, [])
