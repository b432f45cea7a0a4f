"""What becomes of answers, sent and still to come, of those who are found to answer badly."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chalicelib.labels.submissions import Parts, Submissions
from chalicelib.trust.policy import Assessment, Rank
from chalicelib.trust.standing import TrustStanding

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Desk = Any
DISTRUSTED = Assessment(Rank.DISTRUSTED, distrust="wrong on 3 of 4 control tasks")


class Knows:
    """An assessor that says one thing of everybody."""

    def __init__(self, assessment: Assessment) -> None:
        self._assessment = assessment
        self.asked: list[tuple[Any, ...]] = []

    def assess(self, *given: Any, is_shared: bool = True) -> Assessment:
        self.asked.append(given)
        return self._assessment

    def known_in(self, rows: Any, users: Any) -> Any:
        ranks = dict.fromkeys(users, self._assessment.rank)
        return dict.fromkeys(users, TrustStanding()), ranks


def with_assessor(desk: Desk, knows: Knows) -> None:
    services = desk.services
    parts = Parts(
        services.predictions,
        services.known_models,
        services.store,
        services.ledger,
        services.dataset,
        knows,
    )
    services.submissions = Submissions(services.database, parts)


def test_who_is_distrusted_waits_without_being_told_why(desk: Desk) -> None:
    with_assessor(desk, Knows(DISTRUSTED))
    told = desk.submit(desk.predict())

    assert told.state == "quarantined"
    assert "control" not in told.message
    [waiting] = desk.services.ledger.to_review()
    assert waiting.detail["reasons"][-1]["text"] == "wrong on 3 of 4 control tasks"
    assert not waiting.suspicious


def accepted(desk: Desk, image: bytes | None = None, user: str = "ann") -> int:
    told = desk.submit(desk.predict(image), user=user)
    assert told.state == "accepted"
    return told.submission_id


def test_what_nobody_looked_at_waits_once_its_author_is_distrusted(
    desk: Desk, noise: Callable[[int], bytes]
) -> None:
    shared = noise(99)
    bobs = accepted(desk, shared, user="bob")
    of_both, seen, unseen = accepted(desk, shared), accepted(desk), accepted(desk)
    held = desk.services.ledger.get(seen)
    desk.services.submissions.review(seen, held.updated_at, "accepted", "olga", "good")

    with_assessor(desk, Knows(DISTRUSTED))
    last = desk.submit(desk.predict()).submission_id

    waiting = {each.request_id: each for each in desk.services.ledger.to_review()}
    assert waiting.keys() == {of_both, unseen, last}
    assert [r["cause"] for r in waiting[unseen].detail["reasons"]] == ["distrust"]
    in_force = "SELECT request_id FROM samples JOIN labels USING (label_id) ORDER BY 1"
    assert desk.sql(in_force) == [(bobs,), (seen,)]
    desk.agree()


def test_an_operator_decides_what_becomes_of_doubted_answers(desk: Desk) -> None:
    good, bad = accepted(desk), accepted(desk)
    with_assessor(desk, Knows(DISTRUSTED))
    desk.submit(desk.predict())
    submissions = desk.services.submissions

    places = submissions.places_of([good, bad])
    assert all(desk.services.store.has(places[each]) for each in (good, bad))
    for request, state in ((good, "accepted"), (bad, "rejected")):
        held = desk.services.ledger.get(request)
        submissions.review(request, held.updated_at, state, "olga", "looked")
    assert desk.sql("SELECT request_id FROM samples JOIN labels USING (label_id)") == [(good,)]
    desk.agree()


def test_a_ban_and_its_lifting_leave_doubted_answers_to_operators(desk: Desk) -> None:
    doubted = accepted(desk)
    with_assessor(desk, Knows(DISTRUSTED))
    last = desk.submit(desk.predict()).submission_id
    desk.services.ledger.ban("ann", "olga", "spam")
    desk.services.submissions.settle()
    desk.services.ledger.lift("ann", "olga", "a mistake")
    desk.services.submissions.settle()

    waiting = [each.request_id for each in desk.services.ledger.to_review()]
    assert waiting == [doubted, last]
    desk.agree()


def test_a_distrusted_user_may_send_from_several_devices_at_once(desk: Desk) -> None:
    for _ in range(5):
        accepted(desk)
    with_assessor(desk, Knows(DISTRUSTED))
    predictions = [desk.predict() for _ in range(6)]
    with ThreadPoolExecutor(6) as devices:
        states = {told.state for told in devices.map(desk.submit, predictions)}

    assert states == {"quarantined"}
    assert len(desk.services.ledger.to_review()) == 11
    desk.agree()


@pytest.mark.parametrize("answer", ["confirmed", "empty"])
def test_a_control_answer_looks_like_any_other_and_is_no_label(desk: Desk, answer: str) -> None:
    prediction = desk.predict()
    plain = desk.submit(desk.predict(), user="bob", answer=answer)
    with_assessor(desk, Knows(Assessment(is_control=True)))
    told = desk.submit(prediction, answer=answer)

    assert (told.state, told.message) == (plain.state, plain.message)
    assert desk.sql("SELECT count(*) FROM labels WHERE user_address = 'ann'") == [(0,)]
    assert [each.user_address for each in desk.services.ledger.to_review()] in ([], ["bob"])
    [held] = desk.services.ledger.of_user("ann")
    desk.services.submissions.review(held.request_id, held.updated_at, "accepted", "olga", "ok")
    assert desk.sql("SELECT count(*) FROM labels WHERE user_address = 'ann'") == [(0,)]
