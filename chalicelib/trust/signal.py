r"""The second signal: what the customization score cannot see.

It can only send a submission to a person (quarantine). Nothing in it counts towards a ban: that
takes the score, over a prediction that had boxes (``is_suspicious``). It looks in five places.

``ADDED``, ``UNDONE``: more was mended than the model errs. A box that no predicted box overlaps
changes no ``d_c``, so the score is blind to additions; nor does it mind a few boxes taken away or
badly placed among many. A class of AP_c errs in about ``1 - AP_c`` of its boxes. If it did so by
chance, box by box, how likely would be as many errors as this person mended, or more? Below
``TOO_UNLIKELY`` somebody has to look. What the model overlooked is counted among all boxes
submitted in the class, what it got wrong (removed, relabelled, moved to an IoU under 0.5) among
all predicted in it. AP is neither recall nor precision, may come from a handful of boxes, and is
unknown or low where the score sees nothing; so the error rate is kept within ``ERROR_RATES``.

``LOW_AP``: classes that the score can hardly or never flag. It is a mean of the ``s_c``, weighted
with ``s_c^2``, so it lies below the largest of them; and ``s_c = AP_c^0.4 * d_c^0.6 <= AP_c^0.4``,
because ``d_c <= 1``. A score above ``t = 0.7`` therefore takes a predicted class with ::

    AP_c^0.4 > t,  that is  AP_c > t^(1 / 0.4) = 0.7^2.5 = 0.40996

and nothing done to classes below that (``LOW_AP``) is ever suspicious, nor to those without an AP;
a little above it takes nearly a clean sweep. So: ``d_c`` would exceed the threshold if the AP were
1, ``d_c^0.6 > t`` or ``d_c > 0.552`` (``LARGE_DISTANCE``), and only the AP keeps ``s_c`` below.

``ONE_CLASS``: some ``s_c > t`` though the mean is not, because other classes were changed a little.

``TOTAL_MISS``: nothing was predicted. The score is 1 whoever sends boxes, and 0 where the model has
no APs: it waits for a second opinion.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from chalicelib.trust.changes import Changes
from chalicelib.trust.score import (
    AP_WEIGHT,
    DISTANCE_WEIGHT,
    AveragePrecisions,
    ClassScore,
    CustomizationScore,
    average_precision,
)

SUSPICIOUS = 0.7
LOW_AP: float = SUSPICIOUS ** ((AP_WEIGHT + DISTANCE_WEIGHT) / AP_WEIGHT)
LARGE_DISTANCE: float = SUSPICIOUS ** ((AP_WEIGHT + DISTANCE_WEIGHT) / DISTANCE_WEIGHT)
TOO_UNLIKELY = 0.05
ERROR_RATES = (0.1, 0.4)


class Cause(StrEnum):
    """Why a submission waits for a person."""

    SCORE = "score"
    TOTAL_MISS = "total_miss"
    LOW_AP = "low_ap"
    ONE_CLASS = "one_class"
    ADDED = "added"
    UNDONE = "undone"


@dataclass(frozen=True)
class Finding:
    """One cause, where it was seen, and the figures.

    Attributes
    ----------
    cause : Cause
    figure : float
        The score for SCORE and TOTAL_MISS, d_c for LOW_AP, s_c for ONE_CLASS, the probability for
        ADDED and UNDONE.
    class_id : int | None
        None where it is about the submission as a whole.
    count, among : int
        ADDED and UNDONE: how many boxes were mended, and of how many; else 0.
    average_precision : float | None
        AP_c where it is about a class whose AP is known.
    """

    cause: Cause
    figure: float
    class_id: int | None = None
    count: int = 0
    among: int = 0
    average_precision: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def is_suspicious(score: float, predicted: int) -> bool:
    """Say whether a submission counts towards a ban: the rule that the SQL triggers apply.

    Parameters
    ----------
    score : float
    predicted : int
        How many boxes the prediction had. Over an empty one the formula gives 1 to everybody, the
        honest person who mends a total miss included: that counts towards no ban.

    Examples
    --------
    >>> is_suspicious(0.71, predicted=1), is_suspicious(0.7, 1), is_suspicious(1.0, predicted=0)
    (True, False, False)
    """
    return score > SUSPICIOUS and predicted > 0


def findings(
    scored: CustomizationScore, changes: Changes, validation_aps: AveragePrecisions | None
) -> tuple[Finding, ...]:
    """Return all reasons why a person should look at a submission first; none to accept it."""
    predicted = sum(part.predicted for part in scored.classes)
    if not predicted:
        missed = Finding(Cause.TOTAL_MISS, scored.score)
        return (missed,) if changes.changes else ()
    suspicious = is_suspicious(scored.score, predicted)
    found = [Finding(Cause.SCORE, scored.score)] if suspicious else []
    for part in scored.classes:
        found.extend(_about_a_class(part, suspicious))
    found.extend(_surprising(changes, validation_aps))
    return tuple(found)


def _about_a_class(part: ClassScore, suspicious: bool) -> Iterator[Finding]:
    ap = part.average_precision
    if part.distance > LARGE_DISTANCE and part.score <= SUSPICIOUS:
        yield Finding(Cause.LOW_AP, part.distance, part.class_id, average_precision=ap)
    if part.score > SUSPICIOUS and not suspicious:
        yield Finding(Cause.ONE_CLASS, part.score, part.class_id, average_precision=ap)


def _surprising(changes: Changes, aps: AveragePrecisions | None) -> Iterator[Finding]:
    """Find the classes in which more was mended than their AP lets expect."""
    every = changes.changes
    added = Counter(change.submitted_class for change in every if change.predicted is None)
    undone = Counter(change.predicted_class for change in every if change.undone)
    submitted = Counter(change.submitted_class for change in every)
    predicted = Counter(change.predicted_class for change in every)
    for cause, mended, totals in (
        (Cause.ADDED, added, submitted),
        (Cause.UNDONE, undone, predicted),
    ):
        for class_id, count in sorted((key, n) for key, n in mended.items() if key is not None):
            among, ap = totals[class_id], average_precision(aps, class_id)
            chance = chance_of_errors(count, among, ap or 0.0)
            if chance < TOO_UNLIKELY:
                yield Finding(cause, chance, class_id, count, among, ap)


def chance_of_errors(count: int, among: int, ap: float) -> float:
    """Return how likely a model of that AP errs in ``count`` or more ``among`` so many boxes.

    Examples
    --------
    With an AP of 0.8 two errors of three are unremarkable, five of six are not:

    >>> round(chance_of_errors(2, 3, 0.8), 3), round(chance_of_errors(5, 6, 0.8), 4)
    (0.104, 0.0016)
    """
    least, most = ERROR_RATES
    rate = min(max(1 - ap, least), most)
    return math.fsum(_binomial(errors, among, rate) for errors in range(count, among + 1))


def _binomial(errors: int, among: int, rate: float) -> float:
    """Return the probability of exactly so many errors, by logarithms: ``among`` may be large."""
    ways = math.lgamma(among + 1) - math.lgamma(errors + 1) - math.lgamma(among - errors + 1)
    return math.exp(ways + errors * math.log(rate) + (among - errors) * math.log1p(-rate))
