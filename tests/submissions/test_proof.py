"""Who has to prove themselves, and how images are settled: with proof required."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chalicelib.errors import Conflict
from chalicelib.labels.case import image_of
from chalicelib.labels.submitted import GivenBox
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.standing import LEAST_AUDITS
from chalicelib.trust.task_book import Task

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Desk = Any
SCRATCH = GivenBox(8, 8, 24, 20, class_id=0)
DENT = GivenBox(30, 30, 60, 50, class_name="dent")
ELSEWHERE = GivenBox(2, 40, 20, 60, class_id=0)
RIGHT = [SCRATCH, DENT]
WRONG = [*RIGHT, ELSEWHERE, GivenBox(40, 2, 60, 20, class_id=1)]  # additions: the score sees none
PREDICTED = ClassedBoxes(np.array([[8.0, 8, 24, 20], [30, 30, 60, 50]]), np.array([0, 1]))
IMPORTED = """
WITH sample AS (
    INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key)
    VALUES ('scratch', %s, 'jpg', 64, 64, 'train', %s, 'x') RETURNING sample_id),
label AS (
    INSERT INTO labels (sample_id, yolo, boxes, origin, user_address)
    SELECT sample_id, '', 0, 'import', %s FROM sample RETURNING label_id, sample_id)
SELECT label_id, sample_id FROM label
"""
IN_FORCE = """SELECT l.user_address FROM samples s JOIN labels l ON l.label_id = s.label_id
              ORDER BY 1"""


def hand_out(desk: Desk, user: str, image: bytes, *, control: bool = False) -> str:
    """Hand an image out to somebody, as a task; return the prediction's id."""
    prediction: str = desk.predict(image)
    sha256 = hashlib.sha256(image).hexdigest()
    kind: Any = "control" if control else "second_opinion"
    settled = PREDICTED if control else None
    label = 1 if control else None
    book = desk.services.reviewing._book
    assert book.hand_out(Task(prediction, user, "scratch", sha256, kind, settled, label))
    return prediction


def prove(desk: Desk, noise: Callable[[int], bytes], *users: str) -> None:
    """Let users answer three controls."""
    for number, user in enumerate(users):
        for n in range(3):
            image = noise(10_000 + 100 * number + n)
            told = desk.submit(hand_out(desk, user, image, control=True), user)
            assert (told.state, told.waits_for) == ("quarantined", "opinions")


def opine(desk: Desk, user: str, image: bytes, boxes: Sequence[GivenBox] = RIGHT) -> Any:
    return desk.submit(hand_out(desk, user, image), user, "corrected", boxes)


def establish(desk: Desk, noise: Callable[[int], bytes], user: str) -> None:
    """Have others agree with as many answers as it takes, of somebody who proved themselves."""
    prove(desk, noise, "user:peer1", "user:peer2", user)
    for n in range(LEAST_AUDITS):
        image = noise(20_000 + n)
        desk.submit(desk.predict(image), user)
        for peer in ("user:peer1", "user:peer2"):
            opine(desk, peer, image)


def states(desk: Desk, user: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = desk.sql(
        """SELECT state, waits_for, reviewed_by FROM requests WHERE user_address = %s
           AND NOT (detail ->> 'control')::boolean ORDER BY request_id""",
        user,
    )
    return found


@pytest.mark.parametrize(
    ("user", "waits_for"),
    [
        ("user:ann", "operator"),
        ("203.0.113.7", "operator"),
        ("user:boss", None),
        ("127.0.0.1", None),
    ],
)
def test_whoever_is_not_trusted_waits(strict: Desk, user: str, waits_for: str | None) -> None:
    told = strict.submit(strict.predict(), user)

    assert told.waits_for == waits_for
    assert told.state == ("quarantined" if waits_for else "accepted")
    assert len(strict.sql(IN_FORCE)) == (0 if waits_for else 1)


@pytest.mark.parametrize(
    ("importer", "waits_for"),
    [("operator:olga", "proof"), (None, "proof"), ("user:mallory", "operator")],
)
def test_people_wait_for_proof_only_where_controls_can_be_made(
    strict: Desk, importer: str | None, waits_for: str
) -> None:
    [(label, sample)] = strict.sql(IMPORTED, "0" * 64, bytes(32), importer)
    strict.sql("UPDATE samples SET label_id = %s WHERE sample_id = %s", label, sample)

    assert strict.submit(strict.predict(), "user:ann").waits_for == waits_for


def test_an_operators_acceptance_makes_what_people_prove_themselves_by(strict: Desk) -> None:
    first = strict.submit(strict.predict(), "user:ann")
    held = strict.services.ledger.get(first.submission_id)
    strict.services.submissions.review(
        first.submission_id, held.updated_at, "accepted", "olga", "right"
    )

    assert strict.submit(strict.predict(), "user:ann").waits_for == "proof"
    assert strict.submit(strict.predict(), "203.0.113.7").waits_for == "opinions"


def test_two_proven_people_settle_an_image(strict: Desk, noise: Callable[[int], bytes]) -> None:
    prove(strict, noise, "user:bob", "user:eve")
    image = noise(1)
    strict.submit(strict.predict(image), "user:ann", "corrected", RIGHT)

    opine(strict, "user:bob", image)
    assert strict.sql(IN_FORCE) == []
    opine(strict, "user:eve", image)
    assert strict.sql(IN_FORCE) == [("user:ann",)]
    for user in ("user:ann", "user:bob", "user:eve"):
        assert states(strict, user) == [("accepted", None, "sightloop")]
    strict.agree_files()


def test_two_proven_people_settle_what_an_address_sent(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    prove(strict, noise, "user:bob", "user:eve")
    image = noise(1)
    strict.submit(strict.predict(image), "203.0.113.7", "corrected", RIGHT)

    opine(strict, "user:bob", image)
    assert strict.sql(IN_FORCE) == []
    opine(strict, "user:eve", image)
    assert strict.sql(IN_FORCE) == [("203.0.113.7",)]


def test_people_who_did_not_prove_themselves_settle_nothing(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    image = noise(1)
    strict.submit(strict.predict(image), "user:ann", "corrected", RIGHT)
    for n in range(5):
        opine(strict, f"user:sybil{n}", image)
    prove(strict, noise, "user:bob")
    opine(strict, "user:bob", image)
    assert strict.sql(IN_FORCE) == []

    prove(strict, lambda n: noise(n + 500), "user:sybil1")
    assert strict.sql(IN_FORCE) == [("user:ann",)]


@pytest.mark.parametrize("kind", ["user:telegram-{}", "198.51.100.{}"])
def test_cheap_accounts_settle_nothing_and_are_never_established(
    strict: Desk, noise: Callable[[int], bytes], kind: str
) -> None:
    people = [kind.format(number) for number in range(5)]
    prove(strict, noise, *people)
    image = noise(1)
    strict.submit(strict.predict(image), "user:ann", "corrected", RIGHT)
    for user in people:
        opine(strict, user, image)
    assert strict.sql(IN_FORCE) == []

    told = strict.submit(strict.predict(noise(2)), people[0], "corrected", RIGHT)
    assert told.waits_for == "operator"  # for nobody's vote counts here


def test_uninvited_answers_are_no_votes(strict: Desk, noise: Callable[[int], bytes]) -> None:
    prove(strict, noise, "user:bob", "user:eve")
    image = noise(1)
    for user in ("user:ann", "user:bob", "user:eve"):
        strict.submit(strict.predict(image), user, "corrected", WRONG)

    assert strict.sql(IN_FORCE) == []


def test_the_majority_wins_and_the_others_lose_an_audit(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    prove(strict, noise, "user:bob", "user:eve")
    image = noise(1)
    strict.submit(strict.predict(image), "user:ann", "corrected", WRONG)
    opine(strict, "user:bob", image)
    opine(strict, "user:eve", image)

    assert states(strict, "user:ann") == [("rejected", None, "sightloop")]
    assert strict.sql(IN_FORCE) == [("user:bob",)]
    [(yolo,)] = strict.sql("SELECT yolo FROM samples JOIN labels USING (label_id)")
    assert yolo.startswith("0 0.25")
    assert strict.sql("SELECT suspicious_requests FROM users WHERE user_address = 'user:ann'") == [
        (0,)
    ]
    assert strict.services.reviewing._book.standing("user:ann").audits.lost == 1


def test_contested_answers_go_to_an_operator_after_five_opinions(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    people = [f"user:p{n}" for n in range(5)]  # who say one and the other in turn
    prove(strict, noise, *people)
    image = noise(1)
    strict.submit(strict.predict(image), "user:ann", "corrected", WRONG)
    for n, user in enumerate(people):
        opine(strict, user, image, (RIGHT, WRONG)[n % 2])

    assert strict.sql(IN_FORCE) == []
    assert ("quarantined", "operator", None) in states(strict, "user:ann")
    [held] = strict.services.ledger.of_user("user:ann")
    strict.services.submissions.review(
        held.request_id, held.updated_at, "accepted", "olga", "I looked"
    )
    assert strict.sql(IN_FORCE) == [("user:ann",)]
    assert [states(strict, user)[0][0] for user in people] == [
        "rejected",
        "accepted",
        "rejected",
        "accepted",
        "rejected",
    ]


def test_who_is_established_counts_at_once_and_what_waited_is_released(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    strict.submit(strict.predict(noise(3)), "user:boss")
    held = strict.services.ledger.of_user("user:boss")[0]
    strict.services.submissions.review(held.request_id, held.updated_at, "accepted", "olga", "ok")
    waiting = strict.submit(strict.predict(noise(1)), "user:ann")
    assert waiting.waits_for == "proof"

    establish(strict, noise, "user:ann")

    assert states(strict, "user:ann")[0] == ("accepted", None, None)
    assert strict.submit(strict.predict(noise(2)), "user:ann").state == "accepted"
    surprising = strict.submit(
        strict.predict(noise(4)), "user:ann", "corrected", [*RIGHT, ELSEWHERE]
    )
    assert surprising.state == "accepted"
    assert strict.submit(strict.predict(noise(5)), "user:ann", "empty").waits_for == "opinions"


def test_who_loses_audits_waits_again_with_all_that_nobody_confirmed(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    establish(strict, noise, "user:ann")
    images = [noise(100 + n) for n in range(6)]
    for image in images:
        told = strict.submit(strict.predict(image), "user:ann", "corrected", WRONG)
        assert told.state == "accepted"
    for image in images[:5]:  # over a fifth of the newest twenty
        for peer in ("user:peer1", "user:peer2"):
            opine(strict, peer, image)

    assert [state for state, *_ in states(strict, "user:ann")[-6:]] == [
        *["rejected"] * 5,
        "quarantined",
    ]
    assert strict.submit(strict.predict(noise(9)), "user:ann").state == "quarantined"
    strict.agree_files()


def test_a_settled_label_is_challenged_and_never_overwritten(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    image = noise(1)
    strict.submit(strict.predict(image), "operator:olga", "corrected", RIGHT)
    assert strict.sql("SELECT origin FROM labels") == [("operator",)]

    told = strict.submit(strict.predict(image), "user:boss", "corrected", WRONG)
    assert (told.state, told.waits_for) == ("quarantined", "operator")
    [waiting] = strict.services.ledger.to_review()
    assert waiting.detail["reasons"][-1]["cause"] == "settled"
    same = strict.submit(strict.predict(image), "user:boss", "corrected", RIGHT)
    assert same.state == "accepted"
    assert strict.sql(IN_FORCE) == [("operator:olga",)]
    assert strict.sql("SELECT count(*) FROM labels") == [(1,)]


def test_an_operator_corrects_what_is_settled(strict: Desk, noise: Callable[[int], bytes]) -> None:
    image = noise(1)
    strict.submit(strict.predict(image), "operator:olga", "corrected", RIGHT)

    told = strict.submit(strict.predict(image), "operator:oscar", "corrected", WRONG)

    assert told.state == "accepted"
    assert strict.sql(IN_FORCE) == [("operator:oscar",)]


@pytest.mark.parametrize(
    ("importer", "waits_for"),
    [("operator:olga", "operator"), (None, "operator"), ("user:mallory", None)],
)
def test_only_an_operators_import_settles(
    strict: Desk, noise: Callable[[int], bytes], importer: str | None, waits_for: str | None
) -> None:
    image = noise(1)
    first = strict.predict(image)
    sha256 = image_of(strict.services.predictions, first).sha256
    [(label, sample)] = strict.sql(IMPORTED, sha256, bytes(32), importer)
    strict.sql("UPDATE samples SET label_id = %s WHERE sample_id = %s", label, sample)

    told = strict.submit(first, "user:boss", "corrected", WRONG)

    assert told.waits_for == waits_for


def test_a_settled_answer_is_not_replaced_by_its_own_author(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    prediction = strict.predict(noise(1))
    told = strict.submit(prediction, "user:boss", "corrected", RIGHT)
    held = strict.services.ledger.get(told.submission_id)
    strict.services.submissions.review(held.request_id, held.updated_at, "accepted", "olga", "ok")

    with pytest.raises(Conflict, match="detect on the photo anew"):
        strict.submit(prediction, "user:boss", "corrected", WRONG)
    assert strict.sql("SELECT state, reviewed_by FROM requests") == [("accepted", "olga")]
    assert strict.submit(prediction, "user:boss", "corrected", RIGHT).change == "same"


def test_equals_do_not_overwrite_each_other_and_the_higher_does(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    establish(strict, noise, "user:ann")
    image = noise(1)
    assert strict.submit(strict.predict(image), "user:ann").state == "accepted"

    equal = strict.submit(strict.predict(image), "user:peer1", "corrected", WRONG)
    assert (equal.state, equal.waits_for) == ("quarantined", "opinions")
    higher = strict.submit(
        strict.predict(image), "user:boss", "corrected", [SCRATCH, replace(DENT, x2=44)]
    )
    assert higher.state == "accepted"
    assert ("user:boss",) in strict.sql(IN_FORCE)


def test_the_settled_rule_holds_in_a_closed_team_too(
    desk: Desk, noise: Callable[[int], bytes]
) -> None:
    image = noise(1)
    desk.submit(desk.predict(image), "operator:olga", "corrected", RIGHT)
    told = desk.submit(desk.predict(image), "user:ann", "corrected", WRONG)

    assert (told.state, told.waits_for) == ("quarantined", "operator")
    assert desk.sql(IN_FORCE) == [("operator:olga",)]


def test_a_ban_takes_back_what_people_agreed_on(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    prove(strict, noise, "user:bob", "user:eve")
    image = noise(1)
    strict.submit(strict.predict(image), "user:ann", "corrected", WRONG)
    opine(strict, "user:bob", image, WRONG)
    opine(strict, "user:eve", image, WRONG)
    assert strict.sql(IN_FORCE) == [("user:ann",)]

    strict.services.ledger.ban("user:ann", "olga", "spam")
    strict.services.submissions.settle()
    assert strict.sql(IN_FORCE) == []


def test_one_who_proved_themselves_settles_what_another_such_person_sent(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    prove(strict, noise, "user:ann", "user:bob")
    image = noise(1)
    strict.submit(strict.predict(image), "user:ann", "corrected", RIGHT)
    assert strict.sql(IN_FORCE) == []
    opine(strict, "user:bob", image)
    assert strict.sql(IN_FORCE) == [("user:ann",)]


def test_a_lost_answer_silences_somebody_who_has_few(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    prove(strict, noise, "user:ann", "user:bob", "user:eve", "user:liar")
    image = noise(1)
    strict.submit(strict.predict(image), "user:liar", "corrected", WRONG)
    opine(strict, "user:bob", image)
    opine(strict, "user:eve", image)
    assert states(strict, "user:liar") == [("rejected", None, "sightloop")]

    later = noise(2)
    strict.submit(strict.predict(later), "user:ann", "corrected", RIGHT)
    opine(strict, "user:liar", later, RIGHT)
    assert ("user:ann",) not in strict.sql(IN_FORCE)


def test_what_people_agreed_on_by_the_word_of_somebody_who_fell_is_asked_about_anew(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    prove(strict, noise, "user:liar", "user:friend", "user:bob", "user:eve", "user:joe")
    lie = noise(1)
    strict.submit(strict.predict(lie), "user:liar", "corrected", WRONG)
    opine(strict, "user:friend", lie, WRONG)
    assert strict.sql(IN_FORCE) == [("user:liar",)]

    for n in range(5):  # of five decided answers four are lost
        image = noise(100 + n)
        strict.submit(strict.predict(image), "user:liar", "corrected", WRONG)
        opine(strict, "user:bob", image)
        opine(strict, "user:eve", image)
    assert ("user:liar",) not in strict.sql(IN_FORCE)
    assert states(strict, "user:friend") == [("quarantined", "opinions", None)]

    for user in ("user:bob", "user:eve", "user:joe"):  # the friend's word still counts against them
        opine(strict, user, lie)
    assert states(strict, "user:liar")[0] == ("rejected", None, "sightloop")
    assert len(strict.sql(IN_FORCE)) == 6
    strict.agree_files()
