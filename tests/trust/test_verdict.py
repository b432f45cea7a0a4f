"""What becomes of a submission: the threshold, the second signal, and the words."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.trust import (
    SUSPICIOUS,
    Cause,
    ClassedBoxes,
    Judgement,
    Verdict,
    is_suspicious,
    judge,
)
from chalicelib.trust.signal import chance_of_errors

NAMES = ("scratch", "dent")


def row_of(count: int, class_id: int = 0, at: int = 0, by: float = 0) -> ClassedBoxes:
    """So many boxes of 10 x 10 side by side, in the row ``at``, pushed aside ``by`` pixels."""
    corners = [[20 * n + by, 20 * at, 20 * n + by + 10, 20 * at + 10] for n in range(count)]
    return ClassedBoxes(corners, [class_id] * count)


def together(*sides: ClassedBoxes) -> ClassedBoxes:
    return ClassedBoxes(
        [row for side in sides for row in side.xyxy.tolist()],
        [class_id for side in sides for class_id in side.class_id.tolist()],
    )


NOTHING = ClassedBoxes.none()


def causes(judgement: Judgement) -> set[str]:
    return {reason.finding.cause.value for reason in judgement.reasons}


def accepted(judgement: Judgement) -> bool:
    return judgement.verdict is Verdict.ACCEPT and not judgement.suspicious


@pytest.mark.parametrize("aps", [[0.9], [0.2], [None], [], None])
@pytest.mark.parametrize("count", [0, 1, 20])
def test_a_confirmed_prediction_is_accepted(count: int, aps: list[float | None] | None) -> None:
    assert accepted(judge(row_of(count), row_of(count), aps))


@pytest.mark.parametrize(
    "submitted",
    [row_of(4, by=1), row_of(3), row_of(5), together(row_of(3), row_of(1, at=3))],
    ids=["moved a little", "one false alarm taken away", "one miss added", "one of each"],
)
def test_an_ordinary_mend_is_accepted(submitted: ClassedBoxes) -> None:
    assert accepted(judge(row_of(4), submitted, [0.8]))


@pytest.mark.parametrize(
    "submitted",
    [NOTHING, row_of(2, at=5), row_of(2, class_id=1)],
    ids=["deleted", "put elsewhere", "relabelled"],
)
def test_undoing_what_the_model_is_usually_right_about_is_suspicious(
    submitted: ClassedBoxes,
) -> None:
    judgement = judge(row_of(2), submitted, [0.9, 0.9])

    assert judgement.suspicious
    assert judgement.verdict is Verdict.QUARANTINE
    assert judgement.reasons[0].finding.cause is Cause.SCORE


def test_only_a_score_over_the_threshold_above_boxes_counts_towards_a_ban() -> None:
    assert is_suspicious(SUSPICIOUS + 1e-9, predicted=1)
    assert not is_suspicious(SUSPICIOUS, predicted=1)
    assert not is_suspicious(1.0, predicted=0)


@pytest.mark.parametrize("aps", [[0.9], [None], [], None])
def test_who_mends_a_total_miss_waits_for_a_second_opinion_but_is_no_suspect(
    aps: list[float | None] | None,
) -> None:
    judgement = judge(NOTHING, row_of(2), aps)

    assert causes(judgement) == {"total_miss"}
    assert judgement.verdict is Verdict.QUARANTINE
    assert not judgement.suspicious


@pytest.mark.parametrize("ap", [0.95, 0.6, 0.3, 0.0, None])
@pytest.mark.parametrize("right", [1, 2, 5, 10])
def test_fifteen_spurious_boxes_on_a_right_prediction_wait(right: int, ap: float | None) -> None:
    judgement = judge(row_of(right), together(row_of(right), row_of(15, at=2)), [ap])

    assert judgement.scored.score == 0.0
    assert causes(judgement) == {"added"}
    assert not judgement.suspicious


def test_additions_in_a_class_that_was_not_predicted_are_seen_too() -> None:
    judgement = judge(row_of(2), together(row_of(2), row_of(15, class_id=1, at=2)), [0.9, 0.9])

    [reason] = judgement.reasons
    assert (reason.finding.cause, reason.finding.class_id) == (Cause.ADDED, 1)
    assert (reason.finding.count, reason.finding.among) == (15, 15)


@pytest.mark.parametrize("aps", [[0.4], [0.0], [None], [], None])
def test_wiping_out_a_class_that_the_score_can_never_flag_waits(
    aps: list[float | None] | None,
) -> None:
    judgement = judge(row_of(2), NOTHING, aps)

    assert judgement.scored.score <= SUSPICIOUS
    assert causes(judgement) == {"low_ap"}
    assert not judgement.suspicious


def test_boxes_of_a_middling_class_that_are_all_moved_far_wait() -> None:
    judgement = judge(row_of(2), row_of(2, by=6), [0.6])

    assert judgement.scored.classes[0].average_precision == 0.6
    assert causes(judgement) == {"low_ap"}
    assert not judgement.suspicious


def test_mending_half_of_a_class_of_low_ap_is_accepted() -> None:
    assert accepted(judge(row_of(4), together(row_of(2), row_of(2, at=3)), [0.3]))


def test_a_class_wiped_out_behind_smaller_changes_in_others_is_seen() -> None:
    others = range(1, 11)
    predicted = together(row_of(2), *(row_of(1, class_id=n, at=n) for n in others))
    submitted = together(*(row_of(1, class_id=n, at=n, by=3) for n in others))

    judgement = judge(predicted, submitted, [0.9] * 11)

    assert judgement.scored.score <= SUSPICIOUS
    assert not judgement.suspicious
    [hidden] = [each.finding for each in judgement.reasons if each.finding.cause is Cause.ONE_CLASS]
    assert hidden.class_id == 0


@pytest.mark.parametrize(
    "submitted",
    [row_of(10), together(row_of(10), row_of(10, class_id=1, at=0))],
    ids=["removed", "removed, and others put on those that stay"],
)
def test_taking_half_of_many_sure_boxes_away_waits(submitted: ClassedBoxes) -> None:
    judgement = judge(row_of(20), submitted, [0.9, 0.9])

    assert judgement.scored.score <= SUSPICIOUS
    assert "undone" in causes(judgement)


def test_relabelling_half_of_many_boxes_waits() -> None:
    half = ClassedBoxes(row_of(20).xyxy, [0, 1] * 10)

    judgement = judge(row_of(20), half, [0.9, 0.9])

    [finding] = [each.finding for each in judgement.reasons]
    assert (finding.cause, finding.class_id, finding.count) == (Cause.UNDONE, 0, 10)


def test_the_chance_of_errors_is_the_tail_of_a_binomial() -> None:
    assert chance_of_errors(0, 7, 0.8) == pytest.approx(1.0)
    assert chance_of_errors(1, 1, 0.75) == pytest.approx(0.25)
    assert chance_of_errors(2, 3, 0.75) == pytest.approx(3 * 0.75 / 16 + 1 / 64)
    assert chance_of_errors(5000, 10000, 0.75) < 1e-300 < chance_of_errors(1, 10000, 0.75)


def test_an_ap_of_one_or_none_is_not_taken_for_certainty() -> None:
    assert chance_of_errors(1, 1, 1.0) == pytest.approx(0.1)
    assert chance_of_errors(1, 1, 0.0) == pytest.approx(0.4)


def test_the_contributor_is_told_in_words_without_figures() -> None:
    texts = [
        judge(row_of(2), row_of(2), [0.9], NAMES).for_contributor,
        judge(row_of(2), NOTHING, [0.9], NAMES).for_contributor,
        judge(NOTHING, row_of(2), [0.9], NAMES).for_contributor,
        judge(row_of(2), together(row_of(2), row_of(15, at=2)), [0.9], NAMES).for_contributor,
    ]

    assert all(text.startswith("Thank you.") and text.endswith(".") for text in texts)
    assert len(set(texts)) == 4
    assert not any(re.search(r"\d", text) for text in texts)
    assert "“scratch”" in texts[3]


def test_the_reviewer_is_told_the_figures() -> None:
    [reason] = judge(row_of(1), together(row_of(1), row_of(3, at=2)), [0.9], NAMES).reasons

    assert reason.for_reviewer == (
        "3 of 4 boxes of “scratch” were added; the chance that the model overlooks as many, with "
        "an AP of 0.90, is put at 0.0037."
    )


def test_a_class_without_a_name_is_called_by_its_number() -> None:
    [reason] = judge(row_of(2, class_id=7), NOTHING, [0.9], NAMES).reasons

    assert reason.for_reviewer.startswith("Much of class 7 was changed")
    assert "only its AP, unknown, keeps" in reason.for_reviewer


def test_a_judgement_is_json_with_all_its_parts() -> None:
    told = json.loads(json.dumps(judge(row_of(2), NOTHING, [0.9], NAMES).to_json()))

    assert told["verdict"] == "quarantine"
    assert told["suspicious"] is True
    assert told["classes"][0]["distance"] == 1.0
    assert told["counts"]["removed"] == len(told["changes"]) == 2
    assert told["reasons"][0]["cause"] == "score"
    assert told["reasons"][0]["text"].startswith("The score 0.959 is above 0.7")


SIDES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9)), max_size=12)
APS = st.none() | st.lists(st.none() | st.floats(0, 1), max_size=3)


@settings(deadline=None, max_examples=200)
@given(SIDES, SIDES, APS)
def test_the_second_signal_alone_never_makes_a_suspect(
    before: list[tuple[int, int, int]],
    after: list[tuple[int, int, int]],
    aps: list[float | None] | None,
) -> None:
    predicted, submitted = (
        ClassedBoxes(
            [[x, y, x + 4, y + 4] for _, x, y in side],
            [class_id for class_id, _, _ in side],
        )
        for side in (before, after)
    )

    judgement = judge(predicted, submitted, aps)

    assert judgement.suspicious == (Cause.SCORE.value in causes(judgement))
    assert judgement.suspicious == (judgement.scored.score > SUSPICIOUS and bool(before))
    assert (judgement.verdict is Verdict.QUARANTINE) == bool(judgement.reasons)
