"""The two pictures a prediction leaves behind: the upright original and the annotated one."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from chalicelib.errors import InvalidImage
from chalicelib.predictions.bare_jpeg import bare_jpeg
from chalicelib.vision import Detections, draw

JPEG_LONGEST_SIDE = 65_500
ORIENTATION = 0x0112
ORIGINAL_QUALITY = 95
ANNOTATED_QUALITY = 90


@dataclass(frozen=True)
class Pictures:
    """Two JPEG files of the same size, in pixels of the upright original."""

    image: bytes
    annotated: bytes


def pictures_of(data: bytes, picture: Image.Image, detections: Detections) -> Pictures:
    """Make both files of a picture, given as it came and decoded; neither has metadata.

    Raises
    ------
    InvalidImage
        A side is longer than a JPEG can have.
    """
    if max(picture.size) > JPEG_LONGEST_SIDE:
        raise InvalidImage(
            f"a side of the image has {max(picture.size)} pixels: "
            f"more than {JPEG_LONGEST_SIDE} do not fit into a JPEG"
        )
    return Pictures(
        image=_without_another_loss(data) or _jpeg(picture, ORIGINAL_QUALITY),
        annotated=_jpeg(draw(picture, detections), ANNOTATED_QUALITY),
    )


def _without_another_loss(data: bytes) -> bytes | None:
    """Return the file without its metadata if it is a JPEG that needs no turning."""
    with Image.open(BytesIO(data)) as header:
        plain = header.format == "JPEG" and header.mode in {"RGB", "L"}
        upright = header.getexif().get(ORIENTATION, 1) == 1
    return bare_jpeg(data) if plain and upright else None


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
