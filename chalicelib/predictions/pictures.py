"""The two pictures a prediction leaves behind: the upright original and the annotated one."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.vision import Detections, Picture, draw, encode_jpeg

ORIGINAL_QUALITY = 95
ANNOTATED_QUALITY = 90


@dataclass(frozen=True)
class Pictures:
    """Two JPEG files of the same size, in pixels of the upright original; without metadata."""

    image: bytes
    annotated: bytes


def pictures_of(picture: Picture, detections: Detections) -> Pictures:
    """Make both files of the pixels that were decoded; the file as it came is not read again.

    Raises
    ------
    InvalidImage
        A side is longer than a JPEG can have.
    """
    annotated = encode_jpeg(draw(picture.image, detections), ANNOTATED_QUALITY)
    return Pictures(picture.jpeg or encode_jpeg(picture.image, ORIGINAL_QUALITY), annotated)
