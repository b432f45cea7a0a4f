"""Filters against straightforward references, pixel by pixel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from chalicelib.bot import filters
from chalicelib.bot.filters import Pixels


@st.composite
def pictures(draw: st.DrawFn, largest: int = 12) -> Pixels:
    side = st.integers(1, largest)
    size = (draw(side), draw(side), 3)
    return np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, 256, size, np.uint8)


def brightness(pixel: Pixels) -> int:
    red, green, blue = (int(value) for value in pixel)
    return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16


@given(pictures(), st.integers(1, 30))
def test_blur_is_the_mean_of_the_box_around_each_pixel(picture: Pixels, level: int) -> None:
    blurred = filters.blur(picture, level)

    assert blurred.shape == picture.shape
    height, width, _ = picture.shape
    for y in range(height):
        for x in range(width):
            top, left = y - level // 2, x - level // 2
            box = picture[max(0, top) : top + level, max(0, left) : left + level]
            mean = box.reshape(-1, 3).astype(float).mean(axis=0)
            assert blurred[y, x].tolist() == np.floor(mean + 0.5).tolist()


def test_a_box_reaches_as_far_up_as_down_or_one_further() -> None:
    picture = np.zeros((100, 3, 3), np.uint8)
    picture[50] = 255

    blurred = filters.blur(picture, 40)

    assert blurred[:, 0, 0].nonzero()[0].tolist() == list(range(31, 71))


def test_blur_of_white_is_white_and_of_black_is_black() -> None:
    for shade in (0, 255):
        picture = np.full((50, 70, 3), shade, np.uint8)
        assert (filters.blur(picture, 255) == shade).all()


@given(pictures())
def test_contour_is_the_difference_to_the_left(picture: Pixels) -> None:
    edges = filters.contour(picture)

    assert edges.shape == picture.shape
    for y, row in enumerate(picture):
        greys = [brightness(pixel) for pixel in row]
        expected = [0] + [abs(a - b) for a, b in itertools.pairwise(greys)]
        assert edges[y].tolist() == [[value] * 3 for value in expected]


@given(pictures(), st.sampled_from([90, 180, 270]))
def test_rotate_turns_as_pillow_does(picture: Pixels, degrees: filters.Turn) -> None:
    turned = Image.fromarray(picture).rotate(-degrees, expand=True)

    assert (filters.rotate(picture, degrees) == np.asarray(turned)).all()


def test_clockwise_brings_the_left_column_to_the_top() -> None:
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[:, 0] = 9

    assert filters.rotate(picture, 90)[0].tolist() == [[9, 9, 9], [9, 9, 9]]


@given(pictures(30), st.floats(0, 1))
def test_salt_and_pepper_changes_as_many_as_it_says(picture: Pixels, proportion: float) -> None:
    grey = np.full_like(picture, 128)
    noisy = filters.salt_and_pepper(grey, proportion, np.random.default_rng(0))

    half = int(picture.shape[0] * picture.shape[1] * proportion / 2)
    assert (noisy == 255).all(axis=2).sum() == half
    assert (noisy == 0).all(axis=2).sum() == half
    assert (grey == 128).all()


def test_salt_and_pepper_falls_everywhere() -> None:
    noisy = filters.salt_and_pepper(np.full((100, 100, 3), 128, np.uint8), 0.5)

    changed = (noisy[..., 0] != 128).reshape(10, 10, 10, 10).sum(axis=(1, 3))
    assert changed.min() > 20
    assert changed.max() < 80


@given(pictures())
def test_segment_is_white_above_100(picture: Pixels) -> None:
    parts = filters.segment(picture)

    for row, found in zip(picture, parts, strict=True):
        assert found.tolist() == [[255 if brightness(p) > 100 else 0] * 3 for p in row]


@pytest.mark.parametrize(
    ("direction", "first_at_start", "where"),
    [
        ("horizontal", True, (slice(None), slice(0, 5))),
        ("horizontal", False, (slice(None), slice(5, 10))),
        ("vertical", True, (slice(0, 4), slice(None))),
        ("vertical", False, (slice(4, 8), slice(None))),
    ],
)
def test_concat_puts_the_first_where_it_belongs(
    direction: filters.Direction, first_at_start: bool, where: tuple[slice, slice]
) -> None:
    first, second = np.full((4, 5, 3), 1, np.uint8), np.full((4, 5, 3), 2, np.uint8)

    joined = filters.concat([first, second], direction, first_at_start)

    assert (joined[where] == 1).all()
    assert (joined == 1).sum() == first.size
    assert (joined == 2).sum() == second.size


def test_concat_keeps_the_order_of_an_album() -> None:
    album = [np.full((1, 1, 3), shade, np.uint8) for shade in range(10)]

    assert filters.concat(album)[0, :, 0].tolist() == list(range(10))
    assert filters.concat(album, "vertical", False)[:, 0, 0].tolist() == list(range(9, -1, -1))


@given(pictures(40), pictures(40), st.sampled_from(["horizontal", "vertical"]))
def test_concat_scales_to_the_smallest_in_proportion(
    one: Pixels, other: Pixels, direction: filters.Direction
) -> None:
    joined = filters.concat([one, other], direction)

    across = 0 if direction == "horizontal" else 1
    side = min(one.shape[across], other.shape[across])
    assert joined.shape[across] == side
    along = [max(1, round(p.shape[1 - across] * side / p.shape[across])) for p in (one, other)]
    assert joined.shape[1 - across] == sum(along)


def test_one_photo_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="two pictures or more, got 1"):
        filters.concat([np.zeros((1, 1, 3), np.uint8)])
