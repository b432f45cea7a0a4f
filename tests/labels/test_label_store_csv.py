"""The label store's CSV: what is read, and how a faulty row is refused."""

from __future__ import annotations

import doctest
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chalicelib.labels.label_store_csv
from chalicelib.errors import InvalidLabel
from chalicelib.labels.label_store_csv import newest, read_label_store_csv

CsvOf = Callable[..., str]
SHARED = Path(os.environ.get("SIGHTLOOP_SHARED", Path(__file__).parents[3] / "shared"))
HEADER = (
    "source_ref,image_width,image_height,image_depth,annotations,event_time,labeling_job,status\n"
)


def test_a_row_gives_its_boxes_in_pixels(csv_of: CsvOf) -> None:
    [image] = read_label_store_csv(csv_of({}))

    assert (image.source_ref, image.width, image.height, image.depth) == (
        "images/a.jpg",
        450,
        300,
        3,
    )
    assert image.xyxy.tolist() == [[45, 75, 135, 105]]
    assert image.class_id.tolist() == [0]
    assert image.event_time == 1657198376.0
    assert image.status == "APPROVED"


def test_yolo_labels_are_centres_and_sizes_in_shares_of_the_image(csv_of: CsvOf) -> None:
    [image] = read_label_store_csv(csv_of({}))

    assert image.to_yolo() == "0 0.200000 0.300000 0.200000 0.100000\n"


def test_an_image_without_boxes_is_a_row_too(csv_of: CsvOf) -> None:
    [image] = read_label_store_csv(csv_of({"annotations": "[]"}))

    assert image.xyxy.shape == (0, 4)
    assert image.to_yolo() == ""


def test_annotations_in_json_notation_read_the_same(csv_of: CsvOf) -> None:
    json_text = '[{"class_id": 1, "top": 0, "left": 0.5, "width": 4, "height": 2}]'

    [image] = read_label_store_csv(csv_of({"annotations": json_text}))

    assert image.class_id.tolist() == [1]
    assert image.xyxy.tolist() == [[0.5, 0, 4.5, 2]]


def test_a_box_that_overhangs_is_clipped_to_the_image(csv_of: CsvOf) -> None:
    box = "[{'class_id': 0, 'top': -5, 'left': 440, 'width': 30, 'height': 20}]"

    [image] = read_label_store_csv(csv_of({"annotations": box}))

    assert image.xyxy.tolist() == [[440, 0, 450, 15]]


def test_a_byte_order_mark_before_the_header_does_no_harm(csv_of: CsvOf) -> None:
    assert len(read_label_store_csv("\ufeff" + csv_of({}))) == 1


def test_columns_may_stand_in_any_order_with_others_between() -> None:
    text = (
        "note,status,labeling_job,event_time,annotations,image_depth,image_height,image_width,"
        "source_ref\nhi,APPROVED,job,1,[],3,300,450,a.jpg\n"
    )

    [image] = read_label_store_csv(text)

    assert (image.source_ref, image.width) == ("a.jpg", 450)


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("source_ref", " ", "source_ref is empty"),
        ("image_width", "0", "image_width must be a whole number above 0, got '0'"),
        ("image_height", "-3", "image_height must be a whole number above 0, got '-3'"),
        ("image_depth", "", "image_depth must be a whole number above 0, got ''"),
        ("event_time", "yesterday", "event_time must be a number, got 'yesterday'"),
        ("event_time", "nan", "event_time must be a number, got 'nan'"),
        ("annotations", "", "annotations are not a literal list"),
        ("annotations", "[{'class_id': 0,", "annotations are not a literal list"),
        ("annotations", "{'class_id': 0}", "annotations must be a list, got dict"),
        ("annotations", "[7]", "box 1 must hold"),
        ("annotations", "[{'class_id': 0, 'top': 1, 'left': 1}]", "box 1 must hold"),
    ],
)
def test_a_faulty_cell_is_refused_with_row_and_reason(
    csv_of: CsvOf, column: str, value: str, fault: str
) -> None:
    text = csv_of({}, {"source_ref": "images/b.jpg"} | {column: value})

    with pytest.raises(InvalidLabel) as refused:
        read_label_store_csv(text)

    assert refused.value.detail.startswith("row 3")
    assert fault in refused.value.detail


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"width": 0}, "box 2 has no area: 0 x 3"),
        ({"height": -1}, "box 2 has no area: 3 x -1"),
        ({"left": 450}, "box 2 lies outside the image of 450 x 300"),
        ({"top": -3}, "box 2 lies outside the image of 450 x 300"),
        ({"top": "1"}, "box 2: top must be a number, got '1'"),
        ({"left": True}, "box 2: left must be a number, got True"),
        ({"width": 1e400}, "box 2: width must be a number, got inf"),
        ({"class_id": -1}, "box 2: class_id must be a whole number from 0, got -1"),
        ({"class_id": 0.5}, "box 2: class_id must be a whole number from 0, got 0.5"),
        ({"class_id": 2}, "box 2: class_id 2 with only 2 classes"),
    ],
)
def test_a_box_that_cannot_be_is_refused(
    csv_of: CsvOf, change: dict[str, object], fault: str
) -> None:
    good = {"class_id": 1, "top": 1, "left": 1, "width": 3, "height": 3}
    text = csv_of({"annotations": repr([good, good | change]).replace("inf", "1e400")})

    with pytest.raises(InvalidLabel) as refused:
        read_label_store_csv(text, class_count=2)

    assert refused.value.detail == f"row 2 (images/a.jpg): {fault}"


def test_annotations_are_never_run_as_code(csv_of: CsvOf, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    attack = f"[__import__('pathlib').Path({str(trace)!r}).touch()]"

    with pytest.raises(InvalidLabel, match="not a literal list"):
        read_label_store_csv(csv_of({"annotations": attack}))

    assert not trace.exists()


@pytest.mark.parametrize("nested", ["[" * 100_000, "-" * 100_000 + "1", "(" * 300 + ")" * 300])
def test_annotations_nested_without_end_are_refused(csv_of: CsvOf, nested: str) -> None:
    with pytest.raises(InvalidLabel, match="row 2"):
        read_label_store_csv(csv_of({"annotations": nested}))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(InvalidLabel, match=r"lacks the columns \['annotations'\]"):
        read_label_store_csv(HEADER.replace("annotations,", "") + "a.jpg,450,300,3,1,job,OK\n")


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(InvalidLabel, match="the header lacks the columns"):
        read_label_store_csv("")


@pytest.mark.parametrize("row", ["a.jpg,450,300\n", "a.jpg,450,300,3,[],1,job,OK,more\n"])
def test_a_row_with_cells_missing_or_over_is_refused(row: str) -> None:
    with pytest.raises(InvalidLabel, match=r"row 2.*not as many cells"):
        read_label_store_csv(HEADER + row)


def test_a_quote_that_never_closes_is_refused() -> None:
    with pytest.raises(InvalidLabel, match="not valid CSV"):
        read_label_store_csv(HEADER + 'a.jpg,450,300,3,"[],1,job,OK\n')


def test_of_an_image_labelled_twice_the_later_label_counts(csv_of: CsvOf) -> None:
    rows = read_label_store_csv(
        csv_of(
            {"event_time": "20", "annotations": "[]"},
            {"source_ref": "images/b.jpg"},
            {"event_time": "10"},
        )
    )

    kept = newest(rows)

    assert [(image.source_ref, image.row) for image in kept] == [
        ("images/a.jpg", 2),
        ("images/b.jpg", 3),
    ]


@given(
    left=st.floats(-500, 500),
    top=st.floats(-500, 500),
    width=st.floats(0.01, 2000),
    height=st.floats(0.01, 2000),
)
def test_what_is_accepted_always_lies_inside_the_image(
    left: float, top: float, width: float, height: float
) -> None:
    box = {"class_id": 0, "top": top, "left": left, "width": width, "height": height}
    text = HEADER + f'a.jpg,450,300,3,"{[box]}",1,job,OK\n'
    try:
        [image] = read_label_store_csv(text)
    except InvalidLabel as refused:
        outside = left >= 450 or top >= 300 or left + width <= 0 or top + height <= 0
        assert outside, refused.detail
        return
    x1, y1, x2, y2 = image.xyxy[0]
    assert 0 <= x1 < x2 <= 450
    assert 0 <= y1 < y2 <= 300


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no shared data at {SHARED}")
def test_every_row_of_the_scratch_photos_is_read() -> None:
    text = (SHARED / "data/scratch/labels.csv").read_text(encoding="utf-8")

    images = read_label_store_csv(text, class_count=1)

    assert len(images) == 184
    assert sum(len(image.xyxy) for image in images) == 353
    assert {image.status for image in images} == {"APPROVED"}
    sizes = np.concatenate([image.xyxy[:, 2:] - image.xyxy[:, :2] for image in images])
    assert sizes.min() > 0


def test_the_example_in_the_documentation_is_true() -> None:
    done = doctest.testmod(chalicelib.labels.label_store_csv)

    assert done.attempted >= 4
    assert not done.failed
