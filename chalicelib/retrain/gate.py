"""The gate: whether what a training made is to serve. Pure; its reasons are read by operators."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from chalicelib.catalog.model import ClassMetrics, VersionMetrics
from chalicelib.retrain.measured import (
    LEAST_GROUPS,
    Difference,
    LiveMetrics,
    Parity,
    TrainingMetrics,
)
from chalicelib.settings import Settings

LARGEST_DIFFERENCE = 0.01  # of raw outputs; exports of sound networks stay below 0.001
MOST_NAMED = 5  # classes in a reason; the figures have all
LARGEST_AP_DIFFERENCE = 0.005  # between the ONNX file's mAP50-95 and that of the weights


@dataclass(frozen=True)
class Terms:
    """What a version must hold to be promoted.

    Attributes
    ----------
    margin : float
        By more than this its mAP50-95 has to be better, 0..1.
    class_tolerance : float
        By no more than this may the AP50-95 of a class fall, 0..1.
    floor : float
        At least this has to be the mAP50-95 of a model's first version, 0..1.
    confidence : float
        Of the intervals of differences, 0..1; what is said of either end is as sure as half the
        rest: at 0.95, a version without any gain is promoted in one of 40 trainings.
    """

    margin: float = 0.0
    class_tolerance: float = 0.05
    floor: float = 0.1
    confidence: float = 0.95

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take the terms that are set."""
        return cls(
            settings.gate_margin,
            settings.gate_class_tolerance,
            settings.gate_floor,
            settings.gate_confidence,
        )


@dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Attributes
    ----------
    promote : bool
    reason : str
        In words, for operators.
    figures : dict
        What it rests on: `live_version`, `images`, `groups`, `margin`, `class_tolerance`,
        `confidence`, `mAP50-95` and `mAP50` (new, live), `gain` (low, high), `classes`
        (class_name, new, live, change, low, high, boxes), `not_measured` (names of classes),
        `parity`.
    """

    promote: bool
    reason: str
    figures: dict[str, Any] = field(default_factory=dict)


class _Change(NamedTuple):
    """A class of the new version, its AP50-95 in the live one and now, and how sure that is."""

    row: ClassMetrics
    before: float
    after: float
    high: float

    @property
    def change(self) -> float:
        return self.after - self.before

    def is_a_fall(self, tolerance: float) -> bool:
        """Tell whether the class fell by more than is allowed, and not by chance."""
        return -self.change > tolerance and self.high < 0


def judge(measured: TrainingMetrics, terms: Terms, serving: int | None) -> Verdict:
    """Decide whether a version is better than the one that serves.

    Both were measured on the same validation images; of these, the ones whose like is in training
    were left out before. A class without a validation box can neither gain nor lose.

    Parameters
    ----------
    measured : TrainingMetrics
    terms : Terms
    serving : int or None
        The version that serves at this moment; None: none does.

    Examples
    --------
    >>> row = {"class_id": 0, "class_name": "dent", "AP50-95": 0.4, "boxes": 12}
    >>> found = {"mAP50-95": 0.4, "per_class": [row], "validation_set_size": 20}
    >>> found["parity"] = {"largest_difference": 0.0001, "mAP50-95": 0.4}
    >>> judge(TrainingMetrics.model_validate(found), Terms(), serving=None).reason
    'the first version: its mAP50-95 is 0.4000 on 20 validation images'
    """
    figures = _figures(measured, terms)
    faults = list(_faults(measured, terms, serving))
    if faults:
        return Verdict(False, "; ".join(faults), figures)
    return Verdict(True, _praise(measured, terms) + _unjudged(measured), figures)


def _faults(measured: TrainingMetrics, terms: Terms, serving: int | None) -> Iterator[str]:
    """Yield why a version is not to serve; of the first three kinds one is enough."""
    live = measured.live
    if measured.map50_95 is None or not _found_classes(measured):
        yield (
            f"it cannot be measured: none of the {measured.validation_set_size} validation images "
            "that may be measured on has a box"
        )
    elif fault := _disparity(measured.map50_95, measured.parity):
        yield fault
    elif serving != (live.version if live else None):
        yield _other_serves(live, serving)
    else:
        yield from _losses(measured.map50_95, measured, terms)


def _disparity(map50_95: float, parity: Parity | None) -> str:
    """Say how the exported file differs from the weights, if it does."""
    if parity is None or parity.map50_95 is None:
        return "nobody compared the exported ONNX file with the weights"
    if not parity.largest_difference <= LARGEST_DIFFERENCE:
        return (
            "the exported ONNX file does not agree with the weights: their outputs differ by up "
            f"to {parity.largest_difference:.4g}, and {LARGEST_DIFFERENCE} is the most allowed"
        )
    if abs(map50_95 - parity.map50_95) > LARGEST_AP_DIFFERENCE:
        return (
            f"the exported ONNX file does not agree with the weights: its mAP50-95 is "
            f"{map50_95:.4f}, theirs {parity.map50_95:.4f}"
        )
    return ""


def _other_serves(live: LiveMetrics | None, serving: int | None) -> str:
    beside = f"beside version {live.version}" if live else "when no version served"
    now = f"version {serving} serves" if serving else "no version serves"
    return f"it was measured {beside}, and {now} now"


def _losses(map50_95: float, measured: TrainingMetrics, terms: Terms) -> Iterator[str]:
    """Yield how a version is not better than the live one."""
    live = measured.live
    if live is None:
        if not map50_95 >= terms.floor or not map50_95:
            yield _too_weak(map50_95, measured, terms.floor)
        return
    before = live.map50_95
    if before is None:
        yield "the live version has no mAP50-95 on these validation images"
        return
    if not map50_95 - before > terms.margin:
        yield _no_better(map50_95, before, live, terms.margin)
    elif not _gain(measured, terms)[0] > terms.margin:
        yield _too_little(map50_95, before, measured, terms)
    falls = sorted(_changes(measured, terms), key=lambda each: each.change)
    forgotten = [each for each in falls if each.is_a_fall(terms.class_tolerance)]
    for each in forgotten[:MOST_NAMED]:
        yield (
            f"the class {each.row.class_name!r}{_boxes(each.row)} fell from {each.before:.4f} to "
            f"{each.after:.4f} AP50-95, by more than the {terms.class_tolerance:g} allowed"
        )
    if len(forgotten) > MOST_NAMED:
        yield f"{len(forgotten) - MOST_NAMED} more classes fell by more than that"


def _gain(measured: TrainingMetrics, terms: Terms) -> tuple[float, float]:
    """Return between what the true gain of mAP50-95 lies."""
    evidence = measured.evidence
    if evidence is None:
        return -math.inf, math.inf
    return evidence.gain.interval(terms.confidence, evidence.groups)


def _too_little(new: float, before: float, measured: TrainingMetrics, terms: Terms) -> str:
    """Say what the gain may be by chance, and how many more images would tell."""
    rose = f"mAP50-95 rose from {before:.4f} to {new:.4f}"
    evidence, (low, high) = measured.evidence, _gain(measured, terms)
    if evidence is None:
        return f"{rose}, and nothing says how sure that is: a trainer of an earlier release made it"
    on = f"{evidence.images} validation images"
    if evidence.groups < evidence.images:
        on += f" ({evidence.groups} that look different)"
    if evidence.groups < LEAST_GROUPS:
        missing = LEAST_GROUPS - evidence.groups
        return f"{rose} on {on}, which is too few to tell: at least {missing} more are needed"
    # An interval is as wide as one by the root of the number of images.
    share = (evidence.gain.value - low) / max(evidence.gain.value - terms.margin, 1e-3)
    missing = max(1, math.ceil(evidence.groups * (share**2 - 1)))
    return (
        f"{rose} on {on}, which may be chance: with a confidence of {terms.confidence:g} the "
        f"true change is between {low:+.4f} and {high:+.4f}; some {missing} more validation "
        "images would tell, if the gain is what it seems"
    )


def _too_weak(new: float, measured: TrainingMetrics, floor: float) -> str:
    """Say what a first version lacks, and what helps; nobody sees boxes of one that is rejected."""
    rows = sorted(_found_classes(measured), key=lambda row: row.ap50_95 or 0)
    weakest = ", ".join(
        f"{row.class_name!r}{_boxes(row)}, whose AP50-95 is {row.ap50_95:.4f}"
        for row in rows[:MOST_NAMED]
    )
    wanted = f"of at least {floor:g}" if floor else "above 0"
    return (
        f"a first version needs an mAP50-95 {wanted}, and this one has {new:.4f} on "
        f"{measured.validation_set_size} validation images. More images help, above all of "
        f"{weakest}; so do a larger image size and more epochs. An operator can promote it all "
        "the same"
    )


def _no_better(new: float, before: float, live: LiveMetrics, margin: float) -> str:
    if new < before:
        return f"mAP50-95 fell from {before:.4f} to {new:.4f}"
    if new == before:
        return f"mAP50-95 is {new:.4f}, as that of version {live.version}"
    rise = f"{new - before:.4f}" if new - before >= 0.0001 else f"{new - before:.1g}"
    return f"mAP50-95 rose from {before:.4f} to {new:.4f}, by {rise}: more than {margin:g} is asked"


def _praise(measured: TrainingMetrics, terms: Terms) -> str:
    on = f"on {measured.validation_set_size} validation images"
    assert measured.map50_95 is not None
    if measured.live is None:
        return f"the first version: its mAP50-95 is {measured.map50_95:.4f} {on}"
    assert measured.live.map50_95 is not None
    low, high = _gain(measured, terms)
    rose = (
        f"mAP50-95 rose from {measured.live.map50_95:.4f} to {measured.map50_95:.4f} {on}, by "
        f"{low:.4f} to {high:.4f} with a confidence of {terms.confidence:g}"
    )
    worst = min(_changes(measured, terms), key=lambda each: each.change, default=None)
    if worst is None or worst.change >= 0:
        return rose
    return f"{rose}; {worst.row.class_name!r} fell most, by {-worst.change:.4f}"


def _unjudged(measured: TrainingMetrics) -> str:
    names = _names_not_measured(measured)
    if not names:
        return ""
    told = ", ".join(map(repr, names[:MOST_NAMED]))
    if len(names) > MOST_NAMED:
        told += f" and {len(names) - MOST_NAMED} more"
    return f"; no validation image shows {told}, so nothing is known of that"


def _figures(measured: TrainingMetrics, terms: Terms) -> dict[str, Any]:
    live = measured.live
    before = {row.class_id: row.ap50_95 for row in live.per_class} if live else {}
    parity, evidence = measured.parity, measured.evidence
    known = evidence.classes if evidence else {}
    groups = evidence.groups if evidence else 0
    return {
        "live_version": live.version if live else None,
        "images": measured.validation_set_size,
        "groups": evidence.groups if evidence else None,
        "margin": terms.margin,
        "class_tolerance": terms.class_tolerance,
        "confidence": terms.confidence,
        "gain": _ends(evidence.gain, terms, evidence.groups) if evidence else _ends(),
        "mAP50-95": {"new": measured.map50_95, "live": live.map50_95 if live else None},
        "mAP50": {"new": measured.map50, "live": live.map50 if live else None},
        "classes": [
            _class_figures(row, before.get(row.class_id))
            | _ends(known.get(row.class_id), terms, groups)
            for row in measured.per_class
        ],
        "not_measured": _names_not_measured(measured),
        "parity": parity.model_dump(mode="json", by_alias=True) if parity else None,
    }


def _ends(
    difference: Difference | None = None, terms: Terms | None = None, groups: int = 0
) -> dict[str, float | None]:
    """Return between what a difference lies; null where there is too little to tell."""
    ends = difference.interval(terms.confidence, groups) if difference and terms else ()
    known = [None if math.isinf(each) else round(each, 6) for each in ends] or [None, None]
    return dict(zip(("low", "high"), known, strict=True))


def _class_figures(new: ClassMetrics, before: float | None) -> dict[str, Any]:
    change = None if new.ap50_95 is None or before is None else round(new.ap50_95 - before, 6)
    return {
        "class_id": new.class_id,
        "class_name": new.class_name,
        "new": new.ap50_95,
        "live": before,
        "change": change,
        "boxes": new.boxes,
    }


def _changes(measured: TrainingMetrics, terms: Terms) -> Iterator[_Change]:
    """Yield how each class fares that could be measured of both versions."""
    live = measured.live.per_class if measured.live else ()
    held = {row.class_id: row.ap50_95 for row in live}
    evidence = measured.evidence
    for row in measured.per_class:
        before = held.get(row.class_id)
        if before is not None and row.ap50_95 is not None:
            known = evidence.classes.get(row.class_id) if evidence else None
            _, high = (
                known.interval(terms.confidence, evidence.groups)
                if known and evidence
                else (-math.inf, math.inf)
            )
            yield _Change(row, before, row.ap50_95, high)


def _found_classes(metrics: VersionMetrics) -> list[ClassMetrics]:
    return [row for row in metrics.per_class if row.ap50_95 is not None]


def _names_not_measured(metrics: VersionMetrics) -> list[str]:
    return [row.class_name for row in metrics.per_class if row.ap50_95 is None]


def _boxes(row: ClassMetrics) -> str:
    return "" if row.boxes is None else f" ({row.boxes} box{'es' * (row.boxes != 1)})"
