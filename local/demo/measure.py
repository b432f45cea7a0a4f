"""How good a model is on photos that nobody has trained on: mean average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chalicelib.vision.precision import precision_by_class
from local.demo.people import Boxes


@dataclass(frozen=True)
class Found:
    """What a model finds on a photo of which the truth is known.

    Attributes
    ----------
    there, predicted : Boxes
    confidence : float64 [N]
        Of those predicted, falling.
    """

    there: Boxes
    predicted: Boxes
    confidence: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Precision:
    """Mean average precision over the classes that are there, as COCO counts it."""

    map50: float
    map50_95: float


def precision(found: Sequence[Found]) -> Precision:
    """Measure, over all photos.

    Raises
    ------
    ValueError
        Nothing is on the photos: there is nothing to measure on.
    """
    classes = precision_by_class(
        [each.predicted.detections(each.confidence) for each in found],
        [each.there.detections() for each in found],
    )
    if not classes:
        raise ValueError("nothing is on these photos: there is nothing to measure on")
    aps = np.mean([each.ap for each in classes.values()], axis=0)
    return Precision(float(aps[0]), float(aps.mean()))
