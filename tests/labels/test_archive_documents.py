"""A ZIP of images and COCO, VOC, Ground Truth or CSV documents."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chalicelib.labels import archive_documents
from chalicelib.labels.archive import Archive
from chalicelib.labels.archive_directory import Kind
from chalicelib.labels.formats import FORMATS, ImageLabels, LabelSet
from chalicelib.vision import Detections, encode_jpeg

ZipOf = Callable[..., io.BytesIO]
NAMES = ("scratch", "dent")
SIZE = (32, 24)
DOCUMENTS = [kind for kind in FORMATS if kind != "yolo"]


def boxes(*xyxy: tuple[float, ...], of: int = 0) -> Detections:
    count = len(xyxy)
    edges = np.array(xyxy, np.float32).reshape(-1, 4)
    return Detections(edges, np.ones(count), np.full(count, of), NAMES, SIZE)


def another_picture() -> bytes:
    return encode_jpeg(Image.new("RGB", SIZE, "red"), 90)


def written(kind: str, *images: ImageLabels) -> dict[str, bytes]:
    return FORMATS[kind].write(LabelSet(NAMES, images), None)


def faults(file: io.BytesIO, kind: str | None = None) -> set[tuple[str, Kind]]:
    report = Archive(file, NAMES, kind=kind).check()
    return {(fault.name, fault.kind) for fault in report.faults}


def coco(name: str, size: tuple[int, int] = SIZE, **more: Any) -> str:
    image = {"id": 1, "file_name": name, "width": size[0], "height": size[1]}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    parts = {"images": [image], "categories": [{"id": 1, "name": "dent"}], "annotations": [box]}
    return json.dumps({**parts, **more})


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_images_are_given_with_the_labels_of_their_documents(
    zip_of: ZipOf, jpeg: bytes, kind: str
) -> None:
    files = written(
        kind,
        ImageLabels("a.jpg", SIZE, boxes((1, 2, 11, 12), (3, 3, 30, 20), of=1), "train"),
        ImageLabels("b.jpg", SIZE, boxes(), "valid"),
    )
    pictures = {"images/a.jpg": jpeg, "images/b.jpg": another_picture()}
    archive = Archive(zip_of({**files, **pictures}), NAMES)

    assert archive.kind == kind
    assert archive.check().to_json()["faults"] == []
    first, second = archive.images()
    assert (first.name, second.name) == ("images/a.jpg", "images/b.jpg")
    assert first.detections.xyxy.tolist() == [[1, 2, 11, 12], [3, 3, 30, 20]]
    assert first.detections.class_id.tolist() == [1, 1]
    assert len(second.detections) == 0


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_an_image_without_a_label_and_the_reverse_are_named(
    zip_of: ZipOf, jpeg: bytes, kind: str
) -> None:
    files = written(kind, ImageLabels("a.jpg", SIZE, boxes()), ImageLabels("b.jpg", SIZE, boxes()))
    archive = zip_of({**files, "a.jpg": jpeg, "c.jpg": jpeg})

    assert faults(archive) == {("b.jpg", Kind.NO_IMAGE), ("c.jpg", Kind.NO_LABEL)}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_labels_of_a_picture_of_another_size_are_refused(
    zip_of: ZipOf, jpeg: bytes, kind: str
) -> None:
    sideways = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), NAMES, SIZE[::-1])
    files = written(kind, ImageLabels("a.jpg", SIZE[::-1], sideways))

    report = Archive(zip_of({**files, "a.jpg": jpeg}), NAMES).check()

    assert [fault.detail for fault in report.faults] == ["is said to be 24 x 32, but is 32 x 24"]


@pytest.mark.parametrize(
    "name",
    ["a.jpg", "./a.jpg", "data/a.jpg", "train/a.jpg", "s3://bucket/data/train/a.jpg"],
)
def test_a_document_may_name_an_image_in_its_own_way(zip_of: ZipOf, jpeg: bytes, name: str) -> None:
    archive = zip_of({"labels.json": coco(name), "data/train/a.jpg": jpeg})

    assert faults(archive) == set()


def test_of_two_images_of_a_name_the_one_in_the_same_folder_is_meant(
    zip_of: ZipOf, jpeg: bytes
) -> None:
    two = [
        {"id": number, "file_name": name, "width": 32, "height": 24}
        for number, name in enumerate(["x/a.jpg", "y/a.jpg"], 1)
    ]
    files = {"l.json": coco("", images=two), "in/x/a.jpg": jpeg, "in/y/a.jpg": another_picture()}

    found = {image.name: len(image.detections) for image in Archive(zip_of(files), NAMES).images()}

    assert found == {"in/x/a.jpg": 1, "in/y/a.jpg": 0}


def test_a_name_that_may_be_any_of_several_images_is_a_fault(zip_of: ZipOf, jpeg: bytes) -> None:
    archive = zip_of({"labels.json": coco("a.jpg"), "x/a.jpg": jpeg, "y/a.jpg": jpeg})

    assert faults(archive) == {("a.jpg", Kind.DUPLICATE)}


def test_an_image_that_two_names_mean_is_a_fault(zip_of: ZipOf, jpeg: bytes) -> None:
    two = [
        {"id": number, "file_name": name, "width": 32, "height": 24}
        for number, name in enumerate(["x/a.jpg", "y/a.jpg"], 1)
    ]
    archive = zip_of({"labels.json": coco("", images=two), "a.jpg": jpeg})

    assert faults(archive) == {("a.jpg", Kind.DUPLICATE)}


def test_a_faulty_label_is_named_once(zip_of: ZipOf, jpeg: bytes) -> None:
    outside = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [90, 90, 3, 4]}]
    archive = zip_of({"labels.json": coco("a.jpg", annotations=outside), "data/a.jpg": jpeg})

    assert faults(archive) == {("a.jpg", Kind.LABEL)}


def test_a_class_that_the_model_does_not_have_is_a_fault(zip_of: ZipOf, jpeg: bytes) -> None:
    archive = zip_of(
        {"labels.json": coco("a.jpg", categories=[{"id": 1, "name": "rust"}]), "a.jpg": jpeg}
    )

    report = Archive(archive, NAMES).check()

    assert report.images == 0
    assert all("rust" in fault.detail for fault in report.faults)


def test_a_broken_image_that_is_labelled_is_named_once(zip_of: ZipOf, jpeg: bytes) -> None:
    archive = zip_of({"labels.json": coco("a.jpg"), "a.jpg": jpeg[:200]})

    assert faults(archive) == {("a.jpg", Kind.IMAGE)}


def test_a_refused_image_that_is_labelled_is_named_once(zip_of: ZipOf, jpeg: bytes) -> None:
    archive = zip_of({"labels.json": coco("a.jpg"), "../a.jpg": jpeg})

    assert faults(archive) == {("../a.jpg", Kind.NAME)}


def test_labels_of_several_formats_want_to_be_told_apart(zip_of: ZipOf, jpeg: bytes) -> None:
    files = {"labels.json": coco("a.jpg"), "a.jpg": jpeg, "a.txt": ""}

    assert ("", Kind.TYPE) in faults(zip_of(files))
    assert faults(zip_of(files), "coco") == {("a.txt", Kind.TYPE)}
    assert faults(zip_of(files), "yolo") == {("labels.json", Kind.TYPE)}


def test_an_archive_without_the_document_that_was_promised_is_refused(
    zip_of: ZipOf, jpeg: bytes
) -> None:
    found = faults(zip_of({"a.jpg": jpeg}), "voc")

    assert found == {("", Kind.TYPE), ("a.jpg", Kind.NO_LABEL)}


def test_documents_are_not_read_beyond_a_limit(
    zip_of: ZipOf, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_documents, "MOST_BYTES", 100)

    assert ("", Kind.TOO_LARGE) in faults(zip_of({"labels.json": coco("a.jpg"), "a.jpg": jpeg}))


def test_names_match_however_their_letters_are_composed(zip_of: ZipOf, jpeg: bytes) -> None:
    archive = zip_of({"labels.json": coco("Ka\u0308fer.jpg"), "K\u00e4fer.jpg": jpeg})

    assert faults(archive) == set()


def test_a_job_of_a_manifest_that_failed_leaves_its_image_without_a_label(
    zip_of: ZipOf, jpeg: bytes
) -> None:
    line = {
        "source-ref": "s3://b/a.jpg",
        "box-metadata": {"failure-reason": "lost", "type": "groundtruth/object-detection"},
    }

    assert faults(zip_of({"output.manifest": json.dumps(line), "a.jpg": jpeg})) == {
        ("a.jpg", Kind.NO_LABEL)
    }
