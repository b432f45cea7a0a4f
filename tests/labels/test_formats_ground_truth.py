"""Ground Truth's output manifest: lines as AWS documents them, several jobs, failed ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from chalicelib.labels.formats import ImageLabels, LabelSet, Reading, Report, Writing
from chalicelib.labels.formats.ground_truth import read_ground_truth, write_ground_truth
from chalicelib.vision import Detections

LABEL = {
    "image_size": [{"width": 500, "height": 400, "depth": 3}],
    "annotations": [
        {"class_id": 0, "left": 111, "top": 134, "width": 61, "height": 128},
        {"class_id": 5, "left": 161, "top": 250, "width": 30, "height": 30},
    ],
}
METADATA = {
    "objects": [{"confidence": 0.8}, {"confidence": 0.9}],
    "class-map": {"0": "dog", "5": "bone"},
    "type": "groundtruth/object-detection",
    "human-annotated": "yes",
    "creation-date": "2018-10-18T22:18:13.527256",
    "job-name": "identify-dogs-and-toys",
}
LINE: dict[str, Any] = {
    "source-ref": "s3://bucket/a.png",
    "boxes": LABEL,
    "boxes-metadata": METADATA,
}
FAILED = {
    "source-ref": "s3://bucket/b.png",
    "boxes-metadata": {
        "failure-reason": "ClientError: the image cannot be opened",
        "type": "groundtruth/object-detection",
    },
}


def read(*lines: object, reading: Reading | None = None) -> tuple[LabelSet, Report]:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return read_ground_truth({"output.manifest": text.encode()}, reading)


def job(name: str, created: str, class_name: str) -> dict[str, Any]:
    metadata = METADATA | {"creation-date": created, "class-map": {"0": class_name, "5": "x"}}
    return {name: LABEL, f"{name}-metadata": metadata}


def test_a_line_gives_its_boxes_whatever_the_job_is_called() -> None:
    labels, report = read(LINE)

    [(image, boxes)] = labels.labelled()
    assert (image.name, image.size, labels.class_names) == (
        "s3://bucket/a.png",
        (500, 400),
        ("dog", "bone"),
    )
    assert boxes.xyxy.tolist() == [[111, 134, 172, 262], [161, 250, 191, 280]]
    assert boxes.class_id.tolist() == [0, 1]
    assert boxes.confidence.tolist() == pytest.approx([0.8, 0.9])
    assert report.fault_count == report.note_count == 0


def test_other_attributes_of_an_augmented_line_do_no_harm() -> None:
    verified = {"check": "1", "check-metadata": {"type": "groundtruth/label-verification"}}

    labels, report = read(LINE | verified | {"weather": "rain", "weather-metadata": 7})

    assert len(labels.images) == 1
    assert report.fault_count == report.note_count == 0


def test_of_several_jobs_the_one_made_last_counts_and_the_others_are_noted() -> None:
    line = LINE | job("adjusted", "2019-01-01T00:00:00", "cat")
    line |= job("older", "2017-01-01T00:00:00", "cow")

    labels, report = read(line)

    assert labels.class_names == ("cat", "x")
    assert report.notes[0].detail == "the job 'adjusted' counts, passed over: older, boxes"


def test_a_job_can_be_asked_for_by_name() -> None:
    line = LINE | job("adjusted", "2019-01-01T00:00:00", "cat")

    labels, _ = read(line, reading=Reading(job="boxes"))

    assert labels.class_names == ("dog", "bone")


def test_a_line_whose_job_failed_is_noted_with_the_reason_and_unlabelled() -> None:
    labels, report = read(LINE, FAILED, reading=Reading(sizes={"s3://bucket/b.png": (9, 8)}))

    assert [(image.name, image.boxes is None) for image in labels.images] == [
        ("s3://bucket/a.png", False),
        ("s3://bucket/b.png", True),
    ]
    assert report.fault_count == 0
    assert "ClientError: the image cannot be opened" in report.notes[0].detail


def test_a_failed_line_of_an_image_that_nobody_knows_is_passed_over() -> None:
    labels, report = read(FAILED)

    assert labels.images == ()
    assert report.fault_count == 0
    assert report.notes[0].where == "output.manifest, line 1"


def test_where_the_last_job_failed_the_one_before_stands() -> None:
    failed = {"again-metadata": FAILED["boxes-metadata"]}

    labels, _ = read(LINE | failed)

    assert labels.class_names == ("dog", "bone")


def test_one_id_may_mean_another_class_in_another_line() -> None:
    other = {"source-ref": "s3://bucket/c.png", **job("boxes", "2019", "cat")}

    labels, report = read(LINE, other)

    assert labels.class_names == ("cat", "dog", "bone", "x")
    found = [[labels.class_names[i] for i in boxes.class_id] for _, boxes in labels.labelled()]
    assert found == [["dog", "bone"], ["cat", "x"]]
    assert report.fault_count == 0


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "cannot be read: "),
        ("[1]", "cannot be read: expected an object, got list"),
        ("[" * 100_000, "is nested too deeply"),
        (
            {"source-ref": "s3://b/x.png"},
            "cannot be read: there is no groundtruth/object-detection",
        ),
        (LINE | {"source-ref": None}, "an image must have a name, got None"),
    ],
)
def test_a_line_without_an_image_is_named_by_its_number(line: object, fault: str) -> None:
    _, report = read(LINE, "", line)

    assert report.faults[0].where == "output.manifest, line 3"
    assert report.faults[0].detail.startswith(fault)


@pytest.mark.parametrize(
    ("label", "metadata", "fault"),
    [
        ({"image_size": []}, {}, "its size is not known"),
        ({"annotations": None}, {}, "its label has no list of annotations"),
        ({"annotations": [7]}, {"objects": None}, "box 1: must be an object, got 7"),
        ({}, {"objects": []}, "objects of the metadata must be a list of 2"),
        ({}, {"objects": [{"confidence": 2}, {}]}, "box 1: confidence must be in 0..1, got 2"),
        ({}, {"class-map": {"0": "dog"}}, "box 2: class_id 5 is not in the class-map"),
        ({}, {"class-map": {"0": "dog", "5": ""}}, "a class must have a name, got ''"),
        ({}, {"class-map": ["dog"]}, "class-map must map ids to names, got list"),
        ({"annotations": [LABEL["annotations"][0] | {"left": "1"}]}, {"objects": None}, "box 1: "),
        ({"annotations": [LABEL["annotations"][0] | {"width": 0}]}, {"objects": None}, "box 1: "),
    ],
)
def test_a_fault_in_a_label_is_named_with_the_image(
    label: dict[str, object], metadata: dict[str, object], fault: str
) -> None:
    labels, report = read(LINE | {"boxes": LABEL | label, "boxes-metadata": METADATA | metadata})

    assert labels.images == ()
    assert report.faults[0].where == "s3://bucket/a.png"
    assert report.faults[0].detail.startswith(fault)


def test_an_image_in_two_lines_is_a_fault() -> None:
    labels, report = read(LINE, LINE)

    assert labels.images == ()
    assert report.faults[0].detail == "is there twice"


def test_lines_end_as_windows_ends_them_too() -> None:
    content = f"\ufeff{json.dumps(LINE)}\r\n\r\n".encode()

    labels, report = read_ground_truth({"x.manifest": content})

    assert len(labels.images) == 1
    assert report.fault_count == 0


def test_what_is_written_is_read_by_the_detection_core_too() -> None:
    boxes = Detections([[10, 20, 30, 60]], [0.5], [1], ("dog", "cat"), (100, 80))
    labels = LabelSet(("dog", "cat"), (ImageLabels("a.jpg", (100, 80), boxes),))
    writing = Writing(prefix="s3://b/", job="job", created=datetime(2026, 11, 21, tzinfo=UTC))

    [(path, content)] = write_ground_truth(labels, writing).items()

    again = Detections.from_ground_truth(content.decode(), "job", ("dog", "cat"))
    line = json.loads(content)
    assert path == "all.manifest"
    assert again.to_json() == boxes.to_json()
    assert line["source-ref"] == "s3://b/a.jpg"
    assert line["job-metadata"]["class-map"] == {"1": "cat"}
    assert line["job-metadata"]["human-annotated"] == "yes"
    assert line["job-metadata"]["creation-date"] == "2026-11-21T00:00:00.000000"
