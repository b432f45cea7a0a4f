"""Average precision is what COCO's own code says it is."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from chalicelib.vision import Detections
from chalicelib.vision.precision import CONFIDENCES, correct, precision_by_class

pytest.importorskip("pycocotools", reason="it comes with requirements-dev.txt")

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = ("scratch", "dent", "rust", "stain")
SIZE = (640, 480)
MOST = 300


def boxes(rng: np.random.Generator, count: int) -> Any:
    low = rng.uniform(0, 400, (count, 2))
    return np.hstack([low, low + rng.uniform(4, 200, (count, 2))]).astype(np.float32)


def case(seed: int) -> tuple[list[Detections], list[Detections]]:
    """Return what was found and what is true on some pictures, with misses, doubles and ties."""
    rng = np.random.default_rng(seed)
    found, truths = [], []
    classes = int(rng.integers(1, 5))
    for _ in range(int(rng.integers(1, 12))):
        true = boxes(rng, int(rng.integers(0, 9)))
        true_classes = rng.integers(0, classes, len(true))
        near = np.repeat(true, rng.integers(0, 4, len(true)), axis=0)
        near_classes = rng.integers(0, classes, len(near))
        near = (near + rng.normal(0, rng.uniform(0, 12), near.shape)).astype(np.float32)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        guessed = np.vstack([near, boxes(rng, int(rng.integers(0, 9)))])
        class_id = np.concatenate(
            [near_classes, rng.integers(0, classes, len(guessed) - len(near))]
        )
        confidence = rng.uniform(0, 1, len(guessed)).round(int(rng.integers(1, 6)))
        order = np.argsort(-confidence, kind="stable")
        found.append(Detections(guessed[order], confidence[order], class_id[order], NAMES, SIZE))
        truths.append(Detections(true, np.ones(len(true)), true_classes, NAMES, SIZE))
    return found, truths


def rows_of(pictures: Sequence[Detections]) -> list[dict[str, Any]]:
    rows = []
    for number, picture in enumerate(pictures, 1):
        for xyxy, class_id, score in zip(
            picture.xyxy.astype(np.float64).tolist(),
            picture.class_id.tolist(),
            picture.confidence.astype(np.float64).tolist(),
            strict=True,
        ):
            x1, y1, x2, y2 = xyxy
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": number,
                    "category_id": class_id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "score": score,
                }
            )
    return rows


def by_coco(found: Sequence[Detections], truths: Sequence[Detections]) -> dict[int, Any]:
    """Return AP [10] by class id, as pycocotools has it."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": n} for n in range(1, len(truths) + 1)],
            "categories": [{"id": n, "name": name} for n, name in enumerate(NAMES)],
            "annotations": rows_of(truths),
        }
        truth.createIndex()
        guesses = COCO()
        guesses.dataset = truth.dataset | {"annotations": rows_of(found)}
        guesses.createIndex()
        evaluation = COCOeval(truth, guesses, "bbox")
        evaluation.params.maxDets = [1, 10, MOST]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]  # IoU, recall, class
    return {
        class_id: precision[:, :, class_id].mean(axis=1)
        for class_id in range(len(NAMES))
        if (precision[:, :, class_id] > -1).all()
    }


@pytest.mark.parametrize("block", range(10))
def test_average_precision_is_that_of_coco_on_random_cases(block: int) -> None:
    compared = 0
    for seed in range(block * 30, block * 30 + 30):
        found, truths = case(seed)
        ours, theirs = precision_by_class(found, truths), by_coco(found, truths)
        assert set(ours) == set(theirs)
        for class_id, ap in theirs.items():
            assert np.abs(ours[class_id].ap - ap).max() < 1e-6, f"seed {seed}, class {class_id}"
            compared += 1
    assert compared > 30


def one(xyxy: Any, class_id: Any = None, confidence: Any = None) -> Detections:
    count = len(xyxy)
    classes = [0] * count if class_id is None else class_id
    return Detections(xyxy, [1] * count if confidence is None else confidence, classes, NAMES, SIZE)


def test_the_truth_itself_is_perfect() -> None:
    _, truths = case(3)

    assert all((each.ap == 1).all() for each in precision_by_class(truths, truths).values())


def test_a_class_that_is_found_and_not_there_counts_for_nothing() -> None:
    truth = one([[0, 0, 9, 9]])
    found = one([[0, 0, 9, 9], [20, 20, 40, 40]], [0, 1], [0.5, 0.9])

    measured = precision_by_class([found], [truth])

    assert list(measured) == [0]
    assert (measured[0].ap == 1).all()


def test_what_is_never_found_has_no_precision() -> None:
    nothing = Detections.empty(NAMES, SIZE)

    assert (precision_by_class([nothing], [one([[0, 0, 9, 9]])])[0].ap == 0).all()


def test_without_truth_there_is_nothing_to_measure() -> None:
    nothing = Detections.empty(NAMES, SIZE)

    assert precision_by_class([], []) == {}
    assert precision_by_class([one([[0, 0, 9, 9]])], [nothing]) == {}
    assert correct(one([[0, 0, 9, 9]]), nothing).shape == (1, 10)


def test_a_box_that_is_found_twice_is_right_once() -> None:
    truth = one([[0, 0, 10, 10]])
    found = one([[0, 0, 10, 10], [0, 0, 10, 10]], None, [0.9, 0.8])

    assert correct(found, truth).sum(axis=0).tolist() == [1] * 10


def test_curves_tell_what_a_confidence_keeps() -> None:
    truth = one([[0, 0, 10, 10], [50, 50, 60, 60]])
    found = one([[0, 0, 10, 10], [90, 90, 99, 99]], None, [0.75, 0.25])

    curves = precision_by_class([found], [truth])[0]

    at = {confidence: np.abs(CONFIDENCES - confidence).argmin() for confidence in (0.1, 0.5, 0.9)}
    assert [curves.precision[at[c]] for c in at] == [0.5, 1, 1]
    assert [curves.recall[at[c]] for c in at] == [0.5, 0.5, 0]
    assert [round(curves.f1[at[c]], 4) for c in at] == [0.5, 0.6667, 0]
