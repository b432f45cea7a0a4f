"""How answers compare with what is settled, and with one another."""

from __future__ import annotations

import numpy as np
import pytest

from chalicelib.trust import ClassedBoxes
from chalicelib.trust.grading import Agreement, Grade, agreement, agreements, grade
from chalicelib.trust.pairing import effort

SQUARES = ClassedBoxes([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [0, 0, 1])


def moved(boxes: ClassedBoxes, by: float) -> ClassedBoxes:
    return ClassedBoxes(boxes.xyxy + np.array([by, 0, by, 0]), boxes.class_id)


def test_the_settled_boxes_themselves_are_all_matched() -> None:
    found = grade(SQUARES, SQUARES)

    assert (found.matched, found.boxes, found.spurious, found.accuracy) == (3, 3, 0, 1.0)


@pytest.mark.parametrize(("by", "kind"), [(3, "matched"), (4, "misplaced"), (9, "overlooked")])
def test_a_box_may_be_a_third_of_its_width_aside(by: float, kind: str) -> None:
    one = ClassedBoxes([[0, 0, 10, 10]], [0])

    assert grade(moved(one, by), one).to_json()[kind] == 1


def test_a_box_of_another_class_is_mislabelled() -> None:
    found = grade(ClassedBoxes(SQUARES.xyxy, [1, 0, 1]), SQUARES)

    assert found == Grade(3, matched=2, overlooked=0, misplaced=0, mislabelled=1, spurious=0)


def test_saying_that_nothing_is_there_overlooks_all() -> None:
    found = grade(ClassedBoxes.none(), SQUARES)

    assert (found.overlooked, found.accuracy) == (3, 0.0)


def test_boxes_where_nothing_is_settled_are_spurious() -> None:
    found = grade(SQUARES, ClassedBoxes.none())

    assert (found.spurious, found.accuracy) == (3, 0.0)


def test_nothing_where_nothing_is_settled_is_right() -> None:
    assert grade(ClassedBoxes.none(), ClassedBoxes.none()).accuracy == 1.0


def test_twenty_boxes_on_one_object_match_it_once() -> None:
    crowd = ClassedBoxes([[0, 0, 10, 10]] * 20, [0] * 20)
    found = grade(crowd, ClassedBoxes([[0, 0, 10, 10]], [0]))

    assert (found.matched, found.spurious, found.accuracy) == (1, 19, 0.05)


def test_every_settled_box_is_counted_once_whatever_is_answered() -> None:
    random = np.random.default_rng(3)
    for _ in range(200):
        sides = []
        for _ in range(2):
            count = int(random.integers(0, 9))
            start = random.uniform(0, 30, (count, 2))
            corners = np.hstack([start, start + random.uniform(1, 20, (count, 2))])
            sides.append(ClassedBoxes(corners, random.integers(0, 3, count)))
        found = grade(*sides)
        told = found.matched + found.overlooked + found.misplaced + found.mislabelled
        assert told == found.boxes == len(sides[1])
        assert found.spurious == len(sides[0]) - (told - found.overlooked)
        assert 0 <= found.accuracy <= 1


def test_agreement_is_the_same_from_both_sides() -> None:
    some = ClassedBoxes([[1, 0, 11, 10], [60, 0, 70, 10]], [0, 0])

    assert agreement(SQUARES, some) == agreement(some, SQUARES) == Agreement(1, 4)


def test_two_who_find_nothing_agree() -> None:
    assert agreement(ClassedBoxes.none(), ClassedBoxes.none()).share == 1.0


def test_boxes_of_other_classes_are_nothing_in_common() -> None:
    relabelled = ClassedBoxes(SQUARES.xyxy, [2, 2, 2])

    assert agreement(SQUARES, relabelled) == Agreement(0, 6)


def over_each_other(count: int, seed: int) -> ClassedBoxes:
    """Return boxes of one class, each of which overlaps every other."""
    within = np.random.default_rng(seed).uniform(0, 100, (count, 4))
    return ClassedBoxes(within + np.array([0, 0, 900, 900]), np.zeros(count, np.int64))


def test_every_answer_is_compared_while_they_are_ordinary_ones() -> None:
    others = {f"user{number}": moved(SQUARES, number) for number in range(50)}

    assert agreements(SQUARES, others) == {
        user: agreement(SQUARES, boxes) for user, boxes in others.items()
    }


def test_fifty_answers_of_thousands_of_boxes_take_no_more_than_one() -> None:
    answer = over_each_other(2_000, 0)
    floods = {f"flood{number}": over_each_other(1_999, number) for number in range(1, 50)}
    others = {**floods, "ann": SQUARES, "bob": ClassedBoxes.none()}

    found = agreements(answer, others)

    assert len(found) == 3  # one flood, and all that takes little
    assert (found["ann"], found["bob"]) == (Agreement(0, 2_003), Agreement(0, 2_000))


def test_answers_that_can_count_are_compared_before_cheaper_ones() -> None:
    answer, sent = over_each_other(100, 0), over_each_other(90, 1)
    others = {"203.0.113.7": over_each_other(80, 2), "user:ann": sent, "user:bob": SQUARES}
    members, limit = ["user:ann", "user:bob"], effort(answer, sent) + effort(answer, SQUARES)

    found = agreements(answer, others, members, limit)

    assert found == {
        "user:ann": agreement(answer, sent),
        "user:bob": agreement(answer, SQUARES),
    }
    assert agreements(answer, others, members, limit + 1).keys() == others.keys()


def test_answers_that_are_equal_are_compared_once() -> None:
    answer, sent = over_each_other(100, 0), over_each_other(100, 1)
    others = {f"203.0.113.{n}": ClassedBoxes(sent.xyxy, sent.class_id) for n in range(50)}

    found = agreements(answer, others, most_pairs=1)

    assert found == dict.fromkeys(others, agreement(answer, sent))
