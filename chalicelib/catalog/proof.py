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
    detector.detect(blank_picture())


@functools.cache
def blank_picture() -> bytes:
    """Return a small gray PNG, in which every model that detects can look for something."""
    buffer = BytesIO()
    Image.new("RGB", (64, 48), "gray").save(buffer, "PNG")
    return buffer.getvalue()
