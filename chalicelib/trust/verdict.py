"""What becomes of a submission, and why, in words for its contributor and for a reviewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.changes import Changes, compare
from chalicelib.trust.score import AveragePrecisions, CustomizationScore, customization_score
from chalicelib.trust.signal import SUSPICIOUS, Cause, Finding, findings, is_suspicious

ACCEPTED = "Thank you. Your boxes are accepted."
WAITS = "Thank you. A person will look at your boxes before they are used: "
FOR_CONTRIBUTOR = {
    Cause.SCORE: "they differ much from what the model is usually right about.",
    Cause.TOTAL_MISS: "the model found nothing here, so there is nothing to compare them with.",
    Cause.LOW_AP: "they change much of what was found as {name}.",
    Cause.ONE_CLASS: "they differ much from what the model is usually right about in {name}.",
    Cause.ADDED: "they hold more new boxes of {name} than the model usually overlooks.",
    Cause.UNDONE: "they change more boxes of {name} than the model usually gets wrong.",
}
FOR_REVIEWER = {
    Cause.SCORE: "The score {figure:.3f} is above {threshold}: boxes that the model is usually "
    "right about were undone. It counts towards a ban.",
    Cause.TOTAL_MISS: "Nothing was predicted, so the score {figure:g} says nothing. It counts "
    "towards no ban.",
    Cause.LOW_AP: "Much of {name} was changed (distance {figure:.3f}); only its AP, {ap}, keeps "
    "the score of the class at or below {threshold}.",
    Cause.ONE_CLASS: "{name} alone scores {figure:.3f}, above {threshold}; smaller changes in "
    "other classes hide it in the mean.",
    Cause.ADDED: "{count} of {among} boxes of {name} were added; the chance that the model "
    "overlooks as many, with an AP of {ap}, is put at {figure:.2g}.",
    Cause.UNDONE: "{count} of {among} predicted boxes of {name} were removed, relabelled or moved "
    "far; the chance that the model errs as often, with an AP of {ap}, is put at {figure:.2g}.",
}


class Verdict(StrEnum):
    """What becomes of a submission. There is no verdict to ban: bans are counted, in SQL."""

    ACCEPT = "accept"
    QUARANTINE = "quarantine"


@dataclass(frozen=True)
class Reason:
    """One finding, in words: one sentence each."""

    finding: Finding
    for_contributor: str
    for_reviewer: str

    def to_json(self) -> dict[str, Any]:
        """Return the finding's fields and the reviewer's words."""
        return {**self.finding.to_json(), "text": self.for_reviewer}


@dataclass(frozen=True)
class Judgement:
    """What was found out about one submission.

    Attributes
    ----------
    scored : CustomizationScore
    changes : Changes
    suspicious : bool
        Whether it counts towards a ban.
    reasons : tuple[Reason, ...]
        Why it waits for a person; empty where it is accepted.
    """

    scored: CustomizationScore
    changes: Changes
    suspicious: bool
    reasons: tuple[Reason, ...]

    @property
    def verdict(self) -> Verdict:
        """Quarantine for any reason, else accept."""
        return Verdict.QUARANTINE if self.reasons else Verdict.ACCEPT

    @property
    def for_contributor(self) -> str:
        """What became of the submission; it names the first reason and no figures."""
        return WAITS + self.reasons[0].for_contributor if self.reasons else ACCEPTED

    def to_json(self) -> dict[str, Any]:
        """Return all of it, for a reviewer."""
        return {
            "verdict": self.verdict.value,
            "suspicious": self.suspicious,
            **self.scored.to_json(),
            "reasons": [reason.to_json() for reason in self.reasons],
            **self.changes.to_json(),
        }


def judge(
    predicted: ClassedBoxes,
    submitted: ClassedBoxes,
    validation_aps: AveragePrecisions | None,
    class_names: Sequence[str] = (),
) -> Judgement:
    """Score a submission over a prediction, and say what becomes of it.

    Parameters
    ----------
    predicted, submitted : ClassedBoxes
        Both in pixels, or both normalised.
    validation_aps : Sequence[float | None] | None
        ``validation_APs`` of the model's file: AP at IoU 0.5 by class id.
    class_names : Sequence[str]
        For the words, by class id.

    Raises
    ------
    ConfigurationError
        An average precision is not in 0..1.

    Examples
    --------
    >>> found = ClassedBoxes([[0, 0, 10, 10]], [0])
    >>> judge(found, found, [0.8]).for_contributor
    'Thank you. Your boxes are accepted.'
    >>> judge(found, ClassedBoxes.none(), [0.8]).verdict
    <Verdict.QUARANTINE: 'quarantine'>
    """
    scored = customization_score(predicted, submitted, validation_aps)
    changes = compare(predicted, submitted)
    reasons = [_reason(each, class_names) for each in findings(scored, changes, validation_aps)]
    suspicious = is_suspicious(scored.score, len(predicted))
    return Judgement(scored, changes, suspicious, tuple(reasons))


def _reason(finding: Finding, class_names: Sequence[str]) -> Reason:
    class_id, ap = finding.class_id, finding.average_precision
    names = dict(enumerate(class_names))
    words = {
        "name": f"“{names[class_id]}”" if class_id in names else f"class {class_id}",
        "figure": finding.figure,
        "threshold": SUSPICIOUS,
        "count": finding.count,
        "among": finding.among,
        "ap": "unknown" if ap is None else f"{ap:.2f}",
    }
    return Reason(
        finding,
        FOR_CONTRIBUTOR[finding.cause].format(**words),
        FOR_REVIEWER[finding.cause].format(**words),
    )
