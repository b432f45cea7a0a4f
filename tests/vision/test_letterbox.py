"""Where a picture lies in the network's input, and that boxes find the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from chalicelib.vision.letterbox import PAD, fill, fit

sides = st.integers(1, 5000)


@given(sides, sides, st.booleans())
def test_the_picture_lies_inside_the_input(width: int, height: int, rect: bool) -> None:
    box = fit((width, height), (640, 640), 32, rect)

    assert box.left >= 0
    assert box.top >= 0
    assert box.left + box.scaled[0] <= box.shape[1]
    assert box.top + box.scaled[1] <= box.shape[0]
    assert max(box.scaled) == 640 or rect
    assert all(side % 32 == 0 and side <= 640 for side in box.shape)
    assert box.shape == (640, 640) or rect


@given(sides, sides, st.booleans())
def test_padding_is_even_to_a_pixel(width: int, height: int, rect: bool) -> None:
    box = fit((width, height), (640, 480), 32, rect)

    right = box.shape[1] - box.left - box.scaled[0]
    below = box.shape[0] - box.top - box.scaled[1]
    assert 0 <= right - box.left <= 1
    assert 0 <= below - box.top <= 1


@given(sides, sides, st.booleans())
def test_the_corners_of_the_picture_come_back(width: int, height: int, rect: bool) -> None:
    box = fit((width, height), (640, 640), 32, rect)
    right, below = box.left + box.scaled[0], box.top + box.scaled[1]
    corners = np.array([[box.left, box.top, right, below]], np.float32)

    assert box.to_original(corners, (width, height)) == pytest.approx(
        np.array([[0, 0, width, height]]), rel=1e-5, abs=1e-3
    )


def test_boxes_in_the_padding_are_clipped_to_the_picture() -> None:
    box = fit((100, 50), (64, 64), 32, rect=False)

    back = box.to_original(np.array([[-9, -9, 99, 99]], np.float32), (100, 50))

    assert back.tolist() == [[0, 0, 100, 50]]


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((640, 640), (640, 640)),
        ((810, 1080), (640, 480)),
        ((4000, 3000), (480, 640)),
        ((450, 300), (448, 640)),
        ((1000, 10), (32, 640)),
        ((10, 1000), (640, 32)),
    ],
)
def test_rectangular_input_is_padded_to_the_stride_only(size, shape) -> None:
    assert fit(size, (640, 640), 32, rect=True).shape == shape


def test_a_small_picture_is_enlarged() -> None:
    assert fit((32, 16), (64, 64), 32, rect=False).scaled == (64, 32)


def test_the_padding_is_grey_and_the_picture_in_0_to_1() -> None:
    box = fit((64, 32), (64, 64), 32, rect=False)
    blob = np.full((3, 64, 64), 9, np.float32)

    fill(blob, Image.new("RGB", (64, 32), (255, 128, 0)), box)

    assert np.all(blob[:, :16] == PAD)
    assert np.all(blob[:, 48:] == PAD)
    assert np.allclose(blob[:, 16:48], np.array([1, 128 / 255, 0])[:, None, None])


def test_a_resized_picture_leaves_no_gap() -> None:
    box = fit((200, 100), (64, 64), 32, rect=False)
    blob = np.full((3, 64, 64), 9, np.float32)

    fill(blob, Image.new("RGB", (200, 100), (255, 255, 255)), box)

    assert np.allclose(blob[:, 16:48], 1)
    assert np.all(blob[:, :16] == PAD)
    assert np.all(blob[:, 48:] == PAD)
