"""Non-maximum suppression equals the plain loop; overlaps are those of school geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.vision.overlap import BLOCK, iou_matrix, suppress


def plain_iou(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def plain_suppress(boxes, classes, iou: float, limit: int) -> list[int]:
    kept: list[int] = []
    for index in range(len(boxes)):
        if len(kept) < limit and not any(
            classes[index] == classes[k] and plain_iou(boxes[index], boxes[k]) > iou for k in kept
        ):
            kept.append(index)
    return kept


# Corners on a grid of quarter pixels, which a float32 holds exactly even for the classes used here:
# so every overlap is the same number in both, and close calls are ties in both.
@st.composite
def crowds(draw, most: int = 60):
    count = draw(st.integers(0, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = rng.integers(0, 100, (count, 2))
    size = rng.integers(0, 60, (count, 2))
    classes = rng.integers(0, draw(st.integers(1, 4)), count)
    return (np.hstack([low, low + size]) / 4).astype(np.float32), classes


@given(crowds(), st.sampled_from([0, 0.1, 0.25, 0.45, 0.5, 0.7, 1]), st.integers(1, 70))
def test_suppression_equals_the_plain_loop(crowd, iou: float, limit: int) -> None:
    boxes, classes = crowd

    kept = suppress(boxes, classes, iou, limit)

    assert kept.tolist() == plain_suppress(boxes, classes, np.float32(iou), limit)


@settings(max_examples=10)
@given(st.integers(0, 1000), st.integers(1, 900))
def test_suppression_across_blocks_equals_the_plain_loop(seed: int, limit: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 300, (BLOCK * 3 + 7, 2))
    boxes = np.hstack([low, low + rng.integers(1, 40, low.shape)]).astype(np.float32)
    classes = rng.integers(0, 2, len(low))

    kept = suppress(boxes, classes, 0.4, limit)

    assert kept.tolist() == plain_suppress(boxes.tolist(), classes, np.float32(0.4), limit)


def test_the_best_of_a_pile_survives_and_another_class_beside_it() -> None:
    pile = np.tile(np.array([[10, 10, 50, 50]], np.float32), (4, 1))

    assert suppress(pile, np.array([0, 0, 1, 1]), 0.45, 300).tolist() == [0, 2]


def test_a_box_that_only_a_dropped_box_overlaps_stays() -> None:
    chain = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)

    assert suppress(chain, np.zeros(3, np.int64), 0.4, 300).tolist() == [0, 2]


@given(crowds(20), crowds(20))
def test_overlaps_are_those_of_school_geometry(one, other) -> None:
    (a, _), (b, _) = one, other

    matrix = iou_matrix(a, b)

    assert matrix.shape == (len(a), len(b))
    expected = [[plain_iou(p, q) for q in b.tolist()] for p in a.tolist()]
    assert np.allclose(matrix, np.reshape(expected, matrix.shape), atol=1e-6)


def test_boxes_without_an_area_overlap_nothing() -> None:
    line = np.array([[5, 5, 5, 9]], np.float32)

    assert iou_matrix(line, line) == pytest.approx(0)
