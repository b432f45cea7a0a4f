"""Detections: what they accept, and that every view can be read back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import InvalidLabel
from chalicelib.vision import Detections

NAMES = ("scratch", "dent", "Kratzer „tief“")
SIZE = (640, 480)


def made(count: int, seed: int = 0) -> Detections:
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1).reshape(count, 4)
    return Detections(
        (corners * (SIZE * 2)).astype(np.float32),
        np.sort(rng.uniform(0, 1, count).astype(np.float32))[::-1],
        rng.integers(0, len(NAMES), count),
        NAMES,
        SIZE,
    )


def detections() -> st.SearchStrategy[Detections]:
    return st.builds(made, st.integers(0, 40), st.integers(0, 1000))


@given(detections())
def test_json_is_read_back(found: Detections) -> None:
    back = Detections.from_json(json.loads(json.dumps(found.to_json())), NAMES, SIZE)

    assert np.allclose(back.xyxy, found.xyxy, atol=0.006)
    assert np.allclose(back.confidence, found.confidence, atol=0.00006)
    assert np.array_equal(back.class_id, found.class_id)
    assert (back.class_names, back.image_size) == (NAMES, SIZE)


@given(detections())
def test_yolo_labels_are_read_back(found: Detections) -> None:
    back = Detections.from_yolo(found.to_yolo(), NAMES, SIZE)

    assert np.allclose(back.xyxy, found.xyxy, atol=0.001)
    assert np.array_equal(back.class_id, found.class_id)
    assert (back.confidence == 1).all()


@given(detections())
def test_a_ground_truth_manifest_is_read_back(found: Detections) -> None:
    line = found.to_ground_truth("s3://bucket/tag.jpg", "boxes", "2026-11-21T08:00:00")

    back = Detections.from_ground_truth(line, "boxes", NAMES)

    assert "\n" not in line
    assert np.allclose(back.xyxy, found.xyxy, atol=0.51)
    assert np.allclose(back.confidence, found.confidence, atol=0.00006)
    assert np.array_equal(back.class_id, found.class_id)
    assert back.image_size == SIZE


def test_a_ground_truth_line_has_the_shape_that_sagemaker_writes() -> None:
    found = Detections([[10, 20, 30, 60]], [0.5], [1], NAMES, (100, 80))

    line = json.loads(found.to_ground_truth("s3://b/k.jpg", "boxes", "2026-11-21T08:00:00"))

    assert line["source-ref"] == "s3://b/k.jpg"
    assert line["boxes"] == {
        "image_size": [{"width": 100, "height": 80, "depth": 3}],
        "annotations": [{"class_id": 1, "left": 10, "top": 20, "width": 20, "height": 40}],
    }
    assert line["boxes-metadata"]["class-map"] == {"1": "dent"}
    assert line["boxes-metadata"]["type"] == "groundtruth/object-detection"


def test_a_line_that_people_labelled_has_no_confidences() -> None:
    line = json.loads(made(2).to_ground_truth("s3://b/k", "boxes", "2026-11-21"))
    line["boxes-metadata"]["objects"] = [{}, {}]

    assert Detections.from_ground_truth(json.dumps(line), "boxes", NAMES).confidence.tolist() == [
        1,
        1,
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.pop("boxes"),
        lambda line: line.pop("boxes-metadata"),
        lambda line: line["boxes"].update(image_size=[]),
        lambda line: line["boxes"].update(image_size=[{"width": 0, "height": 9}]),
        lambda line: line["boxes"]["annotations"][0].pop("left"),
        lambda line: line["boxes"]["annotations"][0].update(left="a"),
        lambda line: line["boxes-metadata"].update(objects=[]),
        lambda line: line["boxes-metadata"]["class-map"].update({"0": "dent"}),
        lambda line: line["boxes-metadata"]["class-map"].update({"x": "dent"}),
        lambda line: line["boxes-metadata"]["class-map"].update({"9": "bolt"}),
    ],
)
def test_a_manifest_line_of_another_shape_is_refused(change) -> None:
    line = json.loads(made(2).to_ground_truth("s3://b/k", "boxes", "2026-11-21"))
    change(line)

    with pytest.raises(InvalidLabel):
        Detections.from_ground_truth(json.dumps(line), "boxes", NAMES)


@pytest.mark.parametrize("line", ["", "no json", "[]", "null", "3"])
def test_what_is_no_manifest_line_is_refused(line: str) -> None:
    with pytest.raises(InvalidLabel, match="not a manifest line"):
        Detections.from_ground_truth(line, "boxes", NAMES)


BOX = [10.0, 20.0, 30.0, 40.0]


@pytest.mark.parametrize(
    ("xyxy", "confidence", "class_id", "size", "says"),
    [
        ([BOX], [0.5, 0.5], [0], SIZE, "confidence must have shape"),
        ([BOX], [0.5], [0, 1], SIZE, "class_id must have shape"),
        ([BOX[:3]], [0.5], [0], SIZE, "xyxy must have shape"),
        ([BOX, BOX[:3]], [0.5], [0], SIZE, "xyxy must be numbers"),
        (BOX, [0.5], [0], SIZE, "xyxy must have shape"),
        ([["a", 1, 2, 3]], [0.5], [0], SIZE, "xyxy must be numbers"),
        ([[math.nan, 1, 2, 3]], [0.5], [0], SIZE, "not finite"),
        ([[math.inf, 1, 2, 3]], [0.5], [0], SIZE, "not finite"),
        ([[1e300, 1, 2, 3]], [0.5], [0], SIZE, "not finite"),
        ([BOX], [math.nan], [0], SIZE, "not finite"),
        ([BOX], [1.01], [0], SIZE, "confidence must be in 0..1"),
        ([BOX], [-0.1], [0], SIZE, "confidence must be in 0..1"),
        ([BOX], [0.5], [3], SIZE, "class_id must be in 0..2"),
        ([BOX], [0.5], [-1], SIZE, "class_id must be in 0..2"),
        ([BOX], [0.5], [0.7], SIZE, "class_id must be whole"),
        ([BOX], [0.5], [2**70], SIZE, "class_id must be numbers"),
        ([BOX], [0.5], [np.float64("nan")], SIZE, "class_id must be"),
        ([BOX], [0.5], [0], (0, 480), "image_size must be two positive"),
        ([], [], [], (640, -1), "image_size must be two positive"),
    ],
)
def test_what_cannot_be_is_refused_at_birth(xyxy, confidence, class_id, size, says) -> None:
    with pytest.raises(InvalidLabel, match=says):
        Detections(xyxy, confidence, class_id, NAMES, size)


@pytest.mark.parametrize(
    "rows",
    [
        [{}],
        [{"box": {"x1": 1, "y1": 2, "x2": 3}, "confidence": 1, "class_id": 0}],
        [{"box": None, "confidence": 1, "class_id": 0}],
        [{"box": [1, 2, 3, 4], "confidence": 1, "class_id": 0}],
        [None],
        [{"box": {"x1": [1], "y1": [1], "x2": 2, "y2": 2}, "confidence": 1, "class_id": 0}],
        [{"box": dict.fromkeys(("x1", "y1", "x2", "y2"), "a"), "confidence": 1, "class_id": 0}],
        [{"box": dict.fromkeys(("x1", "y1", "x2", "y2"), 1), "confidence": None, "class_id": 0}],
        [{"box": dict.fromkeys(("x1", "y1", "x2", "y2"), 1), "confidence": 1, "class_id": 0.5}],
    ],
)
def test_json_of_another_shape_is_refused(rows) -> None:
    with pytest.raises(InvalidLabel):
        Detections.from_json(rows, NAMES, SIZE)


@pytest.mark.parametrize(
    "line",
    [
        "0 0.5 0.5 0.1",
        "0 0.5 0.5 0.1 0.1 0.1",
        "0.5 0.5 0.5 0.1 0.1",
        "scratch 0.5 0.5 0.1 0.1",
        "0 0.5 0.5 0.1 nan",
        "0 0.5 0.5 0.1 inf",
        "0 0.5 -0.5 0.1 0.1",
        "0 1.5 0.5 0.1 0.1",
    ],
)
def test_a_bad_yolo_line_is_named(line: str) -> None:
    with pytest.raises(InvalidLabel, match="line 3"):
        Detections.from_yolo(f"0 0.5 0.5 0.1 0.1\n\n{line}\n", NAMES, SIZE)


@pytest.mark.parametrize("class_id", [3, -1])
def test_a_yolo_class_that_does_not_exist_is_refused(class_id: int) -> None:
    with pytest.raises(InvalidLabel, match="class_id"):
        Detections.from_yolo(f"{class_id} 0.5 0.5 0.1 0.1", NAMES, SIZE)


def test_a_yolo_box_over_the_edge_is_cut_to_the_image() -> None:
    found = Detections.from_yolo("0 0.0 0.5 0.5 1.0", NAMES, (100, 80))

    assert found.xyxy.tolist() == [[0, 0, 25, 80]]


def test_no_detections_have_every_view() -> None:
    nothing = Detections.empty(NAMES, SIZE)

    assert len(nothing) == 0
    assert nothing.xyxy.shape == (0, 4)
    assert nothing.to_json() == []
    assert nothing.to_yolo() == ""
    assert len(Detections.from_json([], NAMES, SIZE)) == 0
    assert len(Detections.from_yolo("\n", NAMES, SIZE)) == 0
    line = nothing.to_ground_truth("s3://b/k", "boxes", "2026-11-21")
    assert len(Detections.from_ground_truth(line, "boxes", NAMES)) == 0


def test_detections_are_selected_by_mask_index_and_slice() -> None:
    found = made(6)

    assert np.array_equal(found[found.confidence > 0.5].xyxy, found.xyxy[found.confidence > 0.5])
    assert np.array_equal(found[np.array([4, 1])].class_id, found.class_id[[4, 1]])
    assert len(found[:2]) == 2
    assert found[:2].image_size == SIZE


def test_the_arrays_are_read_only_and_nobody_elses() -> None:
    mine = np.array([BOX], np.float32)
    found = Detections(mine, [0.5], [0], NAMES, SIZE)

    mine[0, 0] = 99

    assert found.xyxy[0, 0] == 10
    with pytest.raises(ValueError, match="read-only"):
        found.xyxy[0, 0] = 99
