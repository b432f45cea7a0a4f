"""An imported image is kept without its metadata, with the same pixels, under one identity."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from chalicelib.labels.transfers.records import State
from chalicelib.vision import decode_image, file_without_metadata
from tests.predictions.test_metadata import CASES, SECRET, bmp_with, jpeg_with, png_with, webp_with

Way = Any
LABEL = "0 0.500000 0.500000 0.250000 0.500000\n"
FILES = {
    "a.jpg": (jpeg_with, "comment"),
    "b.jpg": (jpeg_with, "second picture"),
    "c.png": (png_with, "tEXt"),
    "d.webp": (webp_with, "ABCD"),
    "e.bmp": (bmp_with, "behind the end"),
}


def pixels(data: bytes) -> Any:
    return np.asarray(decode_image(data).image)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("make", "place", "mode"), CASES, ids=lambda part: getattr(part, "__name__", part)
)
def test_a_file_without_metadata_has_the_same_pixels(
    make: Any, place: str, mode: str, orientation: int
) -> None:
    data = make(place, mode, orientation)

    bare = file_without_metadata(data)

    assert SECRET not in bare
    assert SECRET[:10] not in bare
    assert (pixels(bare) == pixels(data)).all()
    assert decode_image(bare).size == decode_image(data).size
    assert file_without_metadata(bare) == bare


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("make", [jpeg_with, png_with, webp_with])
def test_every_orientation_outlives_the_metadata(make: Any, orientation: int) -> None:
    data = make("behind the end", "RGB", orientation)

    assert (pixels(file_without_metadata(data)) == pixels(data)).all()


def test_a_jpeg_without_an_end_is_encoded_again() -> None:
    data = jpeg_with("exif", "RGB", 1)[:-2] + SECRET

    bare = file_without_metadata(data)

    assert SECRET not in bare
    assert file_without_metadata(bare) == bare


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("name", FILES)
def test_no_import_or_export_has_metadata(way: Way, name: str, orientation: int) -> None:
    make, place = FILES[name]
    content = make(place, "RGB", orientation)
    text = f"{name[0]}.txt"
    files = {name: content, text: LABEL, "data.yaml": "names: [scratch, dent]"}

    first, again = way.bring(files), way.bring(files)

    assert (first.state, again.state) == (State.DONE, State.DONE)
    assert again.found["placed"]["known"] == 1
    bare = file_without_metadata(content)
    identity = hashlib.sha256(bare).hexdigest()
    assert way.labels() == {identity: LABEL}
    exported = way.take()
    assert exported.state is State.DONE
    store = way.services.store
    images = [key for key in store.keys("") if identity in key and not key.endswith(".txt")]
    assert images
    for key in store.keys(""):
        assert SECRET not in store.get(key).body, key
    for key in images:
        assert store.get(key).body == bare, key


def test_files_that_differ_in_metadata_alone_are_one_image(way: Way) -> None:
    plain = file_without_metadata(jpeg_with("comment", "RGB", 1))
    files: dict[str, bytes | str] = {"data.yaml": "names: [scratch, dent]"}
    for number, content in enumerate([plain, plain + SECRET, jpeg_with("xmp", "RGB", 1)]):
        files |= {f"{number}.jpg": content, f"{number}.txt": LABEL}

    held = way.bring(files)

    assert held.state is State.DONE
    assert len(way.labels()) == 1
