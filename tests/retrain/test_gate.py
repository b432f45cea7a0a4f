"""The gate: what is promoted, what is not, and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.errors import InvalidModel
from chalicelib.retrain.gate import Terms, Verdict, judge
from chalicelib.retrain.measured import Evidence, LiveMetrics, TrainingMetrics
from tests.retrain.told import evidence

NAMES = ("scratch", "dent", "rust")


def side(*aps: float | None) -> dict[str, Any]:
    """Return what was measured of a version whose classes have these AP50-95."""
    found = [ap for ap in aps if ap is not None]
    rows = [
        {
            "class_id": class_id,
            "class_name": NAMES[class_id],
            "AP50": ap,
            "AP50-95": ap,
            "boxes": 0 if ap is None else 12,
        }
        for class_id, ap in enumerate(aps)
    ]
    mean = sum(found) / len(found) if found else None
    return {"mAP50": mean, "mAP50-95": mean, "per_class": rows, "validation_set_size": 40}


def metrics(
    new: tuple[float | None, ...],
    live: tuple[float | None, ...] | None,
    spread: float = 0.0,
    groups: int = 20,
    **other: Any,
) -> TrainingMetrics:
    told = side(*new)
    told["parity"] = {"largest_difference": 0.0002, "mAP50-95": told["mAP50-95"]}
    told["live"] = None if live is None else {**side(*live), "version": 3}
    told["evidence"] = None if live is None else evidence(new, live, spread=spread, groups=groups)
    return TrainingMetrics.parse(json.dumps(told | other).encode(), "metrics.json")


def judged(new: Any, live: Any, serving: int | None = 3, **terms: float) -> Verdict:
    return judge(metrics(new, live), Terms(**terms), serving)


def test_a_better_version_is_promoted_and_the_gain_is_told() -> None:
    verdict = judged((0.5, 0.6), (0.4, 0.55))

    assert verdict.promote
    assert verdict.reason == (
        "mAP50-95 rose from 0.4750 to 0.5500 on 40 validation images, by 0.0750 to 0.0750 with a "
        "confidence of 0.95"
    )
    assert verdict.figures["live_version"] == 3
    assert verdict.figures["mAP50-95"] == {"new": 0.55, "live": pytest.approx(0.475)}
    assert [row["change"] for row in verdict.figures["classes"]] == [0.1, 0.05]


def test_a_version_that_is_better_on_the_whole_tells_what_fell_within_the_tolerance() -> None:
    verdict = judged((0.8, 0.51), (0.4, 0.55))

    assert verdict.promote
    assert verdict.reason.endswith("; 'dent' fell most, by 0.0400")


def test_a_worse_version_is_rejected() -> None:
    verdict = judged((0.3,), (0.4,), class_tolerance=1)

    assert not verdict.promote
    assert verdict.reason == "mAP50-95 fell from 0.4000 to 0.3000"


def test_an_equal_version_is_rejected() -> None:
    verdict = judged((0.4,), (0.4,))

    assert not verdict.promote
    assert verdict.reason == "mAP50-95 is 0.4000, as that of version 3"


@pytest.mark.parametrize(("new", "promoted"), [(0.42, False), (0.4201, True)])
def test_the_margin_has_to_be_exceeded(new: float, promoted: bool) -> None:
    verdict = judged((new,), (0.4,), margin=0.02)

    assert verdict.promote == promoted
    if not promoted:
        assert "rose from 0.4000 to 0.4200, by 0.0200: more than 0.02 is asked" in verdict.reason


def test_a_version_that_gains_on_one_class_and_forgets_another_is_rejected_by_its_name() -> None:
    verdict = judged((0.9, 0.2), (0.4, 0.55))

    assert not verdict.promote
    assert verdict.reason == (
        "the class 'dent' (12 boxes) fell from 0.5500 to 0.2000 AP50-95, "
        "by more than the 0.05 allowed"
    )


def test_every_class_that_fell_too_far_is_named() -> None:
    reason = judged((0.9, 0.2, 0.1), (0.1, 0.4, 0.4)).reason

    assert "'dent'" in reason
    assert "'rust'" in reason
    assert "'scratch'" not in reason


def test_where_very_many_classes_fell_the_worst_are_named() -> None:
    rows = [
        {"class_id": n, "class_name": f"part {n}", "AP50-95": 0.1 + n / 100, "boxes": 1}
        for n in range(20)
    ]
    before = [row | {"AP50-95": 0.9} for row in rows]
    live = {"mAP50-95": 0.9, "per_class": before, "version": 3}
    told = metrics((0.2,), None, per_class=rows)
    known = evidence([row["AP50-95"] for row in rows], [0.9] * 20)
    sure = {"live": LiveMetrics.model_validate(live), "evidence": Evidence.model_validate(known)}
    found = told.model_copy(update=sure)

    reason = judge(found, Terms(), 3).reason

    assert [f"'part {n}' (1 box)" in reason for n in (0, 4, 5)] == [True, True, False]
    assert reason.endswith("15 more classes fell by more than that")


def test_a_class_without_validation_boxes_is_not_judged_and_is_named() -> None:
    verdict = judged((0.5, None), (0.4, None))

    assert verdict.promote
    assert verdict.reason.endswith("no validation image shows 'dent', so nothing is known of that")
    assert verdict.figures["not_measured"] == ["dent"]


def test_without_any_validation_box_nothing_is_promoted() -> None:
    verdict = judged((None, None), (None, None))

    assert not verdict.promote
    assert "none of the 40 validation images that may be measured on has a box" in verdict.reason


def test_a_first_version_is_promoted_from_the_floor_on() -> None:
    assert judged((0.1,), None, serving=None).reason == (
        "the first version: its mAP50-95 is 0.1000 on 40 validation images"
    )
    weak = judged((0.0045, 0.19), None, serving=None)
    assert not weak.promote
    assert weak.reason == (
        "a first version needs an mAP50-95 of at least 0.1, and this one has 0.0973 on 40 "
        "validation images. More images help, above all of 'scratch' (12 boxes), whose AP50-95 is "
        "0.0045, 'dent' (12 boxes), whose AP50-95 is 0.1900; so do a larger image size and more "
        "epochs. An operator can promote it all the same"
    )


@pytest.mark.parametrize(("floor", "new", "promoted"), [(0, 0.02, True), (0, 0, False)])
def test_without_a_floor_a_first_version_has_to_find_something(
    floor: float, new: float, promoted: bool
) -> None:
    assert judged((new,), None, serving=None, floor=floor).promote == promoted


def unsure(new: Any, live: Any, spread: float, groups: int = 20, **terms: float) -> Verdict:
    return judge(metrics(new, live, spread, groups), Terms(**terms), 3)


def test_a_gain_that_may_be_chance_is_rejected_and_what_would_tell_is_said() -> None:
    verdict = unsure((0.43,), (0.4,), spread=0.05)

    assert not verdict.promote
    assert verdict.reason == (
        "mAP50-95 rose from 0.4000 to 0.4300 on 20 validation images, which may be chance: with a "
        "confidence of 0.95 the true change is between -0.0184 and +0.0784; some 33 more "
        "validation images would tell, if the gain is what it seems"
    )
    assert verdict.figures["gain"] == {"low": -0.018412, "high": 0.078412}
    assert verdict.figures["groups"] == 20


def test_how_sure_it_has_to_be_is_a_term() -> None:
    assert not unsure((0.43,), (0.4,), spread=0.04).promote
    assert unsure((0.43,), (0.4,), spread=0.04, confidence=0.5).promote


def test_the_margin_has_to_be_exceeded_for_sure() -> None:
    assert unsure((0.45,), (0.4,), spread=0.04).promote
    assert not unsure((0.45,), (0.4,), spread=0.04, margin=0.02).promote


def test_too_few_images_tell_nothing() -> None:
    verdict = unsure((0.9,), (0.4,), spread=0.0, groups=5)

    assert not verdict.promote
    assert verdict.reason == (
        "mAP50-95 rose from 0.4000 to 0.9000 on 20 validation images (5 that look different), "
        "which is too few to tell: at least 3 more are needed"
    )
    assert verdict.figures["gain"] == {"low": None, "high": None}


def test_a_version_of_an_earlier_trainer_says_nothing_of_chance() -> None:
    verdict = judge(metrics((0.5,), (0.4,), evidence=None), Terms(), 3)

    assert not verdict.promote
    assert "a trainer of an earlier release" in verdict.reason


@pytest.mark.parametrize(("spread", "promoted"), [(0.05, False), (0.2, True)])
def test_a_class_that_may_have_fallen_by_chance_stands_in_nobodys_way(
    spread: float, promoted: bool
) -> None:
    told = metrics((0.9, 0.45), (0.4, 0.55)).model_dump(mode="json", by_alias=True)
    told["evidence"]["classes"]["1"] = evidence((0.45,), (0.55,), spread=spread)["classes"]["0"]
    found = TrainingMetrics.parse(json.dumps(told).encode(), "metrics.json")

    assert judge(found, Terms(), 3).promote == promoted


def test_the_floor_is_for_first_versions_alone() -> None:
    assert judged((0.05,), (0.04,)).promote


@pytest.mark.parametrize(
    ("live", "serving", "words"),
    [
        ((0.4,), 4, "it was measured beside version 3, and version 4 serves now"),
        ((0.4,), None, "it was measured beside version 3, and no version serves now"),
        (None, 1, "it was measured when no version served, and version 1 serves now"),
    ],
)
def test_what_was_measured_beside_another_version_is_not_promoted(
    live: Any, serving: int | None, words: str
) -> None:
    verdict = judged((0.9,), live, serving)

    assert (verdict.promote, verdict.reason) == (False, words)


@pytest.mark.parametrize(
    ("parity", "words"),
    [
        (None, "nobody compared"),
        ({"largest_difference": 0.0}, "nobody compared"),
        ({"largest_difference": 0.4, "mAP50-95": 0.9}, "outputs differ by up to 0.4"),
        ({"largest_difference": 0.0, "mAP50-95": 0.8}, "its mAP50-95 is 0.9000, theirs 0.8000"),
    ],
)
def test_an_export_that_does_not_agree_with_its_weights_is_not_promoted(
    parity: Any, words: str
) -> None:
    verdict = judge(metrics((0.9,), (0.4,), parity=parity), Terms(), 3)

    assert not verdict.promote
    assert words in verdict.reason


@pytest.mark.parametrize(
    "text",
    [
        b'{"mAP50-95": NaN}',
        b'{"mAP50-95": 1.5}',
        b'{"parity": {"largest_difference": NaN}}',
        b'{"live": {"mAP50-95": 0.4}}',
        b"[]",
    ],
)
def test_metrics_that_nobody_can_have_measured_are_refused(text: bytes) -> None:
    with pytest.raises(InvalidModel, match=r"metrics\.json"):
        TrainingMetrics.parse(text, "metrics.json")


def test_the_figures_can_be_stored_as_json() -> None:
    figures = judged((0.5, None), (0.4, None)).figures

    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
