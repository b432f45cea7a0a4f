"""Settling images while others answer, decide or die: each image once, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest

from chalicelib.trust import votes
from chalicelib.trust.records import BY_AGREEMENT
from chalicelib.trust.standing import FALLEN_AFTER, LEAST_AUDITS
from tests.submissions.test_proof import IN_FORCE, RIGHT, WRONG, hand_out, opine, prove, states

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

Desk = Any
Noise = Callable[[int], bytes]
ROUNDS = 12
STEPS = 200  # more statements than anything here takes
AGREED = ("accepted", None, BY_AGREEMENT)
OUTVOTED = ("rejected", None, BY_AGREEMENT)
IMAGES = """
SELECT s.sha256, count(l) FILTER (WHERE l.withdrawn_at IS NULL), min(u.user_address)
FROM samples s LEFT JOIN labels l USING (sample_id) LEFT JOIN labels u ON u.label_id = s.label_id
GROUP BY s.sha256
"""
DECIDED_TWICE = """
SELECT request_id, count(*) FROM decisions WHERE request_id IS NOT NULL
GROUP BY request_id HAVING count(*) > 1
"""
DECIDED_ANSWERS = """
INSERT INTO requests (prediction_id, user_address, model, model_version, score, predicted_boxes,
                      submitted_boxes, state, detail, reviewed_at, reviewed_by)
SELECT gen_random_uuid(), %s, 'scratch', 1, 0, 1, 1, %s, '{"control": false}', clock_timestamp(),
       'sightloop' FROM generate_series(1, %s)
"""


class Killed(BaseException):
    """A process that is killed: nothing catches it."""


class Mortal:
    """A cursor whose process dies before one of its statements."""

    def __init__(self, rows: Any, statement: Callable[[], None]) -> None:
        self._rows = rows
        self._statement = statement

    def execute(self, *arguments: Any) -> None:
        self._statement()
        self._rows.execute(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)


@contextmanager
def killed_before(desk: Desk, statement: int) -> Iterator[None]:
    """Kill whoever works in the block before the so-manieth statement, if there are as many."""
    database, left = desk.services.database, [statement]
    transaction = database.transaction

    def count() -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed

    @contextmanager
    def mortal() -> Iterator[Any]:
        with transaction() as rows:
            yield Mortal(rows, count)

    database.transaction = mortal
    try:
        yield
    finally:
        del database.transaction


def survives(desk: Desk, statement: int, work: Callable[[], Any]) -> bool:
    """Return whether work was done before its process died at a statement."""
    try:
        with killed_before(desk, statement):
            work()
    except Killed:
        return False
    return True


@contextmanager
def nobody_follows(desk: Desk) -> Iterator[None]:
    """Have answers recorded and nothing done that follows from them."""
    submissions = desk.services.submissions
    parts = submissions._parts
    submissions._parts = replace(parts, settling=None)
    try:
        yield
    finally:
        submissions._parts = parts


def settling(desk: Desk) -> Any:
    return desk.services.submissions._parts.settling


def decision_of(desk: Desk, submission_id: int, state: str) -> Callable[[], Any]:
    """Return an operator's decision about a submission as it is now, to be taken later."""
    seen = desk.services.ledger.get(submission_id)
    given = seen.request_id, seen.updated_at, state, "olga", "I looked"
    return lambda: desk.services.submissions.review(*given)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make calls at the same instant; return what they return."""
    barrier = Barrier(len(calls))

    def call(one: Callable[[], Any]) -> Any:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def check_images(desk: Desk, labels: int = 1) -> None:
    """Assert that every image has so many labels in force, and no answer was decided twice."""
    assert {count for _, count, _ in desk.sql(IMAGES)} == {labels}
    assert desk.sql(DECIDED_TWICE) == []
    desk.agree_files()


@pytest.mark.parametrize("sent", [RIGHT, WRONG], ids=["sender is right", "sender is wrong"])
def test_two_who_vote_at_the_same_instant_settle_an_image_once(
    strict: Desk, noise: Noise, sent: list[Any]
) -> None:
    prove(strict, noise, "user:bob", "user:eve")
    for number in range(ROUNDS):
        image = noise(number)
        strict.submit(strict.predict(image), "user:ann", "corrected", sent)
        tasks = {user: hand_out(strict, user, image) for user in ("user:bob", "user:eve")}

        at_once(
            *(
                lambda user=user, task=task: strict.submit(task, user, "corrected", RIGHT)
                for user, task in tasks.items()
            )
        )

        for user in tasks:
            assert states(strict, user) == [AGREED] * (number + 1)
        check_images(strict)
    assert states(strict, "user:ann") == [AGREED if sent is RIGHT else OUTVOTED] * ROUNDS
    assert len(strict.sql(IN_FORCE)) == ROUNDS


def test_two_who_answer_two_images_crosswise_at_the_same_instant_do_not_deadlock(
    strict: Desk, noise: Noise
) -> None:
    prove(strict, noise, "user:bob", "user:eve", "user:joe")
    for number in range(ROUNDS):
        images = [noise(2 * number), noise(2 * number + 1)]
        for image in images:
            strict.submit(strict.predict(image), "user:ann", "corrected", RIGHT)
            opine(strict, "user:joe", image)
        first, second = (
            hand_out(strict, "user:bob", images[0]),
            hand_out(strict, "user:eve", images[1]),
        )

        at_once(
            lambda first=first: strict.submit(first, "user:bob", "corrected", RIGHT),
            lambda second=second: strict.submit(second, "user:eve", "corrected", RIGHT),
        )

    assert states(strict, "user:ann") == [AGREED] * 2 * ROUNDS
    check_images(strict)


def test_an_operators_acceptance_is_not_overwritten_by_people_who_agree_meanwhile(
    strict: Desk, noise: Noise
) -> None:
    prove(strict, noise, "user:bob", "user:eve")
    for number in range(ROUNDS):
        image = noise(number)
        strict.submit(strict.predict(image), "user:ann", "corrected", WRONG)
        other = strict.submit(strict.predict(image), "user:dan", "corrected", RIGHT)
        opine(strict, "user:bob", image, WRONG)
        task = hand_out(strict, "user:eve", image)
        decide = decision_of(strict, other.submission_id, "accepted")

        at_once(
            lambda task=task: strict.submit(task, "user:eve", "corrected", WRONG),
            decide,
        )

        settling(strict).reconcile(100)
        assert states(strict, "user:dan")[-1][::2] == ("accepted", "olga")
        assert strict.sql(IN_FORCE) == [("user:dan",)] * (number + 1)
        assert not [state for state, *_ in states(strict, "user:eve") if state == "quarantined"]
        # of standing by what they lost: else they have no vote in the next round
        strict.sql("DELETE FROM requests WHERE user_address IN ('user:bob', 'user:eve')")
    strict.agree_files()


@pytest.mark.parametrize("decision", ["accepted", "rejected"])
def test_an_operator_who_decides_after_the_label_was_made_is_not_overwritten(
    strict: Desk, noise: Noise, decision: str
) -> None:
    prove(strict, noise, "user:bob", "user:eve")
    image = noise(1)
    sent = strict.submit(strict.predict(image), "user:ann", "corrected", WRONG)
    other = strict.submit(strict.predict(image), "user:dan", "corrected", RIGHT)
    decided = sent if decision == "rejected" else other
    decide = decision_of(strict, decided.submission_id, decision)
    opine(strict, "user:bob", image, WRONG)
    relabelling = settling(strict)._relabelling
    label_again = relabelling.label_again

    def decide_after(recorded: Any) -> Any:
        label = label_again(recorded)
        if recorded.request_id == sent.submission_id:
            decide()
        return label

    relabelling.label_again = decide_after
    opine(strict, "user:eve", image, WRONG)

    found = strict.services.ledger.get(decided.submission_id)
    assert (found.state, found.reviewed_by) == (decision, "olga")
    assert strict.sql(IN_FORCE) == [("user:dan" if decision == "accepted" else "user:bob",)]
    check_images(strict)


def test_an_answer_that_is_sent_anew_while_people_agree_on_it_becomes_the_label(
    strict: Desk, noise: Noise
) -> None:
    prove(strict, noise, "user:bob", "user:eve")
    image = noise(1)
    prediction = strict.predict(image)
    strict.submit(prediction, "user:ann", "corrected", RIGHT)
    opine(strict, "user:bob", image)
    relabelling = settling(strict)._relabelling
    label_again = relabelling.label_again
    shifted = [replace(RIGHT[0], x1=RIGHT[0].x1 + 1), RIGHT[1]]

    def change_after(recorded: Any) -> Any:
        label = label_again(recorded)
        relabelling.label_again = label_again
        with nobody_follows(strict):
            strict.submit(prediction, "user:ann", "corrected", shifted)
        return label

    relabelling.label_again = change_after
    opine(strict, "user:eve", image)

    assert states(strict, "user:ann") == [AGREED]
    [(yolo,)] = strict.sql("SELECT yolo FROM samples JOIN labels USING (label_id)")
    width = (shifted[0].x2 - shifted[0].x1) / 64
    assert float(yolo.split()[3]) == pytest.approx(width, abs=1e-6)
    check_images(strict)


def test_an_operators_rejection_is_not_overwritten_by_people_who_agree_meanwhile(
    strict: Desk, noise: Noise
) -> None:
    prove(strict, noise, "user:bob", "user:eve")
    for number in range(ROUNDS):
        image = noise(number)
        sent = strict.submit(strict.predict(image), "user:ann", "corrected", RIGHT)
        opine(strict, "user:bob", image)
        task = hand_out(strict, "user:eve", image)
        decide = decision_of(strict, sent.submission_id, "rejected")

        at_once(
            lambda task=task: strict.submit(task, "user:eve", "corrected", RIGHT),
            decide,
        )

        settling(strict).reconcile(100)
        assert states(strict, "user:ann")[-1][::2] == ("rejected", "olga")
        assert ("user:ann",) not in strict.sql(IN_FORCE)
    strict.agree_files()


def test_an_answer_whose_process_dies_before_it_is_followed_is_settled_by_the_next_run(
    strict: Desk, noise: Noise
) -> None:
    prove(strict, noise, "user:bob", "user:eve")
    image = noise(1)
    with nobody_follows(strict):
        strict.submit(strict.predict(image), "user:ann", "corrected", RIGHT)
        opine(strict, "user:bob", image)
        opine(strict, "user:eve", image)
    strict.sql("UPDATE tasks SET answered_at = now() - interval '3 days'")

    strict.services.submissions.reconcile(100)

    for user in ("user:ann", "user:bob", "user:eve"):
        assert states(strict, user) == [AGREED]
    assert settling(strict).reconcile(100) == 0
    check_images(strict)


def test_images_that_stay_undecided_keep_no_other_from_being_looked_at(
    strict: Desk, noise: Noise
) -> None:
    prove(strict, noise, "user:bob")
    for number in range(8):  # with one vote each they stay undecided
        image = noise(number)
        strict.submit(strict.predict(image), "user:ann", "corrected", WRONG)
        opine(strict, "user:bob", image)
    looked_at: set[tuple[str, str]] = set()
    for _ in range(200):  # a few at a time: the chance to miss one of eight is below 1e-11
        with strict.services.database.transaction() as rows:
            looked_at |= {*votes.undecided(rows, 1)}
            looked_at_of_one = votes.undecided_of(rows, "user:bob", 3)
        assert len(looked_at_of_one) == 3

    assert len(looked_at) == 8


def test_at_whichever_step_somebody_dies_who_settles_an_image_the_next_run_finishes(
    strict: Desk, noise: Noise
) -> None:
    prove(strict, noise, "user:ann", "user:bob", "user:eve")
    for step in range(1, STEPS):
        image = noise(step)
        with nobody_follows(strict):
            strict.submit(strict.predict(image), "user:ann", "corrected", RIGHT)
            strict.submit(strict.predict(image), "user:dan", "corrected", WRONG)
            opine(strict, "user:bob", image)
            told = opine(strict, "user:eve", image)
        sha256 = strict.services.ledger.get(told.submission_id).detail["image"]["sha256"]

        survived = survives(
            strict,
            step,
            lambda sha256=sha256: settling(strict).follow("scratch", sha256, "user:eve"),
        )
        strict.services.submissions.reconcile(100)

        for user in ("user:ann", "user:bob", "user:eve"):
            assert states(strict, user)[-1] == AGREED, step
        assert states(strict, "user:dan")[-1] == OUTVOTED, step
        check_images(strict)
        assert strict.sql(IN_FORCE) == [("user:ann",)] * step
        strict.sql("DELETE FROM requests WHERE user_address = 'user:dan'")
        if survived:
            break
    assert survived
    assert step > 10


def test_at_whichever_step_somebody_dies_who_answers_the_same_answer_again_finishes(
    strict: Desk, noise: Noise
) -> None:
    prove(strict, noise, "user:bob", "user:eve")
    for step in range(1, STEPS, 3):  # every third: a submission takes many more than settling
        image = noise(step)
        strict.submit(strict.predict(image), "user:ann", "corrected", RIGHT)
        opine(strict, "user:bob", image)
        task = hand_out(strict, "user:eve", image)

        survived = survives(
            strict, step, lambda task=task: strict.submit(task, "user:eve", "corrected", RIGHT)
        )
        strict.submit(task, "user:eve", "corrected", RIGHT)

        for user in ("user:ann", "user:bob", "user:eve"):
            assert states(strict, user)[-1] == AGREED, step
        strict.services.submissions.reconcile(100)
        check_images(strict)
        if survived:
            break
    assert survived


def test_at_whichever_step_somebody_dies_who_releases_answers_the_next_run_finishes(
    strict: Desk, noise: Noise
) -> None:
    strict.submit(strict.predict(noise(9_000)), "operator:olga")
    prove(strict, noise, "user:ann")
    for step in range(1, STEPS, 2):
        strict.sql("DELETE FROM requests WHERE user_address = 'user:ann'")
        images = [noise(step), noise(step + 1)]
        for image in images:
            assert strict.submit(strict.predict(image), "user:ann").waits_for == "proof"
        strict.sql(DECIDED_ANSWERS, "user:ann", "accepted", LEAST_AUDITS)

        survived = survives(strict, step, lambda: settling(strict).follow_standing("user:ann"))
        strict.services.submissions.reconcile(100)

        assert states(strict, "user:ann")[:2] == [("accepted", None, None)] * 2, step
        assert strict.sql(IN_FORCE).count(("user:ann",)) == step + 1
        check_images(strict)
        if survived:
            break
    assert survived
    assert step > 10


def test_what_waits_for_proof_of_somebody_who_is_banned_is_not_released(
    strict: Desk, noise: Noise
) -> None:
    strict.submit(strict.predict(noise(9_000)), "operator:olga")
    prove(strict, noise, "user:ann")
    assert strict.submit(strict.predict(noise(1)), "user:ann").waits_for == "proof"
    strict.services.ledger.ban("user:ann", "olga", "spam")
    strict.sql(DECIDED_ANSWERS, "user:ann", "accepted", LEAST_AUDITS)

    strict.services.submissions.reconcile(100)

    assert strict.sql(IN_FORCE) == [("operator:olga",)]
    strict.services.ledger.lift("user:ann", "olga", "a mistake")
    strict.services.submissions.reconcile(100)
    assert strict.sql(IN_FORCE) == [("operator:olga",), ("user:ann",)]


def test_at_whichever_step_somebody_dies_who_takes_answers_back_the_next_run_finishes(
    strict: Desk, noise: Noise
) -> None:
    strict.submit(strict.predict(noise(9_000)), "operator:olga")
    prove(strict, noise, "user:ann")
    for step in range(1, STEPS):
        strict.sql("DELETE FROM requests WHERE user_address = 'user:ann'")
        strict.sql(DECIDED_ANSWERS, "user:ann", "accepted", LEAST_AUDITS)
        for image in (noise(2 * step), noise(2 * step + 1)):
            assert strict.submit(strict.predict(image), "user:ann").state == "accepted"
        strict.sql(DECIDED_ANSWERS, "user:ann", "rejected", FALLEN_AFTER)

        survived = survives(strict, step, lambda: settling(strict).follow_standing("user:ann"))
        strict.services.submissions.reconcile(100)

        waiting = [each for each in states(strict, "user:ann") if each[0] == "quarantined"]
        assert waiting == [("quarantined", "opinions", None)] * 2, step
        assert strict.sql(IN_FORCE) == [("operator:olga",)]
        strict.agree_files()
        if survived:
            break
    assert survived
    assert step > 4


def test_at_whichever_step_somebody_dies_who_reopens_images_the_next_run_finishes(
    strict: Desk, noise: Noise
) -> None:
    strict.submit(strict.predict(noise(9_000)), "operator:olga")
    prove(strict, noise, "user:ann", "user:bob")
    for step in range(1, STEPS, 2):
        strict.sql("DELETE FROM requests WHERE user_address IN ('user:ann', 'user:bob')")
        for image in (noise(2 * step), noise(2 * step + 1)):
            strict.submit(strict.predict(image), "user:ann")
            opine(strict, "user:bob", image)
        assert states(strict, "user:ann") == [AGREED] * 2
        strict.sql(DECIDED_ANSWERS, "user:ann", "rejected", FALLEN_AFTER)

        survived = survives(strict, step, lambda: settling(strict).follow_standing("user:ann"))
        strict.services.submissions.reconcile(100)

        for user in ("user:ann", "user:bob"):
            assert states(strict, user)[:2] == [("quarantined", "opinions", None)] * 2, step
        assert strict.sql(IN_FORCE) == [("operator:olga",)], step
        strict.agree_files()
        if survived:
            break
    assert survived
    assert step > 4
