"""The fingerprint: what is near to what, on drawn pictures and on photos of metal tags."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import chalicelib.labels.fingerprint
from chalicelib.errors import NotAnImage
from chalicelib.labels.fingerprint import (
    BITS,
    NEAR,
    Fingerprint,
    Index,
    distances,
    fingerprint,
    fingerprint_of,
)

TagPhotos = list  # of conftest.TagPhoto, which tests cannot import


def scene(seed: int, size: tuple[int, int] = (450, 300)) -> Image.Image:
    """Return a picture with structure of the size of things, another for each seed."""
    grain = np.random.default_rng(seed).integers(0, 255, (14, 21), np.uint8)
    return Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC)


def apart(one: Image.Image, other: Image.Image) -> int:
    return int(distances(fingerprint(one), fingerprint(other).bits)[0])


def turned(image: Image.Image) -> bytes:
    """Return a JPEG that lies on its side, with the EXIF orientation that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


def shifted(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.roll(np.asarray(image), (12, -20), (0, 1)))


def as_poor_jpeg(image: Image.Image) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=20)
    return Image.open(buffer)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "shifted": shifted,
    "cropped by 5 % a side": lambda image: image.crop((22, 15, 428, 285)),
    "smaller": lambda image: image.resize((200, 133)),
    "as a poor JPEG": as_poor_jpeg,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "flatter": lambda image: ImageEnhance.Contrast(image).enhance(0.5),
    "in colour": lambda image: image.convert("RGB"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("seed", range(4))
def test_the_same_thing_taken_otherwise_is_near(
    seed: int, change: Callable[[Image.Image], Image.Image]
) -> None:
    assert apart(change(scene(seed)), scene(seed)) <= NEAR


def test_other_things_are_not_near() -> None:
    prints = [fingerprint(scene(seed)) for seed in range(60)]
    bits = np.stack([one.bits for one in prints])

    found = np.stack([distances(one, bits) for one in prints])

    assert found[~np.eye(60, dtype=bool)].min() > NEAR


def test_a_photo_lying_on_its_side_is_turned_upright_first() -> None:
    assert distances(fingerprint_of(turned(scene(1))), fingerprint(scene(1)).bits)[0] <= NEAR


def test_what_is_no_image_has_no_fingerprint() -> None:
    with pytest.raises(NotAnImage):
        fingerprint_of(b"no image")


def test_a_picture_without_structure_is_near_to_its_like_only() -> None:
    blank = Image.new("L", (64, 64), 90)

    assert apart(blank, Image.new("L", (300, 200), 10)) == 0
    assert apart(blank, scene(0)) > NEAR


def test_32_bytes_hold_what_is_stored() -> None:
    stored = fingerprint(scene(3)).to_bytes()

    assert len(stored) == 32
    restored = np.frombuffer(stored, "<u8").astype(np.uint64)
    assert distances(fingerprint(scene(3)), restored)[0] == 0


def test_the_index_finds_what_comparing_one_by_one_finds() -> None:
    rng = np.random.default_rng(5)
    index = Index()
    stored = rng.integers(0, 2**63, (3000, 4), np.uint64)
    asked = fingerprint(scene(9))
    stored[[17, 2500]] = asked.bits
    stored[2500] ^= np.array([0b1011, 0, 1, 0], np.uint64)
    stored[1234] = asked.shifted[7]
    for bits in stored:
        index.add(bits)

    assert len(index) == 3000
    assert index.near(asked) == [(17, 0), (1234, 0), (2500, 4)]


@pytest.mark.parametrize("word", range(4))
def test_bits_count_wherever_they_differ(word: int) -> None:
    nothing = np.zeros((1, 4), np.uint64)
    far, near = np.zeros((2, 4), np.uint64)
    far[word] = near[word] = 2**31 - 1
    far[(word + 1) % 4] = 2**32 - 1
    near[(word + 1) % 4] = 2**31 - 1
    index = Index()
    index.extend(np.stack([far, near]))

    assert index.near(Fingerprint(nothing[0], nothing)) == [(1, NEAR)]


def test_distances_are_counted_over_all_words() -> None:
    nothing = np.zeros((1, 4), np.uint64)
    asked = Fingerprint(nothing[0], nothing)

    assert distances(asked, np.full(4, 0xFF, np.uint64)).tolist() == [32]
    assert BITS <= 255  # a distance fits into a byte


def test_photos_of_one_tag_are_near_and_of_two_tags_never(tag_photos: TagPhotos) -> None:
    bits = np.stack([photo.fingerprint.bits for photo in tag_photos])
    groups = np.array([photo.group for photo in tag_photos])
    near = np.stack([distances(photo.fingerprint, bits) for photo in tag_photos]) <= NEAR

    assert not near[groups[:, None] != groups].any()
    for photo, row in zip(tag_photos, near, strict=True):
        of_its_shot = [other.shot == photo.shot for other in tag_photos]
        assert np.flatnonzero(row & of_its_shot).tolist() == [tag_photos.index(photo)]
    again = near.sum(1) > 1
    assert again.mean() > 0.99  # all but a tag that was taken once


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(chalicelib.labels.fingerprint).failed == 0
