"""Boxes and labels are drawn readably at any size, inside the picture."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from chalicelib.vision import Detections, annotate, draw
from chalicelib.vision.draw import class_colour

NAMES = ("scratch", "Kratzer – tief & breit", "a name that is much longer than a small picture")
SIZES = [(32, 32), (64, 20), (20, 300), (450, 300), (1080, 1920), (4000, 3000)]


def found(size: tuple[int, int], *boxes: tuple[float, float, float, float]) -> Detections:
    xyxy = np.array(boxes, np.float32).reshape(-1, 4) * np.array(size * 2, np.float32)
    classes = np.arange(len(boxes)) % len(NAMES)
    return Detections(xyxy, np.linspace(0.9, 0.3, len(boxes)), classes, NAMES, size)


def changed(size: tuple[int, int], *boxes: tuple[float, float, float, float]) -> np.ndarray:
    """Draw on grey and say which pixels changed."""
    grey = Image.new("RGB", size, (90, 90, 90))
    drawn = draw(grey, found(size, *boxes))
    assert drawn.size == size
    assert np.all(np.asarray(grey) == 90), "the original was painted on"
    return np.any(np.asarray(drawn) != 90, axis=2)


@pytest.mark.parametrize("size", SIZES)
def test_the_outline_is_seen_at_any_size(size: tuple[int, int]) -> None:
    mask = changed(size, (0.25, 0.5, 0.75, 0.9))

    def near(x: float, y: float) -> np.ndarray:
        column, row = round(size[0] * x), round(size[1] * y)
        return mask[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]

    assert near(0.5, 0.9).any()
    assert near(0.25, 0.7).any()
    assert near(0.75, 0.7).any()


@pytest.mark.parametrize("size", SIZES[3:])
def test_the_inside_of_a_box_stays_visible(size: tuple[int, int]) -> None:
    mask = changed(size, (0.1, 0.3, 0.9, 0.9))

    width, height = size
    assert not mask[round(height * 0.4) : round(height * 0.8), round(width * 0.2) :][
        :, : round(width * 0.6)
    ].any()


@pytest.mark.parametrize("size", SIZES[3:])
@pytest.mark.parametrize("box", [(0, 0, 0.2, 0.2), (0.9, 0.9, 1, 1), (0, 0, 1, 1), (0.4,) * 4])
def test_the_label_is_large_enough_and_not_cut_off(size, box) -> None:
    drawn = np.asarray(draw(Image.new("RGB", size, (90, 90, 90)), found(size, box)))

    ink = (drawn < 60).all(axis=2)  # the text is black on the colour of class 0
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert np.ptp(rows) >= max(7, max(size) / 100)
    assert np.ptp(columns) >= 5 * np.ptp(rows)
    assert rows.min() > 0
    assert rows.max() < size[1] - 1
    assert columns.min() > 0
    assert columns.max() < size[0] - 1


def test_a_label_that_has_no_room_is_shortened_not_cut_off() -> None:
    def label_width(size: tuple[int, int]) -> int:
        boxes = found(size, *[(0, 0, 0, 0)] * 3)
        drawn = np.asarray(draw(Image.new("RGB", size), boxes[np.array([2])]))
        return int((drawn == class_colour(2)).all(axis=2).any(axis=0).sum())

    assert label_width((300, 200)) > 250
    assert 90 < label_width((120, 90)) < 120
    assert 20 < label_width((32, 32)) < 32
    assert label_width((16, 16)) <= 2


@pytest.mark.parametrize("size", SIZES)
def test_boxes_anywhere_can_be_drawn(size: tuple[int, int]) -> None:
    boxes = [(0, 0, 1, 1), (0, 0, 0, 0), (1, 1, 1, 1), (0.5, 0.1, 0.5, 0.9), (0.99, 0, 1, 0.01)]

    assert changed(size, *boxes, (0.9, 0.9, 0.1, 0.1)).any()


def test_no_boxes_change_nothing() -> None:
    assert not changed((64, 48)).any()


def test_the_most_confident_lies_on_top() -> None:
    drawn = draw(
        Image.new("RGB", (400, 300)), found((400, 300), (0.1, 0.3, 0.9, 0.9), (0.1, 0.3, 0.9, 0.9))
    )

    assert drawn.getpixel((40, 200)) == class_colour(0)


def test_classes_keep_their_colours_apart() -> None:
    colours = [class_colour(class_id) for class_id in range(12)]

    assert len(set(colours)) == 12
    assert class_colour(3) == colours[3]
    assert (
        min(
            np.abs(np.subtract(one, other)).max()
            for index, one in enumerate(colours)
            for other in colours[:index]
        )
        > 20
    )


def test_the_annotated_picture_is_an_upright_jpeg(photo, encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(photo(60, 40), "JPEG", exif=exif)

    annotated = Image.open(BytesIO(annotate(data, found((40, 60), (0.1, 0.2, 0.9, 0.9)))))

    assert annotated.format == "JPEG"
    assert annotated.size == (40, 60)
    assert annotated.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "1"])
def test_any_kind_of_picture_can_be_annotated(mode: str, photo, encode) -> None:
    data = encode(photo(60, 40).convert(mode))

    annotated = Image.open(BytesIO(annotate(data, found((60, 40), (0.1, 0.2, 0.9, 0.9)))))

    assert annotated.mode == "RGB"


def test_quality_is_chosen(photo, encode) -> None:
    data, boxes = encode(photo(200, 200)), found((200, 200), (0, 0, 1, 1))

    assert len(annotate(data, boxes, quality=30)) < len(annotate(data, boxes, quality=95))
