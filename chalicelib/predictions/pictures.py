"""The two pictures a prediction leaves behind: the upright original and the annotated one."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from chalicelib.errors import InvalidImage
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
    """Make both files of a picture, given as it came and decoded.

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
        image=data if _is_upright_jpeg(data) else _jpeg(picture, ORIGINAL_QUALITY),
        annotated=_jpeg(draw(picture, detections), ANNOTATED_QUALITY),
    )


def _is_upright_jpeg(data: bytes) -> bool:
    """Say whether an image that decodes can be kept as it is, without another loss."""
    with Image.open(BytesIO(data)) as header:
        plain = header.format == "JPEG" and header.mode in {"RGB", "L"}
        return plain and ORIENTATION not in header.getexif()


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
