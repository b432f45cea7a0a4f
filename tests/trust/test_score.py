"""The customization score: the formula, its edges, and the worked cases."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scoring import plain, plain_score
from chalicelib.errors import ConfigurationError
from chalicelib.trust import LOW_AP, SUSPICIOUS, ClassedBoxes, customization_score
from chalicelib.vision import Detections

SHARED = Path(os.environ.get("SIGHTLOOP_SHARED", Path(__file__).parents[3] / "shared"))
CASES = SHARED / "data/scoring/customization_score_cases.json"
CENTRED = ("centerX", "centerY", "boxWidth", "boxHeight")

Row = tuple[int, float, float, float, float]
A: Row = (0, 0, 0, 10, 10)
B: Row = (0, 20, 20, 30, 30)
WIDE: Row = (0, 5, 0, 15, 10)  # a third of it and A is shared
NAN = math.nan


def boxes(*rows: Row) -> ClassedBoxes:
    return ClassedBoxes([row[1:] for row in rows], [row[0] for row in rows])


def of_class(class_id: int, row: Row) -> Row:
    return (class_id, *row[1:])


def score(
    predicted: Sequence[Row], submitted: Sequence[Row], aps: Sequence[float | None] | None
) -> float:
    return customization_score(boxes(*predicted), boxes(*submitted), aps).score


# The figures below were worked out by hand from the formula, to six digits.
WORKED = {
    "nothing changed": ([A, B], [A, B], [0.9], 0.0),
    "deleted, AP 1": ([A], [], [1.0], 0.999990),
    "deleted, AP 0.5": ([A], [], [0.5], 0.757845),
    "moved by half a width": ([A], [WIDE], [1.0], 0.784040),
    "one of two deleted": ([A, B], [A], [0.5], 0.499980),
    "relabelled counts as deleted": ([A], [of_class(1, A)], [0.5, 0.9], 0.757845),
    "one class kept, one deleted": ([A, of_class(1, B)], [A], [1.0, 1.0], 0.999990),
    "two classes differ": (
        [A, of_class(1, A), of_class(1, B)],
        [of_class(1, A)],
        [0.5, 1.0],
        0.715556,
    ),
    "only additions": ([A], [A, B, of_class(1, B)], [0.9, 0.9], 0.0),
    "a total miss": ([], [A], [0.9], 1.0),
    "one box answers two duplicates": ([A, A], [A], [0.9], 0.0),
    "nobody has a box": ([], [], [0.9], 0.0),
    "deleted, AP null": ([A], [], [None], 0.0),
}


@pytest.mark.parametrize("name", WORKED)
def test_the_score_is_as_worked_out_by_hand(name: str) -> None:
    predicted, submitted, aps, expected = WORKED[name]

    assert score(predicted, submitted, aps) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("aps", [None, [], ()])
@pytest.mark.parametrize(("predicted", "submitted"), [([A], []), ([], [A]), ([], []), ([A], [B])])
def test_without_validation_aps_the_score_is_zero(
    predicted: list[Row], submitted: list[Row], aps: Sequence[float] | None
) -> None:
    assert score(predicted, submitted, aps) == 0.0


@pytest.mark.parametrize("aps", [[0.9, None], [0.9, NAN], [0.9], [0.9, 0.0]])
def test_an_ap_that_is_not_known_counts_as_zero(aps: list[float | None]) -> None:
    deleted = of_class(1, B)

    assert score([A, deleted], [A], aps) == 0.0
    assert score([A, deleted], [], aps) == score([A], [], [0.9])


def test_a_class_that_was_not_predicted_takes_no_part() -> None:
    assert score([A], [of_class(1, A), of_class(9, B)], [0.5]) == score([A], [], [0.5])


def test_a_miss_in_a_model_whose_aps_are_all_null_scores_one() -> None:
    assert score([], [A], [None, None]) == 1.0


def test_boxes_outside_the_image_and_negative_coordinates_are_as_good_as_any() -> None:
    moved = [(0, x1 - 7, y1 - 7, x2 - 7, y2 - 7) for _, x1, y1, x2, y2 in (A, WIDE)]

    assert score(moved[:1], moved[1:], [1.0]) == pytest.approx(score([A], [WIDE], [1.0]))


def test_a_box_without_area_is_never_found_again() -> None:
    line: Row = (0, 3, 3, 3, 9)

    assert score([line], [line], [0.9]) == score([A], [], [0.9])


def test_identical_boxes_never_leave_a_trace_below_zero() -> None:
    thirds = [(0, 0.1 * n, 0.1, 0.1 * n + 1 / 3, 0.7) for n in range(7)]

    assert score(thirds, thirds, [1.0]) == 0.0


def test_the_parts_say_what_each_predicted_class_added() -> None:
    scored = customization_score(
        boxes(A, B, of_class(4, A)), boxes(A, of_class(7, B)), [0.5, None, None, None]
    )

    assert [part.to_json() for part in scored.classes] == [
        {
            "class_id": 0,
            "predicted": 2,
            "submitted": 1,
            "average_precision": 0.5,
            "distance": 0.5,
            "score": pytest.approx(0.5),
        },
        {
            "class_id": 4,
            "predicted": 1,
            "submitted": 0,
            "average_precision": None,
            "distance": 1.0,
            "score": 0.0,
        },
    ]
    assert json.loads(json.dumps(scored.to_json()))["score"] == scored.score


@pytest.mark.parametrize("ap", [-0.1, 1.5, math.inf])
def test_an_ap_outside_its_range_is_our_fault_and_said_so(ap: float) -> None:
    with pytest.raises(ConfigurationError, match="must be in"):
        score([A], [A], [ap])


def test_detections_can_be_scored_as_they_are() -> None:
    found = Detections([[0, 0, 10, 10]], [0.8], [0], ("scratch",), (100, 100))
    one = ClassedBoxes.from_detections(found)

    assert customization_score(one, boxes(WIDE), [1.0]).score == pytest.approx(0.784040, abs=1e-6)


LATTICE = st.integers(-2, 10).map(lambda step: step / 8)  # meets itself: duplicates, no areas
SIDE = st.one_of(LATTICE, st.floats(-0.5, 1.5, allow_subnormal=False))
CLASS = st.integers(0, 5)
AP = st.one_of(st.none(), st.just(NAN), st.just(0.0), st.just(1.0), st.floats(0, 1))


@st.composite
def some_boxes(draw: st.DrawFn) -> ClassedBoxes:
    rows = draw(st.lists(st.tuples(CLASS, SIDE, SIDE, SIDE, SIDE), max_size=8))
    ordered = [
        (class_id, min(a, c), min(b, d), max(a, c), max(b, d)) for class_id, a, b, c, d in rows
    ]
    return boxes(*ordered)


@st.composite
def mended(draw: st.DrawFn) -> tuple[ClassedBoxes, ClassedBoxes]:
    """Two sides, of which the second often holds boxes of the first."""
    predicted, fresh = draw(some_boxes()), draw(some_boxes())
    kept = [index for index in range(len(predicted)) if draw(st.booleans())]
    return predicted, ClassedBoxes(
        np.vstack([predicted.xyxy[kept], fresh.xyxy]),
        np.concatenate([predicted.class_id[kept], fresh.class_id]),
    )


@settings(max_examples=300, deadline=None)
@given(mended(), st.none() | st.lists(AP, max_size=6))
def test_the_score_equals_the_plain_loop_over_the_formula(
    sides: tuple[ClassedBoxes, ClassedBoxes], aps: list[float | None] | None
) -> None:
    predicted, submitted = sides

    ours = customization_score(predicted, submitted, aps).score

    assert ours == pytest.approx(plain_score(plain(predicted), plain(submitted), aps), abs=1e-9)
    assert 0 <= ours <= 1


@settings(deadline=None)
@given(mended(), st.lists(st.floats(0, 1), min_size=6, max_size=6), st.randoms())
def test_the_order_of_boxes_and_the_unit_of_length_do_not_matter(
    sides: tuple[ClassedBoxes, ClassedBoxes], aps: list[float], random: Any
) -> None:
    turned = [
        ClassedBoxes(side.xyxy[order] * 640, side.class_id[order])
        for side in sides
        for order in [random.sample(range(len(side)), len(side))]
    ]

    assert customization_score(*turned, aps).score == pytest.approx(
        customization_score(*sides, aps).score, abs=1e-9
    )


@settings(deadline=None)
@given(mended(), st.lists(st.floats(0, LOW_AP), min_size=6, max_size=6))
def test_nothing_done_to_classes_of_low_ap_scores_over_the_threshold(
    sides: tuple[ClassedBoxes, ClassedBoxes], aps: list[float]
) -> None:
    predicted, submitted = sides

    scored = customization_score(predicted, submitted, aps)

    assert not len(predicted) or scored.score <= SUSPICIOUS


def test_the_bound_for_low_ap_is_the_least_that_holds() -> None:
    assert pytest.approx(0.40996, abs=5e-6) == LOW_AP
    assert score([A], [], [LOW_AP]) <= SUSPICIOUS
    assert score([A], [], [LOW_AP + 1e-4]) > SUSPICIOUS


def _worked_elsewhere() -> list[Mapping[str, Any]]:
    cases: list[Mapping[str, Any]] = json.loads(CASES.read_text(encoding="utf-8"))
    return cases


def _centred(rows: list[dict[str, float]]) -> ClassedBoxes:
    return ClassedBoxes.from_centres(
        [[row[name] for name in CENTRED] for row in rows], [row["class_index"] for row in rows]
    )


@pytest.mark.skipif(not CASES.exists(), reason=f"the worked cases are not at {CASES}")
def test_the_score_equals_the_cases_that_others_worked_out() -> None:
    cases = _worked_elsewhere()

    assert len(cases) >= 40
    for case in cases:
        scored = customization_score(
            _centred(case["predicted"]), _centred(case["submitted"]), case["validation_aps"]
        )
        assert scored.score == pytest.approx(case["score"], abs=1e-9)
