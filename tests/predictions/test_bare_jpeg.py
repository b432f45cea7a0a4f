"""What is kept of a photo tells nothing of who took it, and shows the same pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from chalicelib.predictions.bare_jpeg import bare_jpeg
from chalicelib.predictions.pictures import pictures_of
from chalicelib.vision import Detections, decode_image

SECRETS = (b"SecretCam", b"48.2082", b"by Ann", b"behind the end")
GRAIN = np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8)


def photo(mode: str = "RGB", **options: Any) -> bytes:
    """Return a JPEG with EXIF, XMP, a comment and something behind its end."""
    exif = Image.Exif()
    exif[0x0110] = "SecretCam"
    exif[0x0112] = 1
    exif.get_ifd(0x8825)[2] = (48.2082, 0.0, 0.0)
    buffer = io.BytesIO()
    Image.fromarray(GRAIN).convert(mode).save(
        buffer, "JPEG", exif=exif, xmp=b"<x>48.2082</x>", comment=b"by Ann", **options
    )
    return buffer.getvalue() + b"behind the end"


def pixels(jpeg: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"restart_marker_blocks": 3},
        {"subsampling": 0, "quality": 100},
        {"keep_rgb": True},
    ],
    ids=str,
)
def test_the_pixels_stay_and_the_metadata_goes(mode: str, options: dict[str, Any]) -> None:
    whole = photo(mode, **options)

    bare = bare_jpeg(whole)

    assert bare is not None
    assert not any(secret in bare for secret in SECRETS)
    assert not Image.open(io.BytesIO(bare)).getexif()
    assert (pixels(bare) == pixels(whole)).all()


def test_the_colour_profile_stays() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    bare = bare_jpeg(photo(icc_profile=profile))

    assert bare is not None
    assert Image.open(io.BytesIO(bare)).info["icc_profile"] == profile


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_no_picture_of_a_prediction_has_metadata(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "SecretCam", orientation
    buffer = io.BytesIO()
    Image.fromarray(GRAIN).save(buffer, kind, exif=exif)
    picture = decode_image(buffer.getvalue()).image

    made = pictures_of(buffer.getvalue(), picture, Detections.empty(("scratch",), picture.size))

    for jpeg in (made.image, made.annotated):
        assert b"SecretCam" not in jpeg
        assert Image.open(io.BytesIO(jpeg)).size == picture.size


def test_an_upright_photo_is_not_compressed_again() -> None:
    whole = photo()
    picture = decode_image(whole).image

    made = pictures_of(whole, picture, Detections.empty(("scratch",), picture.size))

    assert (pixels(made.image) == pixels(whole)).all()


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 900), st.binary(max_size=12), st.integers(0, 12))
def test_a_damaged_file_is_taken_or_not_but_never_fails(at: int, put: bytes, cut: int) -> None:
    whole = photo()

    bare = bare_jpeg(whole[:at] + put + whole[at + cut :])

    assert bare is None or (bare.startswith(b"\xff\xd8") and bare.endswith(b"\xff\xd9"))
