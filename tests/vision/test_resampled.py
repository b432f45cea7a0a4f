"""Precision of resamples: that of the same pictures so many times."""

from __future__ import annotations

import numpy as np
import pytest

from chalicelib.vision.boxes import Detections
from chalicelib.vision.precision import precision_by_class
from chalicelib.vision.resampled import Scored

NAMES, SIZE = ("scratch", "dent", "rust"), (640, 480)


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.uniform(0, 400, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(10, 80, (count, 2))], axis=1)


def pictures(seed: int, count: int) -> tuple[list[Detections], list[Detections]]:
    """Return what is found and what is there; some pictures are empty."""
    rng = np.random.default_rng(seed)
    found, truths = [], []
    for _ in range(count):
        there, more = int(rng.integers(0, 5)), int(rng.integers(0, 9))
        truth, classes = boxes(rng, there), rng.integers(0, 3, there)
        xyxy = np.concatenate([truth + rng.normal(0, 4, truth.shape), boxes(rng, more)])
        confidence = rng.uniform(0, 1, there + more)
        class_id = np.concatenate([classes, rng.integers(0, 3, more)])
        found.append(Detections(xyxy, confidence, class_id, NAMES, SIZE))
        truths.append(Detections(truth, np.ones(there), classes, NAMES, SIZE))
    return found, truths


@pytest.mark.parametrize("seed", range(12))
def test_a_resample_is_measured_as_the_pictures_that_are_in_it(seed: int) -> None:
    found, truths = pictures(seed, 15)
    times = np.random.default_rng(seed + 100).integers(0, 4, (5, 15)).astype(float)
    times[0] = 1

    told = Scored(found, truths).precision(times)

    for row, often in enumerate(times):
        chosen = np.repeat(np.arange(15), often.astype(int))
        expected = precision_by_class([found[n] for n in chosen], [truths[n] for n in chosen])
        for class_id, of_class in told.items():
            if class_id in expected:
                assert of_class[row] == pytest.approx(expected[class_id].ap.mean(), abs=1e-12)
            else:
                assert np.isnan(of_class[row])


def test_the_order_of_equally_confident_boxes_is_that_of_the_pictures() -> None:
    right = Detections([[0, 0, 9, 9]], [0.5], [0], NAMES, SIZE)
    wrong = Detections([[20, 0, 29, 9]], [0.5], [0], NAMES, SIZE)
    truth = Detections([[0, 0, 9, 9]], [1], [0], NAMES, SIZE)

    first = Scored([right, wrong], [truth, truth]).precision(np.ones((1, 2)))
    last = Scored([wrong, right], [truth, truth]).precision(np.ones((1, 2)))

    assert first[0][0] > last[0][0] > 0


def test_of_no_pictures_nothing_is_told() -> None:
    assert Scored([], []).precision(np.ones((1, 0))) == {}


def test_a_class_that_nothing_was_found_of_has_none() -> None:
    nothing = Detections(np.empty((0, 4)), [], [], NAMES, SIZE)
    truth = Detections([[0, 0, 9, 9]], [1], [2], NAMES, SIZE)

    assert Scored([nothing], [truth]).precision(np.ones((3, 1)))[2].tolist() == [0, 0, 0]


def test_pairs_are_wanted() -> None:
    with pytest.raises(ValueError, match="zip"):
        Scored([], [Detections([[0, 0, 9, 9]], [1], [2], NAMES, SIZE)])
