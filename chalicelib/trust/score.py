r"""The customization score: how likely it is that a submission is malicious.

With P_c and U_c the predicted and the submitted boxes of class c, and AP_c the average precision
of class c that the live version reached on its validation set::

    d_c   = 1 - mean over p in P_c of ( max over u in U_c of IoU(p, u) )
    s_c   = (AP_c^0.4 * d_c^0.6)^(1 / (0.4 + 0.6))
    score = sum of s_c^3 / (sum of s_c^2 + 1e-5)

over every class that was predicted. To undo what the model is usually right about scores high; so
``d_c`` says how far the boxes were moved away, and ``AP_c`` how much the model is to be believed.
The last line is a mean of the ``s_c`` that leans to the largest.

Where the formula has nothing to go by:

- a maximum over no boxes is 0, so a class of which nothing was submitted has ``d_c = 1``;
- a class that was submitted but not predicted takes no part;
- ``AP_c`` counts as 0 where it is null, not a number, or beyond the end of the list;
- no list of APs at all, or an empty one: 0; neither side has a box: 0;
- nothing predicted but boxes submitted: 1.

docs/trust.md tells what the score cannot see; ``chalicelib.trust.signal`` looks there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chalicelib.errors import ConfigurationError
from chalicelib.trust.boxes import ClassedBoxes, Float64
from chalicelib.vision.overlap import iou_matrix

AP_WEIGHT = 0.4
DISTANCE_WEIGHT = 0.6
EPSILON = 1e-5
AveragePrecisions = Sequence[float | None]


@dataclass(frozen=True)
class ClassScore:
    """What one predicted class adds to the score.

    Attributes
    ----------
    class_id : int
    predicted, submitted : int
        How many boxes of the class each side has.
    average_precision : float | None
        AP_c, None where it is not known; that counts as 0.
    distance : float
        d_c: 0 where every predicted box is still there, 1 where none overlaps a submitted one.
    score : float
        s_c.
    """

    class_id: int
    predicted: int
    submitted: int
    average_precision: float | None
    distance: float
    score: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class CustomizationScore:
    """The score, 0..1, and its parts by rising class id."""

    score: float
    classes: tuple[ClassScore, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the score and its parts for a reviewer."""
        return {"score": self.score, "classes": [each.to_json() for each in self.classes]}


def customization_score(
    predicted: ClassedBoxes, submitted: ClassedBoxes, validation_aps: AveragePrecisions | None
) -> CustomizationScore:
    """Score a submission over a prediction.

    Parameters
    ----------
    predicted, submitted : ClassedBoxes
        Both in pixels, or both normalised.
    validation_aps : Sequence[float | None] | None
        ``validation_APs`` of the model's file: AP at IoU 0.5, 0..1, by class id.

    Raises
    ------
    ConfigurationError
        An average precision is not in 0..1.

    Examples
    --------
    One of two scratches was deleted; the model reached an AP of 0.5 on scratches:

    >>> predicted = ClassedBoxes([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 0])
    >>> mended = customization_score(predicted, ClassedBoxes([[0, 0, 10, 10]], [0]), [0.5])
    >>> round(mended.score, 6), mended.classes[0].distance
    (0.49998, 0.5)
    """
    if not len(predicted):
        judged = validation_aps is not None and len(validation_aps) and len(submitted)
        return CustomizationScore(1.0 if judged else 0.0, ())
    ids, member_of, counts = np.unique(predicted.class_id, return_inverse=True, return_counts=True)
    overlap = best_overlaps(predicted, submitted)  # never rounds to more than 1
    distance = 1 - np.bincount(member_of, overlap) / counts
    aps = [average_precision(validation_aps, class_id) for class_id in ids.tolist()]
    scores = _class_scores(np.array([ap or 0.0 for ap in aps]), distance)
    given = (submitted.class_id[:, None] == ids).sum(axis=0)
    columns = (ids.tolist(), counts.tolist(), given.tolist(), aps, distance.tolist())
    parts = zip(*columns, scores.tolist(), strict=True)
    return CustomizationScore(_mean_score(scores), tuple(ClassScore(*part) for part in parts))


def average_precision(validation_aps: AveragePrecisions | None, class_id: int) -> float | None:
    """Return AP_c, or None where it is not known.

    Raises
    ------
    ConfigurationError
        It is not in 0..1.
    """
    if validation_aps is None or class_id >= len(validation_aps):
        return None
    ap = validation_aps[class_id]
    if ap is None or math.isnan(ap):
        return None
    if not 0 <= ap <= 1:
        raise ConfigurationError(f"validation_APs must be in 0..1 or null, got {ap}")
    return float(ap)


def best_overlaps(predicted: ClassedBoxes, submitted: ClassedBoxes) -> Float64:
    """Return for each predicted box the highest IoU [N] with a submitted box of its class."""
    overlap = iou_matrix(predicted.xyxy, submitted.xyxy)
    overlap[predicted.class_id[:, None] != submitted.class_id] = 0
    best: Float64 = overlap.max(axis=1, initial=0.0)
    return best


def _class_scores(aps: Float64, distance: Float64) -> Float64:
    """Return s_c: the weighted geometric mean of belief in the model and distance from it."""
    product = aps**AP_WEIGHT * distance**DISTANCE_WEIGHT
    scores: Float64 = product ** (1 / (AP_WEIGHT + DISTANCE_WEIGHT))
    return scores


def _mean_score(scores: Float64) -> float:
    """Return the mean of the classes' scores, each weighted with its square."""
    return float((scores**3).sum() / ((scores**2).sum() + EPSILON))
