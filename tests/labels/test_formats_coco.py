"""COCO: documents after its published description, faulty ones, and pycocotools as a witness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.labels.formats import ImageLabels, LabelSet, Limits, Reading, Report
from chalicelib.labels.formats.coco import read_coco, write_coco
from chalicelib.vision import Detections

IMAGE = {"id": 42, "file_name": "a.jpg", "width": 100, "height": 80}
OTHER = {"id": 7, "file_name": "b.jpg", "width": 100, "height": 80}
BOX = {"id": 1, "image_id": 42, "category_id": 90, "bbox": [10, 20, 30.5, 40], "iscrowd": 0}
CATEGORIES = [{"id": 90, "name": "dent"}, {"id": 3, "name": "scratch"}]


def read(
    *annotations: object,
    images: tuple[object, ...] = (IMAGE, OTHER),
    categories: object = CATEGORIES,
    reading: Reading | None = None,
) -> tuple[LabelSet, Report]:
    parts = {"images": images, "categories": categories, "annotations": annotations}
    return read_coco({"x.json": json.dumps(parts).encode()}, reading)


def boxes_of(labels: LabelSet, name: str = "a.jpg") -> list[Any]:
    [boxes] = [boxes for image, boxes in labels.labelled() if image.name == name]
    return list(boxes.xyxy.tolist())


def test_categories_become_classes_in_the_order_of_their_ids() -> None:
    labels, report = read(BOX)

    assert labels.class_names == ("scratch", "dent")
    assert boxes_of(labels) == [[10, 20, 40.5, 60]]
    assert [boxes.class_id.tolist() for _, boxes in labels.labelled()] == [[1], []]
    assert report.fault_count == report.note_count == 0


def test_an_image_without_annotations_is_a_valid_negative() -> None:
    labels, _ = read(BOX)

    assert boxes_of(labels, "b.jpg") == []


def test_a_crowd_is_passed_over_and_noted() -> None:
    mask = {"counts": [1, 2], "size": [80, 100]}

    labels, report = read(BOX, BOX | {"id": 2, "iscrowd": 1, "segmentation": mask})

    assert boxes_of(labels) == [[10, 20, 40.5, 60]]
    assert [note.where for note in report.notes] == ["a.jpg"]
    assert "annotation 2: passed over, it is a crowd" in report.notes[0].detail


def test_polygons_without_a_box_give_the_box_around_them() -> None:
    polygons = [[10, 10, 20, 10, 20.5, 15], [5, 12, 6, 12, 6, 30]]
    annotation = {key: BOX[key] for key in ("id", "image_id", "category_id")}

    labels, _ = read(annotation | {"segmentation": polygons})

    assert boxes_of(labels) == [[5, 10, 20.5, 30]]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"bbox": [10, 20, 30]}, "bbox must be four numbers"),
        ({"bbox": [float("nan"), 20, 30, 4]}, "each of bbox must be a number, got nan"),
        ({"bbox": [10, 20, float("inf"), 4]}, "each of bbox must be a number, got inf"),
        ({"bbox": [10, "20", 30, 4]}, "each of bbox must be a number, got '20'"),
        ({"bbox": [10, 20, 10**400, 4]}, "each of bbox must be a number"),
        ({"bbox": [10, 20, 0, 4]}, "the box has no area: 0 x 4"),
        ({"bbox": [10, 20, -5, 4]}, "the box has no area: -5 x 4"),
        ({"bbox": [100, 20, 5, 4]}, "the box lies outside the image of 100 x 80"),
        ({"bbox": [99.95, 20, 5, 4]}, "less than 0.1 pixels of the box lie in the image"),
        ({"category_id": 4}, "unknown category 4"),
        ({"category_id": None}, "an id must be a whole number or text, got None"),
        ({"bbox": None}, "needs a bbox or polygons, got nothing"),
        ({"bbox": [], "segmentation": {"counts": "x"}}, "needs a bbox or polygons, got a mask"),
        ({"bbox": [], "segmentation": [[1, 2, 3, 4, 5]]}, "a polygon must be pairs of numbers"),
    ],
)
def test_a_faulty_annotation_leaves_its_whole_image_out(
    change: dict[str, object], fault: str
) -> None:
    labels, report = read(BOX, BOX | {"id": 2} | change)

    assert [image.name for image in labels.images] == ["b.jpg"]
    assert [found.where for found in report.faults] == ["a.jpg"]
    assert report.faults[0].detail.startswith(f"annotation 2: {fault}")


def test_every_fault_of_an_image_is_named() -> None:
    _, report = read(*[BOX | {"id": number, "bbox": [0, 0, 0, 0]} for number in range(3)])

    assert [fault.detail[:12] for fault in report.faults] == [f"annotation {n}" for n in range(3)]


def test_an_overhanging_box_is_clipped_and_noted() -> None:
    labels, report = read(BOX | {"bbox": [-5, 70, 30, 40]})

    assert boxes_of(labels) == [[0, 70, 25, 80]]
    assert report.notes[0].detail == "annotation 1: clipped to the image of 100 x 80"


def test_an_annotation_of_an_image_that_is_not_there_is_a_fault() -> None:
    labels, report = read(BOX | {"image_id": 99}, BOX | {"image_id": [1]}, BOX | {"image_id": None})

    assert len(labels.images) == 2
    assert "is of the image 99, which is not there" in report.faults[0].detail
    assert report.fault_count == 3


def test_two_images_of_one_name_are_both_left_out() -> None:
    labels, report = read(BOX, images=(IMAGE, OTHER | {"file_name": "./a.jpg"}))

    assert labels.images == ()
    assert report.faults[0].detail == "is there twice"


def test_two_images_of_one_id_are_both_left_out() -> None:
    labels, report = read(BOX, images=(IMAGE, OTHER | {"id": 42}))

    assert labels.images == ()
    assert {fault.where for fault in report.faults} == {"a.jpg", "b.jpg"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"id": None}, "an id must be a whole number or text, got None"),
        ({"id": [1]}, "an id must be a whole number or text, got list"),
        ({"file_name": ""}, "an image must have a name, got ''"),
        ({"file_name": 5}, "an image must have a name, got 5"),
        ({"file_name": "../a.jpg"}, "an image must be a relative path or a URI"),
        ({"file_name": "/etc/a.jpg"}, "an image must be a relative path or a URI"),
        ({"file_name": "s3://b/../../a.jpg"}, "an image must be a relative path or a URI"),
        ({"file_name": "C:\\a.jpg"}, "an image must be a relative path or a URI"),
        ({"file_name": "a\x1b[31m.jpg"}, "an image cannot be named"),
        ({"file_name": "a" * 1001}, "an image cannot be named"),
        ({"width": None, "height": None}, "its size is not known"),
        ({"width": 0}, "its sides must be 1 to 100000 pixels, got (0, 80)"),
        ({"width": 100.5}, "its sides must be 1 to 100000 pixels"),
        ({"height": "80"}, "width and height must be a number, got '80'"),
        ({"height": 10**9}, "its sides must be 1 to 100000 pixels"),
    ],
)
def test_a_faulty_image_is_named_and_left_out(change: dict[str, object], fault: str) -> None:
    labels, report = read(images=(IMAGE | change, OTHER))

    assert [image.name for image in labels.images] == ["b.jpg"]
    assert len(report.faults) == 1
    assert report.faults[0].detail.startswith(fault)
    assert report.faults[0].where.isprintable()


def test_a_size_that_contradicts_the_picture_is_a_fault() -> None:
    turned = Reading(sizes={"a.jpg": (80, 100)})

    _, report = read(BOX, reading=turned)

    assert report.faults[0].where == "a.jpg"
    assert report.faults[0].detail == "is said to be 100 x 80, but is 80 x 100"


def test_a_size_that_the_document_lacks_is_taken_from_the_picture() -> None:
    image = {"id": 42, "file_name": "a.jpg"}

    labels, report = read(BOX, images=(image,), reading=Reading(sizes={"a.jpg": (50, 60)}))

    assert labels.images[0].size == (50, 60)
    assert report.fault_count == 0


def test_classes_to_expect_are_found_by_name_and_any_other_is_a_fault() -> None:
    expected = Reading(class_names=("dent",))

    labels, report = read(BOX, BOX | {"image_id": 7, "category_id": 3}, reading=expected)

    assert labels.class_names == ("dent",)
    assert [boxes.class_id.tolist() for _, boxes in labels.labelled()] == [[0]]
    assert [(f.where, f.detail) for f in report.faults] == [
        ("b.jpg", "annotation 1: unknown class 'scratch'")
    ]


@pytest.mark.parametrize(
    ("categories", "fault"),
    [
        ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "id 1 is also of 'a'"),
        ([{"id": 1}], "a class must have a name, got None"),
        (["dent"], "entry 1 is no object"),
        ({}, "has no list 'categories'"),
    ],
)
def test_categories_that_cannot_be_are_faults(categories: object, fault: str) -> None:
    _, report = read(categories=categories)

    assert fault in report.faults[0].detail


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"{", "is not JSON"),
        (b"[]", "must be an object, got list"),
        (b"{}", "has no list 'images'"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"1" * 5000, "is not JSON"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_what_is_no_coco_document_is_refused_by_name(content: bytes, fault: str) -> None:
    labels, report = read_coco({"x.json": content})

    assert labels.images == ()
    assert [found.where for found in report.faults] == ["x.json"]
    assert report.faults[0].detail.startswith(fault)


def test_more_images_and_classes_than_the_limits_are_faults() -> None:
    labels, report = read(BOX, reading=Reading(limits=Limits(images=1, classes=1)))

    assert (labels.class_names, [image.name for image in labels.images]) == (("dent",), ["a.jpg"])
    assert [fault.detail for fault in report.faults] == ["over 1 classes", "over 1 images"]


def test_too_many_boxes_leave_the_image_out() -> None:
    labels, report = read(*[BOX] * 3, reading=Reading(limits=Limits(boxes=2)))

    assert [image.name for image in labels.images] == ["b.jpg"]
    assert report.faults[0].detail == "over 2 boxes"


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("annotations/instances_train2017.json", "train"),
        ("instances_val2017.json", "valid"),
        ("test/_annotations.coco.json", "test"),
        ("latest.json", None),
        ("training.json", "train"),
    ],
)
def test_the_split_is_read_from_the_path(path: str, split: str | None) -> None:
    parts = {"images": [IMAGE], "categories": CATEGORIES, "annotations": []}

    labels, _ = read_coco({path: json.dumps(parts).encode()})

    assert labels.images[0].split == split


def test_pycocotools_reads_what_is_written(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    boxes = Detections([[10.1, 20, 30, 60], [0, 0, 100, 80]], [1, 1], [1, 0], ("a", "b"), (100, 80))
    negative = ImageLabels("b.jpg", (9, 8), Detections.empty(("a", "b"), (9, 8)))
    labels = LabelSet(("a", "b"), (ImageLabels("a.jpg", (100, 80), boxes), negative))
    [(_, content)] = write_coco(labels).items()
    path = tmp_path / "coco.json"
    path.write_bytes(content)

    witness = coco.COCO(path)

    names = {entry["file_name"]: id_ for id_, entry in witness.imgs.items()}
    found = witness.loadAnns(witness.getAnnIds(imgIds=names["a.jpg"]))
    assert [witness.cats[entry["category_id"]]["name"] for entry in found] == ["b", "a"]
    assert found[0]["bbox"] == pytest.approx([10.1, 20, 19.9, 40], abs=1e-5)
    assert found[1]["area"] == 8000
    assert witness.getAnnIds(imgIds=names["b.jpg"]) == []
