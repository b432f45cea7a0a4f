"""How far a submission is to be trusted. Judging is pure: numbers in, a judgement out.

>>> from chalicelib.trust import ClassedBoxes, judge
>>> predicted = ClassedBoxes([[10, 10, 50, 50], [60, 60, 90, 90]], [0, 0])
>>> submitted = ClassedBoxes([[10, 10, 50, 50]], [0])
>>> judgement = judge(predicted, submitted, validation_aps=[0.9], class_names=["scratch"])
>>> judgement.verdict, round(judgement.scored.score, 3)
(<Verdict.ACCEPT: 'accept'>, 0.633)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chalicelib.trust.boxes import ClassedBoxes
    from chalicelib.trust.changes import Change, ChangeKind, Changes, compare
    from chalicelib.trust.score import ClassScore, CustomizationScore, customization_score
    from chalicelib.trust.signal import LOW_AP, SUSPICIOUS, Cause, Finding, is_suspicious
    from chalicelib.trust.verdict import Judgement, Reason, Verdict, judge

__all__ = [
    "LOW_AP",
    "SUSPICIOUS",
    "Cause",
    "Change",
    "ChangeKind",
    "Changes",
    "ClassScore",
    "ClassedBoxes",
    "CustomizationScore",
    "Finding",
    "Judgement",
    "Reason",
    "Verdict",
    "compare",
    "customization_score",
    "is_suspicious",
    "judge",
]

JUDGING = ("boxes", "changes", "score", "signal", "verdict")


def __getattr__(name: str) -> Any:
    """Load the arithmetic when something is judged; who looks up a ban needs none of it."""
    if name not in __all__:
        raise AttributeError(name)
    modules = (importlib.import_module(f"{__name__}.{module}") for module in JUDGING)
    return next(vars(module)[name] for module in modules if name in vars(module))
