"""YOLO folders in the layouts people have, and the label store's CSV as a format."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from chalicelib.labels.formats import FORMATS, ImageLabels, LabelSet, Reading, Report
from chalicelib.labels.formats.store_csv import read_store_csv
from chalicelib.labels.formats.yolo import image_path, read_yolo, write_yolo
from chalicelib.vision import Detections

CsvOf = Callable[..., str]
SHARED = Path(os.environ.get("SIGHTLOOP_SHARED", Path(__file__).parents[3] / "shared"))
NAMES = b"names: [scratch, dent]\n"
BOX = b"1 0.2 0.5 0.2 0.5\n"


def read(label: bytes, names: bytes = NAMES) -> tuple[LabelSet, Report]:
    documents = {"data.yaml": names, "labels/a.txt": label}
    return read_yolo(documents, Reading(sizes={"images/a.jpg": (100, 80)}))


@pytest.mark.parametrize(
    ("image", "label", "name", "split"),
    [
        ("images/train/a.jpg", "labels/train/a.txt", "a.jpg", "train"),
        ("train/images/a.jpg", "train/labels/a.txt", "a.jpg", "train"),
        ("valid/images/a.jpg", "valid/labels/a.txt", "a.jpg", "valid"),
        ("images/val/x/a.jpg", "labels/val/x/a.txt", "x/a.jpg", "valid"),
        ("set/images/test/a.jpg", "set/labels/test/a.txt", "set/a.jpg", "test"),
        ("images/a.jpg", "labels/a.txt", "a.jpg", None),
        ("a.jpg", "a.txt", "a.jpg", None),
        ("train/images/a.jpg", "labels/a.txt", "a.jpg", "train"),
    ],
)
def test_images_and_labels_are_paired_in_every_usual_layout(
    image: str, label: str, name: str, split: str | None
) -> None:
    reading = Reading(sizes={image: (100, 80)})

    labels, report = read_yolo({"data.yaml": NAMES, label: BOX}, reading)

    [(found, boxes)] = labels.labelled()
    assert (found.name, found.split) == (name, split)
    assert boxes.xyxy.round(3).tolist() == [[10, 20, 30, 60]]
    assert boxes.class_id.tolist() == [1]
    assert report.fault_count == report.note_count == 0


def test_an_empty_label_file_is_a_negative_and_none_at_all_is_unlabelled() -> None:
    reading = Reading(sizes={"images/a.jpg": (9, 8), "images/b.jpg": (9, 8)})

    labels, report = read_yolo({"data.yaml": NAMES, "labels/a.txt": b""}, reading)

    assert [image.boxes is None for image in labels.images] == [False, True]
    assert report.fault_count == 0


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"0 0.2 0.5 0.2", "line 2: expected four numbers in 0..1"),
        (b"0 0.2 0.5 0.2 1.5", "line 2: expected four numbers in 0..1"),
        (b"0 nan 0.5 0.2 0.5", "line 2: expected four numbers in 0..1"),
        (b"dent 0.2 0.5 0.2 0.5", "line 2: expected 'class cx cy w h'"),
        (b"2 0.2 0.5 0.2 0.5", "line 2: class_id must be in 0..1"),
        (b"-1 0.2 0.5 0.2 0.5", "line 2: "),
        (b"1" + b"0" * 300 + b" 0.2 0.5 0.2 0.5", "line 2: "),
        (b"1" + b"0" * 400 + b" 0.2 0.5 0.2 0.5", "line 2: "),
        (b"0 0.2 0.5 0 0.5", "line 2: the box has no area"),
        (b"0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "line 2: expected four numbers in 0..1"),
    ],
)
def test_each_faulty_line_is_named(line: bytes, fault: str) -> None:
    labels, report = read(BOX + line + b"\n" + line)

    assert labels.images == ()
    assert [found.where for found in report.faults] == ["a.jpg", "a.jpg"]
    assert report.faults[0].detail.startswith(fault)
    assert len(report.faults[0].detail) < 400


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (b"nc: 1\nnames: [scratch, dent]", "says nc: 1, but names 2"),
        (b"names: [scratch, scratch]", "names must be distinct texts"),
        (b"names: [scratch, no]", "names must be distinct texts"),
        (b"names: {0: scratch, 2: dent}", "has no names"),
        (b"names: scratch", "has no names"),
        (b"- scratch", "has no names"),
        (b"names: [", "is not YAML"),
        (b"\xff", "is not YAML"),
        (b"[" * 100_000, "is nested over 20 deep"),
        (b"names: [a" + b"a" * 2**17 + b"]", "over 131072 bytes"),
        (b"!!python/object/apply:os.system [true]", "is not YAML"),
        (b"- " * 60_000, "is nested over 20 deep"),
        (b"a: &a {x: 1}\nb: {<<: *a}\nnames: [x]", "has aliases"),
    ],
)
def test_names_that_cannot_be_are_a_fault(names: bytes, fault: str) -> None:
    labels, report = read(BOX, names)

    assert labels.images == ()
    assert report.faults[0].where == "data.yaml"
    assert report.faults[0].detail.startswith(fault)


def test_names_may_be_mapped_from_ids_in_any_order() -> None:
    labels, _ = read(BOX, b"names:\n  1: dent\n  0: scratch\n")

    assert labels.class_names == ("scratch", "dent")


def test_without_names_and_without_being_told_nothing_can_be_read() -> None:
    _, report = read_yolo({"a.txt": BOX}, Reading(sizes={"a.jpg": (9, 8)}))

    assert report.faults[0].detail == "one data.yaml is needed, there are 0"


def test_a_label_without_an_image_is_a_fault_and_a_readme_is_passed_over() -> None:
    documents = {"data.yaml": NAMES, "labels/x.txt": BOX, "README.roboflow.txt": b"hello"}

    _, report = read_yolo(documents)

    assert [(fault.where, fault.detail) for fault in report.faults] == [
        ("labels/x.txt", "there is no image to it")
    ]
    assert [note.where for note in report.notes] == ["README.roboflow.txt"]


def test_an_image_that_is_in_two_splits_is_a_fault() -> None:
    sizes = {f"images/{split}/a.jpg": (9, 8) for split in ("train", "val")}

    labels, report = read_yolo({"data.yaml": NAMES}, Reading(sizes=sizes))

    assert labels.images == ()
    assert report.faults[0].detail == "is there twice"


def test_what_is_written_is_where_a_trainer_looks_for_it() -> None:
    def image(name: str, split: str | None) -> ImageLabels:
        boxes = Detections([[10, 20, 30, 60]], [1], [0], ("scratch",), (100, 80))
        return ImageLabels(name, (100, 80), boxes, split)  # type: ignore[arg-type]

    images = (image("x/a.jpg", "train"), image("b.jpg", "valid"), image("c.jpg", None))

    files = write_yolo(LabelSet(("scratch",), images))

    described = yaml.safe_load(files.pop("data.yaml"))
    assert described == {
        "train": ["images/train", "images/all"],
        "val": ["images/valid"],
        "nc": 1,
        "names": ["scratch"],
    }
    paths = [image_path(image) for image in images]
    assert list(files) == [
        path.replace("images/", "labels/", 1).replace(".jpg", ".txt") for path in paths
    ]
    assert set(files.values()) == {b"0 0.200000 0.500000 0.200000 0.500000\n"}


def read_csv(*texts: str) -> tuple[LabelSet, Report]:
    documents = {f"labels{at}.csv": text.encode() for at, text in enumerate(texts)}
    return read_store_csv(documents, Reading(class_names=("scratch",)))


def test_every_faulty_row_of_a_csv_is_named_and_the_others_are_read(csv_of: CsvOf) -> None:
    text = csv_of(
        {"source_ref": "a.jpg", "image_width": "x"},
        {"source_ref": "b.jpg"},
        {"source_ref": "c.jpg", "annotations": "[7]"},
    )

    labels, report = read_csv(text)

    assert [image.name for image in labels.images] == ["b.jpg"]
    assert [fault.detail[:14] for fault in report.faults] == ["row 2 (a.jpg):", "row 4 (c.jpg):"]


def test_a_faulty_row_does_not_bring_back_an_older_one(csv_of: CsvOf) -> None:
    labels, report = read_csv(csv_of({"event_time": "1"}, {"event_time": "2", "annotations": "x"}))

    assert labels.images == ()
    assert report.fault_count == 1


def test_rows_that_are_not_approved_are_passed_over_and_noted(csv_of: CsvOf) -> None:
    labels, report = read_csv(
        csv_of({"event_time": "1"}, {"event_time": "2", "status": "REJECTED"})
    )

    assert len(labels.images) == 1
    assert report.notes[0].detail == "row 3: passed over, it is 'REJECTED'"


def test_a_csv_cannot_be_read_without_the_names_of_its_classes(csv_of: CsvOf) -> None:
    _, report = read_store_csv({"x.csv": csv_of({}).encode()})

    assert report.faults[0].detail == "a CSV has class ids alone: name the classes"


def test_a_class_id_beyond_the_names_is_a_fault(csv_of: CsvOf) -> None:
    box = "[{'class_id': 1, 'top': 1, 'left': 1, 'width': 9, 'height': 9}]"

    _, report = read_csv(csv_of({"annotations": box}))

    assert "class_id 1 with only 1 classes" in report.faults[0].detail


def test_a_number_beyond_all_measure_is_a_fault_of_its_row(csv_of: CsvOf) -> None:
    box = "[{'class_id': 0, 'top': 1, 'left': 1.5, 'width': 1" + "0" * 400 + ", 'height': 9}]"

    _, report = read_csv(csv_of({"annotations": box}))

    assert "row 2 (images/a.jpg): box 1: width must be a number" in report.faults[0].detail


def test_an_image_in_two_csvs_is_a_fault(csv_of: CsvOf) -> None:
    labels, report = read_csv(csv_of({}), csv_of({}))

    assert labels.images == ()
    assert report.faults[0].detail == "is there twice"


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no shared data at {SHARED}")
@pytest.mark.parametrize("format_name", FORMATS)
def test_the_scratch_photos_are_the_same_in_every_format(format_name: str) -> None:
    text = (SHARED / "data/scratch/labels.csv").read_bytes()
    labels, report = read_store_csv({"labels.csv": text}, Reading(class_names=("scratch",)))
    assert report.fault_count == 0
    assert len(labels.images) == 184

    files = FORMATS[format_name].write(labels, None)
    paths = {image_path(image): image.size for image in labels.images}
    sizes = paths if format_name == "yolo" else {}
    again, report = FORMATS[format_name].read(files, Reading(("scratch",), sizes))

    assert report.fault_count == report.note_count == 0
    found = {image.name: boxes.xyxy for image, boxes in again.labelled()}
    assert sum(len(xyxy) for xyxy in found.values()) == 353
    for image, boxes in labels.labelled():
        assert found[image.name] == pytest.approx(boxes.xyxy, abs=0.001)
