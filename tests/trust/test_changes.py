"""What was added, removed, moved, relabelled."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.trust import Change, ChangeKind, ClassedBoxes, compare

Row = tuple[int, float, float, float, float]
A: Row = (0, 0, 0, 100, 100)


def boxes(*rows: Row) -> ClassedBoxes:
    return ClassedBoxes([row[1:] for row in rows], [row[0] for row in rows])


def shifted(by: float, class_id: int = 0) -> Row:
    return (class_id, by, 0, 100 + by, 100)


def kinds(predicted: ClassedBoxes, submitted: ClassedBoxes) -> list[str]:
    return [change.kind.value for change in compare(predicted, submitted).changes]


@pytest.mark.parametrize(
    ("submitted", "expected"),
    [
        ([A], ["kept"]),
        ([shifted(2)], ["kept"]),  # IoU 0.96
        ([shifted(3)], ["moved"]),  # 0.94
        ([shifted(80)], ["moved"]),  # 0.11
        ([shifted(85)], ["removed", "added"]),  # 0.08
        ([shifted(0, class_id=1)], ["relabelled"]),
        ([shifted(30, class_id=1)], ["relabelled"]),  # 0.54
        ([shifted(40, class_id=1)], ["removed", "added"]),  # 0.43
        ([], ["removed"]),
        ([A, shifted(500)], ["kept", "added"]),
        ([A, A], ["kept", "added"]),
    ],
)
def test_one_predicted_box_and_what_became_of_it(submitted: list[Row], expected: list[str]) -> None:
    assert kinds(boxes(A), boxes(*submitted)) == expected


def test_a_change_names_both_boxes_their_classes_and_their_overlap() -> None:
    changes = compare(boxes(shifted(500, 4), A), boxes(shifted(30, 1), shifted(900, 2)))

    assert changes.changes == (
        Change(ChangeKind.REMOVED, 0, None, 4, None, 0.0),
        Change(ChangeKind.RELABELLED, 1, 0, 0, 1, pytest.approx(70 / 130)),
        Change(ChangeKind.ADDED, None, 1, None, 2, 0.0),
    )


def test_a_box_is_matched_in_its_own_class_before_it_counts_as_relabelled() -> None:
    assert kinds(boxes(A), boxes(shifted(0, class_id=1), shifted(20))) == ["moved", "added"]


def test_a_box_counts_as_relabelled_before_it_counts_as_moved_far() -> None:
    assert kinds(boxes(A), boxes(shifted(70), shifted(10, class_id=1))) == ["relabelled", "added"]


def test_the_nearest_of_two_takes_the_box() -> None:
    assert kinds(boxes(shifted(40), shifted(10)), boxes(A)) == ["removed", "moved"]


def test_two_boxes_that_swap_classes_are_two_relabelled() -> None:
    here, there = A, shifted(500, class_id=1)

    assert kinds(boxes(here, there), boxes(shifted(0, 1), shifted(500, 0))) == ["relabelled"] * 2


@pytest.mark.parametrize(
    ("submitted", "undone"),
    [
        ([A], False),
        ([shifted(20)], False),
        ([shifted(50)], True),
        ([shifted(0, 1)], True),
        ([], True),
    ],
)
def test_what_no_longer_stands_is_undone(submitted: list[Row], undone: bool) -> None:
    assert compare(boxes(A), boxes(*submitted)).changes[0].undone is undone


def test_an_added_box_undoes_nothing() -> None:
    [change] = compare(boxes(), boxes(A)).changes

    assert not change.undone


def test_the_counts_and_the_list_are_json() -> None:
    told = json.loads(json.dumps(compare(boxes(A), boxes(shifted(10), shifted(500))).to_json()))

    assert told["counts"] == {"kept": 0, "moved": 1, "relabelled": 0, "removed": 0, "added": 1}
    assert told["changes"][0] == {
        "kind": "moved",
        "predicted": 0,
        "submitted": 0,
        "predicted_class": 0,
        "submitted_class": 0,
        "iou": pytest.approx(90 / 110),
    }


SOME = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(0, 6)), max_size=10)


@settings(deadline=None)
@given(SOME, SOME)
def test_every_box_is_accounted_for_once(before: list[Row], after: list[Row]) -> None:
    predicted, submitted = (
        boxes(*[(class_id, x, y, x + 3, y + 3) for class_id, x, y in side])
        for side in (before, after)
    )

    changes = compare(predicted, submitted).changes

    assert [c.predicted for c in changes if c.predicted is not None] == list(range(len(before)))
    told = Counter(c.submitted for c in changes if c.submitted is not None)
    assert told == Counter(range(len(after)))
    for change in changes:
        paired = change.predicted is not None and change.submitted is not None
        assert paired == (change.kind not in (ChangeKind.ADDED, ChangeKind.REMOVED))


@settings(deadline=None)
@given(SOME, st.randoms())
def test_whatever_was_not_touched_is_kept(rows: list[Row], random: np.random.Generator) -> None:
    side = boxes(*[(class_id, x, y, x + 3, y + 3) for class_id, x, y in rows])
    order = list(range(len(rows)))
    random.shuffle(order)

    assert kinds(side, ClassedBoxes(side.xyxy[order], side.class_id[order])) == ["kept"] * len(rows)
