"""Seeing that a model detects, before anyone relies on it."""

from __future__ import annotations

import functools
from io import BytesIO

from PIL import Image

from chalicelib.vision import Detector


def prove(detector: Detector) -> None:
    """Detect in a blank picture.

    Raises
    ------
    InvalidModel
        The network does not run, or what it puts out are no boxes.
    """
    detector.detect(_blank_picture())


@functools.cache
def _blank_picture() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 48), "gray").save(buffer, "PNG")
    return buffer.getvalue()
