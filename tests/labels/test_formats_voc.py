"""Pascal VOC: its pixels that count from 1, its lists of splits, and XML that means harm."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from chalicelib.labels.formats import ImageLabels, LabelSet, Reading, Report
from chalicelib.labels.formats.voc import read_voc, write_voc
from chalicelib.vision import Detections

# In the form of the development kit's own annotations (VOC2007/Annotations/000001.xml).
DOCUMENT = """<annotation>
	<folder>VOC2007</folder>
	<filename>000001.jpg</filename>
	<source><database>The VOC2007 Database</database></source>
	<size><width>353</width><height>500</height><depth>3</depth></size>
	<segmented>0</segmented>
	<object>
		<name>dog</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
		<bndbox><xmin>48</xmin><ymin>240</ymin><xmax>195</xmax><ymax>371</ymax></bndbox>
	</object>
	<object>
		<name>person</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
		<bndbox><xmin>8</xmin><ymin>12</ymin><xmax>352</xmax><ymax>498</ymax></bndbox>
		<part>
			<name>head</name>
			<bndbox><xmin>100</xmin><ymin>90</ymin><xmax>200</xmax><ymax>190</ymax></bndbox>
		</part>
	</object>
</annotation>
"""


def read(text: str, reading: Reading | None = None) -> tuple[LabelSet, Report]:
    return read_voc({"Annotations/x.xml": text.encode()}, reading)


def test_an_annotation_of_the_development_kit_is_read() -> None:
    labels, report = read(DOCUMENT)

    [(image, boxes)] = labels.labelled()
    assert (image.name, image.size, labels.class_names) == (
        "000001.jpg",
        (353, 500),
        ("dog", "person"),
    )
    assert boxes.xyxy.tolist() == [[47, 239, 195, 371], [7, 11, 352, 498]]
    assert report.fault_count == report.note_count == 0


@pytest.mark.parametrize(
    ("voc", "xyxy"),
    [((1, 1, 1, 1), [0, 0, 1, 1]), ((1, 1, 450, 300), [0, 0, 450, 300])],
    ids=["the pixel in the corner", "the whole image"],
)
def test_pixels_count_from_one_and_both_edges_are_inside(
    voc: tuple[int, ...], xyxy: list[int]
) -> None:
    boxes = Detections([xyxy], [1], [0], ("dog",), (450, 300))
    labels = LabelSet(("dog",), (ImageLabels("a.jpg", (450, 300), boxes),))

    files = write_voc(labels)
    again, report = read_voc(files)

    root = ElementTree.fromstring(files["Annotations/a.xml"])
    assert tuple(int(edge.text or "") for edge in root.iterfind("object/bndbox/*")) == voc
    assert [found.xyxy.tolist() for _, found in again.labelled()] == [[xyxy]]
    assert report.note_count == 0


def test_fractions_are_read_as_some_annotations_of_voc2012_have_them() -> None:
    labels, _ = read(DOCUMENT.replace("<xmin>48<", "<xmin>45.70000076293945<"))

    [(_, boxes)] = labels.labelled()
    assert boxes.xyxy[0, 0] == pytest.approx(44.7)


def test_a_box_from_zero_overhangs_and_is_noted() -> None:
    labels, report = read(DOCUMENT.replace("<xmin>48<", "<xmin>0<"))

    [(_, boxes)] = labels.labelled()
    assert boxes.xyxy[0, 0] == 0
    assert report.notes[0].detail == "object 1: clipped to the image of 353 x 500"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("<xmin>48</xmin>", "", "object 1: an edge must be a number, got None"),
        ("<xmin>48<", "<xmin>left<", "object 1: an edge must be a number, got 'left'"),
        ("<xmax>195<", "<xmax>nan<", "object 1: an edge must be a number, got nan"),
        ("<xmax>195<", "<xmax>1e999<", "object 1: an edge must be a number, got inf"),
        ("<xmax>195<", "<xmax>40<", "object 1: the box has no area"),
        ("<name>dog</name>", "", "object 1: a class must have a name, got None"),
        ("<name>dog</name>", "<name> </name>", "object 1: a class must have a name"),
        ("<width>353</width>", "", "width and height must be a number, got None"),
        ("<width>353<", "<width>0<", "its sides must be 1 to 100000 pixels"),
    ],
)
def test_a_fault_is_named_with_image_and_object(old: str, new: str, fault: str) -> None:
    labels, report = read(DOCUMENT.replace(old, new, 1))

    assert labels.images == ()
    assert report.faults[0].where == "000001.jpg"
    assert report.faults[0].detail.startswith(fault)


def test_an_object_without_a_box_is_a_fault() -> None:
    _, report = read(DOCUMENT.replace("bndbox", "polygon"))

    assert [fault.detail for fault in report.faults] == [
        "object 1: has no bndbox",
        "object 2: has no bndbox",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<annotation>", "is not XML"),
        ("", "is not XML"),
        ("<svg/>", "is no VOC annotation, but 'svg'"),
        ("<annotation/>", "an image must have a name, got None"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "is not XML"),
        ("<a>" * 50 + "</a>" * 50, "is nested over 20 deep"),
        ("<a>" * 1_000_000, "is nested over 20 deep"),
    ],
)
def test_what_is_no_annotation_is_refused_by_name(text: str, fault: str) -> None:
    labels, report = read(text)

    assert labels.images == ()
    assert report.faults[0].where == "Annotations/x.xml"
    assert report.faults[0].detail.startswith(fault)


def laughs() -> str:
    """Return nine entities of which each is ten of the one before: a billion in the end."""
    entities = '<!ENTITY e0 "ha">' + "".join(
        f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10)
    )
    return f"<!DOCTYPE a [{entities}]><annotation><filename>&e9;</filename></annotation>"


def test_a_billion_laughs_are_refused_before_the_first() -> None:
    labels, report = read(laughs())

    assert labels.images == ()
    assert report.faults[0].detail.startswith("declares a document type or entities")


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file://{path}">]>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "file://{path}"> %p;]>',
        '<!DOCTYPE a SYSTEM "file://{path}">',
        "<!DOCTYPE a>",
    ],
)
def test_nothing_outside_a_document_is_fetched(tmp_path: Path, doctype: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret", encoding="utf-8")
    text = doctype.format(path=secret) + "<annotation><filename>&e;</filename></annotation>"

    labels, report = read(text)

    assert labels.images == ()
    assert report.faults[0].detail.startswith("declares a document type or entities")
    assert "the secret" not in str(report)


def test_an_undeclared_entity_is_not_xml() -> None:
    _, report = read("<annotation><filename>&e;</filename></annotation>")

    assert report.faults[0].detail.startswith("is not XML")


def test_splits_are_read_from_their_lists_and_other_lists_are_noted() -> None:
    documents = {
        "Annotations/000001.xml": DOCUMENT.encode(),
        "ImageSets/Main/val.txt": b"000001\n000009\n",
        "ImageSets/Main/dog_train.txt": b"000001  1\n",
    }

    labels, report = read_voc(documents)

    assert [image.split for image in labels.images] == ["valid"]
    assert [note.where for note in report.notes] == ["ImageSets/Main/dog_train.txt"]
    assert report.fault_count == 0


def test_an_image_in_two_lists_is_a_fault() -> None:
    lists = {f"ImageSets/Main/{name}.txt": b"000001\n" for name in ("train", "val")}

    _, report = read_voc({"Annotations/000001.xml": DOCUMENT.encode(), **lists})

    assert "is also listed for train" in report.faults[0].detail


def test_a_folder_of_a_split_is_read_where_there_is_no_list() -> None:
    labels, _ = read_voc({"valid/test-1.xml": DOCUMENT.encode()})

    assert labels.images[0].split == "valid"
