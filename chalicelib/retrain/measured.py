"""`metrics.json` as the trainer writes it: the new version, the live one beside it, the export."""

from __future__ import annotations

import bisect
import math
from itertools import pairwise
from statistics import NormalDist

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.catalog.model import VersionMetrics

LEAST_GROUPS = 8  # of validation images, below which nothing is concluded; `docs/gate.md` says why
# Dense at the ends, where intervals end.
PERCENTS: tuple[float, ...] = (0, 0.1, 0.2, 0.5, 1, 1.5, 2, 3, 4, 5, 7.5)
PERCENTS += (*range(10, 91, 5), 92.5, 95, 96, 97, 98, 98.5, 99, 99.5, 99.8, 99.9, 100)
NORMAL = NormalDist()


class LiveMetrics(VersionMetrics):
    """What the version that served was worth on the same validation images."""

    version: int = Field(ge=1)


class Parity(BaseModel):
    """How far the exported ONNX file and the weights it was made of agree."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    largest_difference: float = Field(
        ge=0, description="between raw outputs, relative where they are above 1"
    )
    map50: float | None = Field(None, ge=0, le=1, alias="mAP50", description="of the weights")
    map50_95: float | None = Field(None, ge=0, le=1, alias="mAP50-95", description="of the weights")
    images: int = Field(0, ge=0, description="on which that was measured")


class Difference(BaseModel):
    """By how much AP50-95 changes, and what resamples of the images say of that."""

    model_config = ConfigDict(frozen=True)

    value: float = Field(ge=-1, le=1, description="on the images as they are")
    percentiles: tuple[float, ...] = Field(
        (), description="of resamples, at PERCENTS; empty: there are too few images"
    )

    def interval(self, confidence: float, groups: int) -> tuple[float, float]:
        """Return between what the true change lies, with a confidence, 0..1.

        Percentiles of a bootstrap over few groups lie too close together: by the root of
        (n - 1) / n, and by the difference between Student's quantile and the normal one. They are
        moved outwards accordingly: T. Hesterberg, What Teachers Should Know About the Bootstrap
        (2015), section 5.3, the expanded percentile interval.
        """
        if len(self.percentiles) != len(PERCENTS) or groups < LEAST_GROUPS:
            return -math.inf, math.inf
        student = student_quantile((1 + confidence) / 2, groups - 1)
        tail = 100 * NORMAL.cdf(-math.sqrt(groups / (groups - 1)) * student)
        return self._percentile(tail), self._percentile(100 - tail)

    def _percentile(self, percent: float) -> float:
        known = list(zip(PERCENTS, self.percentiles, strict=True))
        place = min(max(bisect.bisect_left(PERCENTS, percent), 1), len(PERCENTS) - 1)
        (left, low), (right, high) = list(pairwise(known))[place - 1]
        return low + (high - low) * (percent - left) / (right - left)


class Evidence(BaseModel):
    """What validation images say of a new version beside the live one: `retrain/evidence.py`."""

    model_config = ConfigDict(frozen=True)

    images: int = Field(ge=0)
    groups: int = Field(ge=0, description="of look-alikes among them")
    gain: Difference = Field(description="of mAP50-95")
    classes: dict[int, Difference] = Field(description="of AP50-95, by class id")


def student_quantile(probability: float, freedom: int) -> float:
    """Return a quantile of Student's t distribution (Abramowitz and Stegun, 26.7.5).

    Examples
    --------
    >>> [round(student_quantile(0.95, freedom), 3) for freedom in (7, 9, 199)]
    [1.895, 1.833, 1.653]
    """
    z = NORMAL.inv_cdf(probability)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))


class TrainingMetrics(VersionMetrics):
    """What a training measured of the version it made."""

    live: LiveMetrics | None = Field(None, description="null: the model had no version")
    parity: Parity | None = None
    evidence: Evidence | None = Field(None, description="of the version beside the live one")
    dataset: str | None = Field(None, description="the dataset version, a sha256")
