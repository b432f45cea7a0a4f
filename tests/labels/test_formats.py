"""Label formats: what holds for all of them, and that labels survive the way between any two."""

from __future__ import annotations

import doctest
import importlib
import itertools
import pkgutil
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chalicelib.labels.formats
from chalicelib.errors import InvalidLabel
from chalicelib.labels.formats import FORMATS, ImageLabels, LabelSet, Limits, Reading, Writing
from chalicelib.labels.formats.label_set import whole_pixels
from chalicelib.labels.formats.yolo import image_path
from chalicelib.vision import Detections

NAMES = ("scratch", "dent <1 mm> & more", "Übergroß")
WRITING = Writing(created=datetime(2026, 11, 21, tzinfo=UTC))
PARTS = ("a", "b.c", "images", "labels", "train", "Annotations", "ä ö", "x & <y>", "test ")


@st.composite
def boxes_in(draw: st.DrawFn, size: tuple[int, int], least: float) -> Detections:
    """Draw boxes in an image of which each is at least so wide and high."""

    def edges(side: int) -> tuple[np.float32, np.float32]:
        low = np.float32(draw(st.floats(0, side - least, width=64)))
        high = np.float32(draw(st.floats(min(float(low) + least, side), side, width=64)))
        return low, high

    rows = []
    for _ in range(draw(st.integers(0, 4))):
        (x1, x2), (y1, y2) = edges(size[0]), edges(size[1])
        rows.append((x1, y1, x2, y2))
    class_id = [draw(st.integers(0, len(NAMES) - 1)) for _ in rows]
    xyxy = np.array(rows, np.float32).reshape(-1, 4)
    ones = np.ones(len(rows), np.float32)
    return Detections(xyxy, ones, np.array(class_id, np.int64), NAMES, size)


@st.composite
def label_sets(draw: st.DrawFn, least: float = 1.01) -> LabelSet:
    stems = draw(
        st.lists(
            st.lists(st.sampled_from(PARTS), min_size=1, max_size=3),
            min_size=1,
            max_size=4,
            unique_by=str,
        )
    )
    images = []
    for stem in stems:
        size = draw(st.tuples(st.integers(2, 12_000), st.integers(2, 12_000)))
        name = "/".join(stem) + draw(st.sampled_from([".jpg", ".png"]))
        split = draw(st.sampled_from(["train", "valid", "test", None]))
        images.append(ImageLabels(name, size, draw(boxes_in(size, least)), split))
    return LabelSet(NAMES, tuple(images))


def through(format_name: str, labels: LabelSet) -> LabelSet:
    """Write labels and read them again; nothing may be wrong with them."""
    files = FORMATS[format_name].write(labels, WRITING)
    paths = {
        image_path(image) if format_name == "yolo" else image.name: image.size
        for image in labels.images
    }
    again, report = FORMATS[format_name].read(files, Reading(class_names=NAMES, sizes=paths))
    assert (report.faults, report.notes) == ((), ())
    return again


def furthest(one: LabelSet, other: LabelSet) -> dict[str, float]:
    """Return by how much an edge differs at most in each image; all else must be equal."""
    assert one.class_names == other.class_names
    others = {image.name: image for image in other.images}
    assert others.keys() == {image.name for image in one.images}
    moved = {}
    for image, boxes in one.labelled():
        again = others[image.name]
        assert (again.size, again.split) == (image.size, image.split)
        assert again.boxes is not None
        assert again.boxes.class_id.tolist() == boxes.class_id.tolist()
        apart = np.abs(again.boxes.xyxy.astype(float) - boxes.xyxy.astype(float))
        moved[image.name] = float(apart.max(initial=0))
    return moved


def precision(format_name: str, size: tuple[int, int]) -> float:
    stated = FORMATS[format_name].precision
    return stated * max(size) if format_name == "yolo" else stated


@pytest.mark.parametrize("pair", list(itertools.product(FORMATS, repeat=2)), ids="-to-".join)
@settings(max_examples=10, deadline=None)
@given(labels=label_sets())
def test_labels_survive_the_way_through_any_two_formats(
    pair: tuple[str, str], labels: LabelSet
) -> None:
    first, second = pair

    moved = furthest(labels, through(second, through(first, labels)))

    for image in labels.images:
        allowed = precision(first, image.size) + precision(second, image.size)
        assert moved[image.name] <= allowed, image


@pytest.mark.parametrize("format_name", FORMATS)
@settings(max_examples=20, deadline=None)
@given(labels=label_sets(least=0.2))
def test_boxes_thinner_than_a_pixel_stay_boxes(format_name: str, labels: LabelSet) -> None:
    moved = furthest(labels, through(format_name, labels))

    assert all(distance < 1 for distance in moved.values())


@given(boxes=boxes_in((7, 5), 0.01))
def test_on_whole_pixels_every_box_has_one_and_stays_inside(boxes: Detections) -> None:
    whole = whole_pixels(boxes).xyxy

    assert (whole == np.rint(whole)).all()
    assert (whole[:, 2:] - whole[:, :2] >= 1).all()
    assert (whole >= 0).all()
    assert (whole[:, 2:] <= (7, 5)).all()


@pytest.mark.parametrize("format_name", FORMATS)
def test_an_image_with_nothing_to_see_survives_and_an_unlabelled_one_is_left_out(
    format_name: str,
) -> None:
    negative = ImageLabels("a.jpg", (40, 30), Detections.empty(NAMES, (40, 30)), "train")
    unlabelled = ImageLabels("b.jpg", (40, 30), None, "train")

    files = FORMATS[format_name].write(LabelSet(NAMES, (negative, unlabelled)), None)
    sizes = {image_path(negative) if format_name == "yolo" else "a.jpg": (40, 30)}
    again, report = FORMATS[format_name].read(files, Reading(class_names=NAMES, sizes=sizes))

    assert report.faults == ()
    [image] = again.images
    assert image.name == "a.jpg"
    assert image.boxes is not None
    assert len(image.boxes) == 0


@pytest.mark.parametrize("format_name", ["voc", "yolo"])
def test_two_images_that_would_share_a_label_file_are_refused(format_name: str) -> None:
    nothing = Detections.empty(NAMES, (4, 3))
    images = tuple(ImageLabels(name, (4, 3), nothing) for name in ("a.jpg", "a.png"))

    with pytest.raises(InvalidLabel, match="two images would be labelled by"):
        FORMATS[format_name].write(LabelSet(NAMES, images), None)


@pytest.mark.parametrize("format_name", ["ground-truth", "csv"])
def test_a_prefix_is_put_before_names_and_taken_off_again(format_name: str) -> None:
    image = ImageLabels("a.jpg", (4, 3), Detections.empty(NAMES, (4, 3)))
    files = FORMATS[format_name].write(LabelSet(NAMES, (image,)), Writing(prefix="s3://b/"))
    assert b"s3://b/a.jpg" in b"".join(files.values())

    kept, _ = FORMATS[format_name].read(files, Reading(class_names=NAMES))
    taken_off, _ = FORMATS[format_name].read(files, Reading(class_names=NAMES, prefix="s3://b/"))

    assert kept.images[0].name == "s3://b/a.jpg"
    assert taken_off.images[0].name == "a.jpg"


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"[" * 200_000, b"\x00" * 99, b"{}"])
@pytest.mark.parametrize("name", ["x.json", "x.xml", "x.manifest", "x.csv", "x.txt", "data.yaml"])
def test_no_document_breaks_a_reader(format_name: str, content: bytes, name: str) -> None:
    labels, report = FORMATS[format_name].read({name: content}, Reading(class_names=NAMES))

    assert labels.images == ()
    assert report.fault_count or format_name in {"ground-truth", "yolo"}  # no line: no image


@pytest.mark.parametrize("format_name", FORMATS)
@settings(max_examples=20, deadline=None)
@given(labels=label_sets(), data=st.data())
def test_a_damaged_document_never_breaks_a_reader(
    format_name: str, labels: LabelSet, data: st.DataObject
) -> None:
    files = FORMATS[format_name].write(labels, WRITING)
    path = data.draw(st.sampled_from(sorted(files) or [""]))
    content = bytearray(files.get(path, b""))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from(
                [b"", b"-", b"1e999", b"nan", b'"', b"<", b"\xff", b"null", b"[]", b"9"]
            )
        )
    sizes = {image_path(image): image.size for image in labels.images}

    again, _ = FORMATS[format_name].read({**files, path: bytes(content)}, Reading(NAMES, sizes))

    for image, boxes in again.labelled():
        assert (boxes.xyxy >= 0).all()
        assert (boxes.xyxy[:, 2:] <= image.size).all()
        assert (boxes.xyxy[:, :2] < boxes.xyxy[:, 2:]).all()


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_document_over_the_limit_is_named_and_not_read(format_name: str) -> None:
    image = ImageLabels("a.jpg", (4, 3), Detections.empty(NAMES, (4, 3)), "train")
    files = FORMATS[format_name].write(LabelSet(NAMES, (image,)), None)
    sizes = {image_path(image): (4, 3)}
    tight = Reading(NAMES, sizes, limits=Limits(document_bytes=5 if format_name != "yolo" else -1))

    labels, report = FORMATS[format_name].read(files, tight)

    assert list(labels.labelled()) == []
    assert any("bytes" in fault.detail for fault in report.faults)


def test_faults_are_listed_up_to_a_limit_and_all_counted() -> None:
    lines = b"nonsense\n" * 30

    _, report = FORMATS["ground-truth"].read(
        {"x.manifest": lines}, Reading(limits=Limits(faults=7))
    )

    assert len(report.faults) == 7
    assert report.fault_count == 30
    with pytest.raises(InvalidLabel, match=r"^x.manifest, line 1: .*\(and 29 more\)$"):
        report.check()


def test_a_report_without_faults_refuses_nothing() -> None:
    image = ImageLabels("a.jpg", (4, 3), Detections.empty(NAMES, (4, 3)))
    _, report = FORMATS["coco"].read(FORMATS["coco"].write(LabelSet(NAMES, (image,)), None), None)

    report.check()
    assert report.fault_count == 0


def test_documents_of_another_format_are_passed_over_by_name() -> None:
    _, report = FORMATS["coco"].read({"a.xml": b"<annotation/>"}, None)

    assert [note.where for note in report.notes] == ["a.xml"]
    assert report.faults[0].detail == "there is no document whose name ends in .json"


@pytest.mark.parametrize(
    "images",
    [
        (ImageLabels("a.jpg", (4, 3), None), ImageLabels("a.jpg", (4, 3), None)),
        (ImageLabels("a.jpg", (4, 3), Detections.empty(NAMES, (3, 4))),),
        (ImageLabels("a.jpg", (4, 3), Detections.empty(NAMES[:1], (4, 3))),),
    ],
    ids=["one name twice", "another size", "other classes"],
)
def test_a_label_set_that_contradicts_itself_cannot_be_made(
    images: tuple[ImageLabels, ...],
) -> None:
    with pytest.raises(InvalidLabel):
        LabelSet(NAMES, images)


def test_the_examples_in_the_documentation_are_true() -> None:
    package = chalicelib.labels.formats
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    modules = [package, *(importlib.import_module(f"{package.__name__}.{name}") for name in names)]

    results = [doctest.testmod(module) for module in modules]

    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) > 20
