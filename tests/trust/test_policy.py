"""The trust policy, row by row as docs/trust.md has it, and what holds whatever people send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.policy import (
    DOUBTFUL_CONTROL_RATE,
    LEAD,
    MOST_UNANSWERED,
    OFTEN_AUDITED,
    OFTEN_RATE,
    PROBATION_CONTROL_RATE,
    UNPROVEN_CONTROL_RATE,
    USUAL_AUDIT_RATE,
    USUAL_CONTROL_RATE,
    WORRYING_SUSPICIOUS,
    Assessment,
    Cause,
    PresentLabel,
    Rank,
    Voice,
    agreed_on,
    audit_rate,
    control_rate,
    decide,
    is_contested,
    rank_of,
)
from chalicelib.trust.standing import (
    FALLEN_AFTER,
    LEAST_AUDITS,
    LEAST_COMPARED,
    LEAST_CONTROLS,
    MOST_LOST,
    NEWEST_AUDITS,
    POOR_ACCURACY,
    POOR_AGREEMENT,
    PROVEN_ACCURACY,
    PROVEN_CONTROLS,
    Agreements,
    Audits,
    Controls,
    TrustStanding,
)
from chalicelib.trust.votes import Comparisons, Said, says_the_same, voices_of

FEW_LOST = int(LEAST_AUDITS * MOST_LOST)
NEW = TrustStanding()
PROVEN = TrustStanding(Controls(PROVEN_CONTROLS, PROVEN_ACCURACY))
ESTABLISHED = replace(PROVEN, audits=Audits(LEAST_AUDITS, FEW_LOST))
DISTRUSTED = TrustStanding(Controls(LEAST_CONTROLS, POOR_ACCURACY - 0.01))
CONTROLS_ONLY_TWO = TrustStanding(Controls(PROVEN_CONTROLS - 1, 1.0), audits=ESTABLISHED.audits)
CONTROLS_TOO_POOR = TrustStanding(Controls(5, PROVEN_ACCURACY - 0.01), audits=ESTABLISHED.audits)
AUDITS_TOO_FEW = replace(PROVEN, audits=Audits(LEAST_AUDITS - 1, 0))
AUDITS_TOO_POOR = replace(PROVEN, audits=Audits(LEAST_AUDITS, FEW_LOST + 1))
DISAGREES = TrustStanding(
    PROVEN.controls, Agreements(99, 0.9, LEAST_COMPARED, POOR_AGREEMENT - 0.01), ESTABLISHED.audits
)
DISAGREES_WITH_ANYBODY = TrustStanding(
    PROVEN.controls, Agreements(99, 0.0, LEAST_COMPARED - 1, 0.0), ESTABLISHED.audits
)

RANKS = [
    # kind, standing, unanswered, trusted by the settings, proof required, rank
    ("operator", NEW, 0, False, True, Rank.OPERATOR),
    ("operator", DISTRUSTED, 9, False, True, Rank.OPERATOR),
    ("member", NEW, 0, True, True, Rank.TRUSTED),
    ("address", NEW, 9, True, True, Rank.TRUSTED),
    ("member", DISTRUSTED, 0, True, True, Rank.DISTRUSTED),
    ("member", ESTABLISHED, 0, False, True, Rank.ESTABLISHED),
    ("member", ESTABLISHED, MOST_UNANSWERED - 1, False, True, Rank.ESTABLISHED),
    ("member", ESTABLISHED, MOST_UNANSWERED, False, True, Rank.PROBATION),
    ("member", NEW, 0, False, True, Rank.PROBATION),
    ("member", PROVEN, 0, False, True, Rank.PROBATION),
    ("member", CONTROLS_ONLY_TWO, 0, False, True, Rank.PROBATION),
    ("member", CONTROLS_TOO_POOR, 0, False, True, Rank.PROBATION),
    ("member", AUDITS_TOO_FEW, 0, False, True, Rank.PROBATION),
    ("member", AUDITS_TOO_POOR, 0, False, True, Rank.PROBATION),
    ("member", DISAGREES, 0, False, True, Rank.DISTRUSTED),
    ("member", DISAGREES_WITH_ANYBODY, 0, False, True, Rank.ESTABLISHED),
    ("address", ESTABLISHED, 0, False, True, Rank.PROBATION),
    ("address", DISTRUSTED, 0, False, True, Rank.DISTRUSTED),
    ("member", NEW, 9, False, False, Rank.KNOWN),
    ("address", NEW, 0, False, False, Rank.KNOWN),
    ("member", DISTRUSTED, 0, False, False, Rank.DISTRUSTED),
]


@pytest.mark.parametrize(("kind", "standing", "unanswered", "trusted", "proof", "rank"), RANKS)
def test_standing(
    kind: Any, standing: TrustStanding, unanswered: int, trusted: bool, proof: bool, rank: Rank
) -> None:
    assert rank_of(kind, standing, unanswered, is_trusted=trusted, proof=proof) is rank


MEMBER, ADDRESS = {"can_prove": True}, {"can_prove": False}
NOBODY_CAN = {"can_prove": False, "can_settle": False}
ANSWERS = [
    # rank, what else is known, suspicious, surprising, what it waits for, cause
    (Rank.OPERATOR, MEMBER, False, False, None, None),
    (Rank.OPERATOR, MEMBER, False, True, None, None),
    (Rank.OPERATOR, MEMBER, True, True, "operator", None),
    (Rank.TRUSTED, MEMBER, False, False, None, None),
    (Rank.TRUSTED, MEMBER, False, True, None, None),
    (Rank.TRUSTED, MEMBER, True, True, "operator", None),
    (Rank.ESTABLISHED, MEMBER, False, False, None, None),
    (Rank.ESTABLISHED, MEMBER, False, True, None, None),
    (Rank.ESTABLISHED, MEMBER, True, True, "opinions", None),
    (Rank.PROBATION, MEMBER, False, False, "proof", Cause.UNPROVEN),
    (Rank.PROBATION, MEMBER, False, True, "proof", Cause.UNPROVEN),
    (Rank.PROBATION, MEMBER, True, True, "opinions", None),
    (Rank.PROBATION, ADDRESS, False, False, "opinions", Cause.UNPROVEN),
    (Rank.PROBATION, NOBODY_CAN, False, False, "operator", Cause.UNPROVEN),
    (Rank.DISTRUSTED, MEMBER, False, False, "operator", Cause.DISTRUST),
    (Rank.DISTRUSTED, MEMBER, True, True, "operator", Cause.DISTRUST),
    (Rank.KNOWN, MEMBER, False, False, None, None),
    (Rank.KNOWN, MEMBER, False, True, "opinions", None),
    (Rank.KNOWN, MEMBER, True, True, "opinions", None),
]


@pytest.mark.parametrize(
    ("rank", "known", "suspicious", "surprising", "waits_for", "cause"), ANSWERS
)
def test_what_becomes_of_an_answer_about_an_image_without_a_label(
    rank: Rank,
    known: dict[str, bool],
    suspicious: bool,
    surprising: bool,
    waits_for: str | None,
    cause: Cause | None,
) -> None:
    who = Assessment(rank, **known)
    decision = decide(who, None, suspicious=suspicious, surprising=surprising)

    assert (decision.waits_for, decision.cause) == (waits_for, cause)
    assert decision.is_accepted is (waits_for is None)
    assert decision.makes_label


@pytest.mark.parametrize("rank", list(Rank))
@pytest.mark.parametrize("suspicious", [False, True])
def test_answers_to_tasks_are_taken_in_the_same_words(rank: Rank, suspicious: bool) -> None:
    who = Assessment(rank, was_asked=True)
    settled = PresentLabel(is_settled=True, is_own=False, author_rank=Rank.OPERATOR, agrees=False)
    decisions = {
        decide(who, label, suspicious=suspicious, surprising=False) for label in (None, settled)
    }

    if rank in (Rank.PROBATION, Rank.ESTABLISHED):
        [decision] = decisions
        assert (decision.waits_for, decision.cause) == ("opinions", Cause.OPINION)
    elif rank is Rank.DISTRUSTED:
        [decision] = decisions
        assert decision.waits_for == "operator"


OF_OPERATOR = PresentLabel(is_settled=True, is_own=False, author_rank=Rank.OPERATOR, agrees=False)
OWN_SETTLED = replace(OF_OPERATOR, is_own=True)
CONFIRMED = replace(OF_OPERATOR, agrees=True)


def label_by(author: Rank, *, is_own: bool = False, agrees: bool = False) -> PresentLabel:
    """Return a label that nobody settled."""
    return PresentLabel(is_settled=False, is_own=is_own, author_rank=author, agrees=agrees)


LABELS = [
    # rank, the image's label, what the answer waits for, cause, whether it makes a label
    (Rank.TRUSTED, CONFIRMED, None, None, False),
    (Rank.PROBATION, CONFIRMED, None, None, False),
    (Rank.TRUSTED, OF_OPERATOR, "operator", Cause.SETTLED, True),
    (Rank.ESTABLISHED, OF_OPERATOR, "operator", Cause.SETTLED, True),
    (Rank.ESTABLISHED, OWN_SETTLED, "operator", Cause.SETTLED, True),
    (Rank.PROBATION, OF_OPERATOR, "operator", Cause.SETTLED, True),
    (Rank.KNOWN, OF_OPERATOR, "operator", Cause.SETTLED, True),
    (Rank.OPERATOR, OF_OPERATOR, None, None, True),
    (Rank.OPERATOR, label_by(Rank.TRUSTED), None, None, True),
    (Rank.TRUSTED, label_by(Rank.ESTABLISHED), None, None, True),
    (Rank.TRUSTED, label_by(Rank.TRUSTED), "opinions", Cause.CONTESTED, True),
    (Rank.ESTABLISHED, label_by(Rank.PROBATION), None, None, True),
    (Rank.ESTABLISHED, label_by(Rank.ESTABLISHED), "opinions", Cause.CONTESTED, True),
    (Rank.ESTABLISHED, label_by(Rank.TRUSTED), "opinions", Cause.CONTESTED, True),
    (Rank.ESTABLISHED, label_by(Rank.ESTABLISHED, agrees=True), None, None, True),
    (Rank.ESTABLISHED, label_by(Rank.ESTABLISHED, is_own=True), None, None, True),
    (Rank.PROBATION, label_by(Rank.DISTRUSTED), "proof", Cause.UNPROVEN, True),
    (Rank.PROBATION, label_by(Rank.TRUSTED), "opinions", Cause.CONTESTED, True),
    (Rank.PROBATION, label_by(Rank.TRUSTED, agrees=True), "proof", Cause.UNPROVEN, True),
]


@pytest.mark.parametrize(("rank", "label", "waits_for", "cause", "makes_label"), LABELS)
def test_what_becomes_of_an_answer_about_a_labelled_image(
    rank: Rank,
    label: PresentLabel,
    waits_for: str | None,
    cause: Cause | None,
    makes_label: bool,
) -> None:
    decision = decide(Assessment(rank), label, suspicious=False, surprising=False)

    assert (decision.waits_for, decision.cause) == (waits_for, cause)
    assert decision.makes_label is makes_label


@pytest.mark.parametrize(
    ("unconfirmed", "rate"),
    [
        (0, OFTEN_RATE),
        (OFTEN_AUDITED - 1, OFTEN_RATE),
        (OFTEN_AUDITED, USUAL_AUDIT_RATE),
        (10 * OFTEN_AUDITED, USUAL_AUDIT_RATE),
    ],
)
def test_how_often_established_people_are_audited(unconfirmed: int, rate: float) -> None:
    assert audit_rate(unconfirmed) == rate


@pytest.mark.parametrize(
    ("audits", "has_fallen"),
    [
        (Audits(), False),
        (Audits(FALLEN_AFTER - 1, FALLEN_AFTER - 1), False),
        (Audits(FALLEN_AFTER, int(FALLEN_AFTER * MOST_LOST)), False),
        (Audits(FALLEN_AFTER, int(FALLEN_AFTER * MOST_LOST) + 1), True),
        (Audits(NEWEST_AUDITS, int(NEWEST_AUDITS * MOST_LOST)), False),
        (Audits(NEWEST_AUDITS, int(NEWEST_AUDITS * MOST_LOST) + 1), True),
    ],
)
def test_when_what_nobody_confirmed_waits_again(audits: Audits, has_fallen: bool) -> None:
    assert TrustStanding(audits=audits).has_fallen is has_fallen


@pytest.mark.parametrize(
    ("rank", "suspicious", "standing", "rate"),
    [
        (Rank.DISTRUSTED, 0, DISTRUSTED, DOUBTFUL_CONTROL_RATE),
        (Rank.PROBATION, 0, CONTROLS_TOO_POOR, DOUBTFUL_CONTROL_RATE),
        (Rank.ESTABLISHED, WORRYING_SUSPICIOUS, ESTABLISHED, DOUBTFUL_CONTROL_RATE),
        (Rank.PROBATION, 0, NEW, UNPROVEN_CONTROL_RATE),
        (Rank.PROBATION, 0, CONTROLS_ONLY_TWO, UNPROVEN_CONTROL_RATE),
        (Rank.PROBATION, 0, PROVEN, PROBATION_CONTROL_RATE),
        (Rank.ESTABLISHED, WORRYING_SUSPICIOUS - 1, ESTABLISHED, USUAL_CONTROL_RATE),
    ],
)
def test_how_often_a_task_is_a_control(
    rank: Rank, suspicious: int, standing: TrustStanding, rate: float
) -> None:
    assert control_rate(rank, suspicious, standing) == rate


# ---- agreement

Same = Callable[[int, int], bool]
RIGHT = ClassedBoxes([[0, 0, 10, 10]], [0])
WRONG = ClassedBoxes([[50, 50, 60, 60]], [0])


def asked(request_id: int) -> Voice:
    return Voice(request_id, votes=True, vouches=True)


def uninvited(request_id: int) -> Voice:
    return Voice(request_id, vouches=True)


def unheard(request_id: int) -> Voice:
    return Voice(request_id)


AGREEMENTS = [
    # voices, which of them say one thing, the winner
    ([unheard(1), asked(2), asked(3)], {1, 2, 3}, 1),
    ([unheard(1), asked(2), asked(3)], {2, 3}, 2),
    ([unheard(1), asked(2)], {1, 2}, None),
    ([uninvited(1), asked(2)], {1, 2}, 1),
    ([uninvited(1), uninvited(2), uninvited(3)], {1, 2, 3}, None),
    ([uninvited(1), asked(2), asked(3)], {2, 3}, 2),
    ([asked(1), asked(2), asked(3)], {1, 2}, None),
    ([asked(1), asked(2), asked(3), asked(4)], {1, 2, 3}, 1),
    ([uninvited(1), asked(2), asked(3), asked(4)], {1, 2, 3}, 1),
    ([unheard(1), unheard(2), unheard(3)], {1, 2, 3}, None),
    ([], set(), None),
]


@pytest.mark.parametrize(("voices", "one_side", "winner"), AGREEMENTS)
def test_an_answer_that_leads_by_two_votes_is_agreed_on(
    voices: list[Voice], one_side: set[int], winner: int | None
) -> None:
    agreed = agreed_on(voices, lambda one, other: (one in one_side) == (other in one_side))

    assert (agreed and agreed.winner) == winner
    if agreed:
        assert agreed.supporters | agreed.losers == {voice.request_id for voice in voices}
        assert agreed.winner in agreed.supporters
        assert not agreed.supporters & agreed.losers


def said(request_id: int, user: str, **other: Any) -> Said:
    facts: dict[str, Any] = {
        "state": "quarantined",
        "is_reviewed": False,
        "reviewed_by": None,
        "waits_for": "opinions",
        "suspicious": False,
        "boxes": RIGHT,
        "was_asked": True,
    }
    return Said(request_id, user, **{**facts, **other})


@pytest.mark.parametrize(
    ("user", "rank", "standing", "facts", "voice"),
    [
        ("user:ann", Rank.PROBATION, PROVEN, {}, Voice(1, votes=True, vouches=True)),
        ("user:ann", Rank.ESTABLISHED, ESTABLISHED, {}, Voice(1, votes=True, vouches=True)),
        ("user:ann", Rank.KNOWN, NEW, {}, Voice(1, votes=True, vouches=True)),
        ("user:ann", Rank.PROBATION, PROVEN, {"was_asked": False}, Voice(1, vouches=True)),
        ("user:ann", Rank.PROBATION, PROVEN, {"suspicious": True}, Voice(1, votes=True)),
        ("user:ann", Rank.PROBATION, NEW, {}, Voice(1)),
        ("user:ann", Rank.DISTRUSTED, PROVEN, {}, Voice(1)),
        ("user:ann", Rank.PROBATION, AUDITS_TOO_POOR, {}, Voice(1)),
        ("user:ann", Rank.PROBATION, replace(PROVEN, audits=Audits(1, 1)), {}, Voice(1)),
        ("203.0.113.7", Rank.TRUSTED, ESTABLISHED, {}, Voice(1)),
        ("operator:olga", Rank.OPERATOR, NEW, {}, Voice(1)),
    ],
)
def test_whose_voice_counts(
    user: str, rank: Rank, standing: TrustStanding, facts: dict[str, Any], voice: Voice
) -> None:
    assert voices_of([said(1, user, **facts)], {user: rank}, {user: standing}) == [voice]


def test_an_operators_rejection_silences_an_answer_and_people_do_not() -> None:
    by_operator = said(1, "user:ann", state="rejected", is_reviewed=True, reviewed_by="olga")
    by_people = said(2, "user:bob", state="rejected", is_reviewed=True, reviewed_by="sightloop")
    users = ("user:ann", "user:bob")
    voices = voices_of(
        [by_operator, by_people], dict.fromkeys(users, Rank.KNOWN), dict.fromkeys(users, PROVEN)
    )

    assert [voice.request_id for voice in voices] == [2]


# ---- what holds whatever people send

POSSIBLE_RANKS = st.sampled_from(list(Rank))
POSSIBLE_CONTROLS = st.builds(
    Controls, st.integers(0, 12), st.one_of(st.none(), st.floats(0, 1, width=16))
)
POSSIBLE_AUDITS = st.integers(0, NEWEST_AUDITS).flatmap(
    lambda decided: st.builds(Audits, st.just(decided), st.integers(0, decided))
)
POSSIBLE_AGREEMENTS = st.builds(
    Agreements,
    st.integers(0, 30),
    st.one_of(st.none(), st.floats(0, 1, width=16)),
    st.integers(0, 30),
    st.one_of(st.none(), st.floats(0, 1, width=16)),
)
POSSIBLE_STANDINGS = st.builds(
    TrustStanding, POSSIBLE_CONTROLS, POSSIBLE_AGREEMENTS, POSSIBLE_AUDITS
)
POSSIBLE_LABELS = st.builds(
    PresentLabel, st.booleans(), st.booleans(), POSSIBLE_RANKS, st.booleans()
)
POSSIBLE_PEOPLE = st.builds(
    Assessment,
    POSSIBLE_RANKS,
    st.just(False),
    st.booleans(),
    st.none(),
    st.booleans(),
    st.booleans(),
)


@st.composite
def voices(draw: st.DrawFn) -> list[Voice]:
    """Return up to nine people's voices on one image."""
    kinds = draw(st.lists(st.sampled_from([asked, uninvited, unheard]), max_size=9))
    return [kind(number) for number, kind in enumerate(kinds, 1)]


def in_groups(groups: Sequence[int]) -> Same:
    """Return a relation of requests: those of one group say the same."""
    return lambda one, other: groups[one % len(groups)] == groups[other % len(groups)]


def as_drawn(pairs: set[tuple[int, int]]) -> Same:
    """Return any symmetric relation; that of boxes is not transitive."""
    return lambda one, other: one == other or (min(one, other), max(one, other)) in pairs


GROUPS = st.lists(st.integers(0, 2), min_size=16, max_size=16).map(in_groups)
PAIRS = st.tuples(st.integers(1, 10), st.integers(1, 10)).filter(lambda pair: pair[0] < pair[1])
RELATIONS = st.one_of(GROUPS, st.sets(PAIRS).map(as_drawn))


# The answer 2 leads; with the vote 5 for both, the older answer 1 would lead by two as well.
BETWEEN_TWO = [uninvited(1), unheard(2), asked(3), asked(4)]
SUPPORT_OF_TWO = as_drawn({(1, 3), (1, 5), (2, 3), (2, 4), (2, 5)})


@given(voices(), RELATIONS)
@example(BETWEEN_TWO, SUPPORT_OF_TWO)
def test_a_further_vote_never_rejects_the_answer_that_it_agrees_with(
    people: list[Voice], same: Same
) -> None:
    before = agreed_on(people, same)
    further = asked(len(people) + 1)
    if before is None or not same(before.winner, further.request_id):
        return
    after = agreed_on([*people, further], same)

    assert after is not None
    assert before.winner in after.supporters
    assert further.request_id in after.supporters


@given(voices(), GROUPS)
def test_where_saying_the_same_is_transitive_a_vote_rejects_nothing_that_it_agrees_with(
    people: list[Voice], same: Same
) -> None:
    before = agreed_on(people, same)
    further = asked(len(people) + 1)
    after = agreed_on([*people, further], same)
    if before is None:
        return
    accepted = {one for one in before.supporters if same(one, further.request_id)}

    if accepted:
        assert after is not None
        assert accepted <= after.supporters
    elif after is not None:  # one vote against it settles nothing else
        assert after.winner in before.supporters


@given(voices(), RELATIONS)
def test_whatever_is_agreed_on_has_two_voices_that_count_more_than_there_are_against_it(
    people: list[Voice], same: Same
) -> None:
    agreed = agreed_on(people, same)
    if agreed is None:
        return
    heard = {one.request_id for one in people if one.votes}
    heard |= {one.request_id for one in people if one.vouches and one.request_id == agreed.winner}
    votes_against = {one.request_id for one in people if one.votes} & agreed.losers

    assert len(heard & agreed.supporters) - len(votes_against) >= LEAD
    assert len(heard & agreed.supporters) >= LEAD


@given(voices(), GROUPS, st.lists(st.booleans(), max_size=9))
def test_who_is_not_heard_changes_nothing_that_is_agreed_on(
    people: list[Voice], same: Same, keeps: list[bool]
) -> None:
    heard = [one for one in people if one.votes or one.vouches]
    with_others, alone = agreed_on(people, same), agreed_on(heard, same)

    assert (with_others is None) == (alone is None)
    if with_others and alone:
        assert same(with_others.winner, alone.winner)


@given(st.lists(st.builds(said, st.integers(1, 9), st.just("user:ann")), max_size=9))
def test_nobody_settles_an_image_alone_however_often_they_answer(answers: list[Said]) -> None:
    people = voices_of(answers, {"user:ann": Rank.ESTABLISHED}, {"user:ann": ESTABLISHED})

    assert len(people) <= 1
    assert agreed_on(people, lambda *_: True) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["203.0.113.7", "2001:db8::/64", "user:ann", "user:bob", "user:eve"]),
            POSSIBLE_RANKS,
            POSSIBLE_STANDINGS,
            st.booleans(),
            st.booleans(),
        ),
        unique_by=lambda person: person[0],
    )
)
def test_addresses_and_people_who_are_not_trusted_are_never_heard(
    people: list[tuple[str, Rank, TrustStanding, bool, bool]],
) -> None:
    answers = [
        said(number, user, was_asked=was_asked, suspicious=suspicious)
        for number, (user, _, _, was_asked, suspicious) in enumerate(people, 1)
    ]
    ranks = {user: rank for user, rank, *_ in people}
    standings = {user: standing for user, _, standing, *_ in people}
    heard = voices_of(answers, ranks, standings)

    for voice, (user, rank, standing, *_) in zip(heard, people, strict=True):
        if voice.votes or voice.vouches:
            assert user.startswith("user:")
            assert rank > Rank.DISTRUSTED
            assert rank >= Rank.KNOWN or standing.is_proven
            assert not standing.audits.are_poor
    if all(not user.startswith("user:") for user, *_ in people):
        assert agreed_on(heard, lambda *_: True) is None


@given(POSSIBLE_PEOPLE, POSSIBLE_LABELS, st.booleans(), st.booleans())
def test_nobody_but_an_operator_overwrites_what_is_settled(
    who: Assessment, label: PresentLabel, suspicious: bool, surprising: bool
) -> None:
    decision = decide(who, label, suspicious=suspicious, surprising=surprising)

    if label.is_settled and who.rank < Rank.OPERATOR:
        assert not (decision.is_accepted and decision.makes_label)


@given(POSSIBLE_PEOPLE, POSSIBLE_LABELS, st.booleans(), st.booleans())
def test_nobody_overwrites_the_label_of_an_equal_who_says_otherwise(
    who: Assessment, label: PresentLabel, suspicious: bool, surprising: bool
) -> None:
    decision = decide(who, label, suspicious=suspicious, surprising=surprising)
    is_closed_team = who.rank is Rank.KNOWN  # whose members may correct each other

    if not (label.is_own or label.agrees or is_closed_team) and who.rank <= label.author_rank:
        assert not (decision.is_accepted and decision.makes_label) or who.rank is Rank.OPERATOR


@given(POSSIBLE_PEOPLE, st.one_of(st.none(), POSSIBLE_LABELS), st.booleans(), st.booleans())
def test_only_who_is_established_or_more_makes_a_label_at_once(
    who: Assessment, label: PresentLabel | None, suspicious: bool, surprising: bool
) -> None:
    decision = decide(who, label, suspicious=suspicious, surprising=surprising)

    if decision.is_accepted and decision.makes_label:
        assert who.rank >= Rank.ESTABLISHED
        assert not suspicious
    assert decision.waits_for is None or decision.cause or suspicious or surprising


@given(
    st.sampled_from(["operator", "member", "address"]),
    POSSIBLE_STANDINGS,
    st.integers(0, 9),
    st.booleans(),
)
def test_nobody_is_established_but_members_who_are_proven_and_audited(
    kind: Any, standing: TrustStanding, unanswered: int, proof: bool
) -> None:
    rank = rank_of(kind, standing, unanswered, is_trusted=False, proof=proof)

    if rank is Rank.ESTABLISHED:
        assert kind == "member"
        assert standing.is_proven
        assert standing.audits.decided >= LEAST_AUDITS
        assert standing.audits.lost <= standing.audits.decided * MOST_LOST
        assert not standing.has_fallen
    if standing.distrust:
        assert rank in (Rank.DISTRUSTED, Rank.OPERATOR)


@given(voices(), RELATIONS)
def test_what_everybody_supports_is_not_contested(people: list[Voice], same: Same) -> None:
    for voice in people:
        against = [
            one for one in people if one.votes and not same(voice.request_id, one.request_id)
        ]
        assert is_contested(voice.request_id, people, same) is bool(against)


def test_answers_are_compared_with_votes_alone_and_only_where_these_can_lead() -> None:
    compared = []

    def same(one: int, other: int) -> bool:
        compared.append((one, other))
        return True

    crowd = [Voice(number) for number in range(200)]
    assert agreed_on(crowd, same) is None
    assert agreed_on([*crowd, Voice(200, votes=True)], same) is None
    assert compared == []

    agreed = agreed_on([*crowd, Voice(200, votes=True), Voice(201, votes=True)], same)
    assert agreed
    assert (agreed.winner, len(agreed.supporters)) == (0, 202)
    assert len(compared) <= 3 * 202


def test_an_answer_is_not_compared_further_once_it_cannot_lead() -> None:
    compared = []

    def same(one: int, other: int) -> bool:
        compared.append((one, other))
        return one >= 200 and other >= 200

    crowd = [unheard(number) for number in range(200)]
    agreed = agreed_on([*crowd, asked(200), asked(201)], same)
    assert agreed
    assert (agreed.winner, agreed.supporters) == (200, {200, 201})
    assert len(compared) == 200 + 2 * 2 + 202  # one vote each, two those that vote; who supports

    compared.clear()
    assert agreed_on([*crowd, uninvited(200), asked(201)], same)
    assert [pair for pair in compared[:-202] if pair[0] < 200] == []


def test_equal_answers_are_compared_once_with_each_vote() -> None:
    compared = []

    def same(one: ClassedBoxes, other: ClassedBoxes) -> bool:
        compared.append((one, other))
        return says_the_same(one, other)

    comparisons = Comparisons(same)
    crowd = [ClassedBoxes(RIGHT.xyxy, RIGHT.class_id) for _ in range(50)]

    assert all(comparisons.same(each, RIGHT) for each in crowd)
    assert not any(comparisons.same(each, WRONG) for each in crowd)
    assert len(compared) == 2


NONE = ClassedBoxes.none()
FOUR_OF_FIVE = ClassedBoxes([[n, 0, n + 9, 9] for n in range(0, 50, 10)], [0, 0, 0, 0, 1])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (NONE, NONE, True),
        (RIGHT, NONE, False),
        (RIGHT, WRONG, False),
        (RIGHT, ClassedBoxes(RIGHT.xyxy, [1]), False),
        (FOUR_OF_FIVE, ClassedBoxes(FOUR_OF_FIVE.xyxy[:4], [0] * 4), True),
        (FOUR_OF_FIVE, ClassedBoxes(FOUR_OF_FIVE.xyxy, [0, 0, 0, 0, 2]), False),  # 4 of 6
        (FOUR_OF_FIVE, ClassedBoxes(FOUR_OF_FIVE.xyxy[:3], [0] * 3), False),
    ],
)
def test_two_answers_are_one_from_four_boxes_of_five_in_common(
    one: ClassedBoxes, other: ClassedBoxes, same: bool
) -> None:
    assert says_the_same(one, other) is says_the_same(other, one) is same
