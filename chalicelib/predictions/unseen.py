"""Pictures for models that cannot look yet: predictions of version 0, in which nothing is found."""

from __future__ import annotations

import time

from chalicelib.inference import Answer, Look
from chalicelib.vision import Detections, Timing, decode_image

UNSEEN = 0  # the version of a prediction that no model made


def unseen(model: str, data: bytes, max_pixels: int) -> Look:
    """Return a picture as if the model had looked at it and found nothing.

    Parameters
    ----------
    model : str
    data : bytes
        The picture's file as it came.
    max_pixels : int
        Refuse more.

    Raises
    ------
    InvalidImage
        As ``decode_image``.
    """
    started = time.perf_counter()
    picture = decode_image(data, max_pixels=max_pixels)
    decode = (time.perf_counter() - started) * 1000
    nothing = Detections.empty((), picture.size)
    return Look(Answer(model, UNSEEN, nothing, Timing(decode, 0, 0, 0)), picture)
