"""Each kind of head is told from the others and read as what it says."""

from __future__ import annotations

import numpy as np
import pytest

from chalicelib.errors import InvalidModel
from chalicelib.vision.heads import Head, decode, recognise
from chalicelib.vision.model import ModelFacts

INPUT = (640, 640)
CELLS = 80 * 80 + 40 * 40 + 20 * 20


def facts(classes: int, *, end_to_end: bool = False, stride: int = 32) -> ModelFacts:
    names = tuple(f"class {i}" for i in range(classes))
    return ModelFacts(
        names, INPUT, stride, True, None, False, end_to_end, None, input="images", output="output0"
    )


@pytest.mark.parametrize(
    ("output", "classes", "end_to_end", "expected"),
    [
        ((1, 84, CELLS), 80, False, Head.ANCHOR_FREE),
        ((1, 5, CELLS), 1, False, Head.ANCHOR_FREE),
        ((8, 6, CELLS), 2, False, Head.ANCHOR_FREE),
        ((1, CELLS * 3, 85), 80, False, Head.ANCHOR_BASED),
        ((4, CELLS * 3, 6), 1, False, Head.ANCHOR_BASED),
        ((1, 300, 6), 80, True, Head.END_TO_END),
        ((1, 300, 6), 80, False, Head.END_TO_END),
        ((1, 300, 6), 1, False, Head.END_TO_END),
        ((1, 300, 6), 1, True, Head.END_TO_END),
        ((1, 300, 6), 296, True, Head.END_TO_END),
        ((1, 100, 6), 2, False, Head.END_TO_END),
    ],
)
def test_heads_are_told_apart(output, classes, end_to_end, expected) -> None:
    assert recognise(output, facts(classes, end_to_end=end_to_end), INPUT) is expected


def test_one_class_yolov5_with_a_fourth_grid_is_told_from_an_end_to_end_head() -> None:
    rows = 3 * (80 * 80 + 40 * 40 + 20 * 20 + 10 * 10)

    assert recognise((1, rows, 6), facts(1, stride=64), INPUT) is Head.ANCHOR_BASED


@pytest.mark.parametrize("output", [(1, 84), (1, 7, 9), (1, 5, 5, 5), (1, 0, 0), ()])
def test_another_output_is_no_detection_head(output) -> None:
    with pytest.raises(InvalidModel, match="shape"):
        recognise(output, facts(80), INPUT)


def test_an_anchor_free_head_is_read() -> None:
    columns = [
        [50, 40, 20, 10, 0.1, 0.9],
        [50, 40, 20, 10, 0.2, 0.8],  # overlaps the first, of the same class
        [50, 40, 20, 10, 0.95, 0.0],  # overlaps, of the other class
        [90, 90, 10, 10, 0.25, 0.1],  # not above the threshold
    ]

    found = decode(np.array(columns, np.float32).T, Head.ANCHOR_FREE, 0.25, 0.45, 300)

    assert found.xyxy.tolist() == [[40, 35, 60, 45], [40, 35, 60, 45]]
    assert found.confidence == pytest.approx([0.95, 0.9])
    assert found.class_id.tolist() == [0, 1]


def test_an_anchor_based_head_multiplies_objectness_in() -> None:
    rows = [
        [50, 40, 20, 10, 0.5, 0.1, 0.9],
        [10, 10, 20, 20, 0.9, 0.8, 0.1],
        [90, 90, 10, 10, 0.2, 1.0, 1.0],  # hardly an object
        [90, 90, 10, 10, 1.0, 0.2, 0.2],  # an object, of no class
    ]

    found = decode(np.array(rows, np.float32), Head.ANCHOR_BASED, 0.25, 0.45, 300)

    assert found.xyxy.tolist() == [[0, 0, 20, 20], [40, 35, 60, 45]]
    assert found.confidence == pytest.approx([0.72, 0.45])
    assert found.class_id.tolist() == [0, 1]


def test_an_end_to_end_head_is_taken_at_its_word() -> None:
    rows = [[0, 0, 20, 20, 0.4, 1], [0, 0, 20, 20, 0.9, 1], [0, 0, 9, 9, 0.1, 0], [0] * 6]

    found = decode(np.array(rows, np.float32), Head.END_TO_END, 0.25, 0.45, 300)

    assert found.confidence == pytest.approx([0.9, 0.4])
    assert found.class_id.tolist() == [1, 1]


@pytest.mark.parametrize("head", list(Head))
@pytest.mark.parametrize("limit", [1, 3])
def test_only_the_best_are_kept(head: Head, limit: int) -> None:
    rng = np.random.default_rng(0)
    scores = np.linspace(0.3, 0.9, 50)
    low = np.repeat(np.arange(50)[:, None] * 100, 2, axis=1)
    corners = np.hstack([low, low + 50])
    centres = np.hstack([low + 25, np.full_like(low, 50)])
    output = {
        Head.END_TO_END: np.column_stack([corners, scores, np.zeros(50)]),
        Head.ANCHOR_BASED: np.column_stack([centres, np.ones(50), scores]),
        Head.ANCHOR_FREE: np.column_stack([centres, scores]).T,
    }[head]
    order = rng.permutation(50)
    shuffled = output[:, order] if head is Head.ANCHOR_FREE else output[order]

    found = decode(shuffled.astype(np.float32), head, 0.25, 0.45, limit)

    assert found.confidence == pytest.approx(scores[::-1][:limit], rel=1e-5)


@pytest.mark.parametrize(
    ("head", "shape"),
    [(Head.END_TO_END, (300, 6)), (Head.ANCHOR_BASED, (99, 7)), (Head.ANCHOR_FREE, (6, 99))],
)
def test_nothing_found_is_no_box(head: Head, shape: tuple[int, int]) -> None:
    found = decode(np.zeros(shape, np.float32), head, 0.0, 0.45, 300)

    assert found.xyxy.shape == (0, 4)
    assert len(found.confidence) == len(found.class_id) == 0
