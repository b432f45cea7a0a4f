"""What the demo calls mean average precision is that: worked by hand."""

import numpy as np
import pytest

from local.demo.measure import Found, precision
from local.demo.people import Boxes

SQUARE = [10.0, 10.0, 20.0, 20.0]
ELSEWHERE = [100.0, 100.0, 110.0, 110.0]


def boxes(*corners):
    return Boxes(np.array(corners, np.float64).reshape(-1, 4), np.zeros(len(corners), np.int64))


def found(there, predicted, confidence):
    return Found(boxes(*there), boxes(*predicted), np.array(confidence, np.float64))


def test_who_finds_everything_exactly_has_a_precision_of_one():
    told = precision([found([SQUARE], [SQUARE], [0.9]), found([], [], [])])
    assert (told.map50, told.map50_95) == (1.0, 1.0)


def test_who_finds_nothing_has_none():
    assert precision([found([SQUARE], [], [])]).map50 == 0


def test_half_of_what_is_there_found_without_a_mistake_is_half():
    seen = [found([SQUARE], [SQUARE], [0.9]), found([SQUARE], [], [])]
    assert precision(seen).map50 == pytest.approx(51 / 101)  # recalls 0, 0.01 … 0.50


def test_a_surer_mistake_costs_and_one_that_is_less_sure_does_not():
    surer = found([SQUARE], [ELSEWHERE, SQUARE], [0.9, 0.8])
    less_sure = found([SQUARE], [SQUARE, ELSEWHERE], [0.9, 0.8])
    assert precision([surer]).map50 == pytest.approx(0.5)
    assert precision([less_sure]).map50 == 1


def test_a_box_is_found_once_only():
    twice = found([SQUARE, ELSEWHERE], [SQUARE, SQUARE, ELSEWHERE], [0.9, 0.8, 0.7])
    assert precision([twice]).map50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_confidences_are_compared_across_photos():
    seen = [found([SQUARE], [SQUARE], [0.5]), found([], [ELSEWHERE], [0.9])]
    assert precision(seen).map50 == pytest.approx(0.5)


def test_a_box_that_is_a_little_off_counts_at_the_lower_thresholds_only():
    off = [10.0, 10.0, 20.0, 17.2]  # an IoU of 0.72: right at 0.50, 0.55, 0.60, 0.65 and 0.70
    told = precision([found([SQUARE], [off], [0.9])])
    assert (told.map50, told.map50_95) == (1.0, pytest.approx(0.5))


def test_where_nothing_is_there_is_nothing_to_measure_on():
    with pytest.raises(ValueError, match="nothing to measure"):
        precision([found([], [SQUARE], [0.9])])
