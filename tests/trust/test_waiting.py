"""The order in which an operator looks at what waits; on a real PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.database import Database
from chalicelib.errors import InvalidRequest
from chalicelib.trust import ClassedBoxes
from chalicelib.trust import waiting as module
from chalicelib.trust.grading import Grade
from chalicelib.trust.ledger import Ledger, Request
from chalicelib.trust.policy import MOST_UNANSWERED
from chalicelib.trust.standing import LEAST_AUDITS, PROVEN_CONTROLS
from chalicelib.trust.task_book import Task, TaskBook
from chalicelib.trust.waiting import QueueOrder, WaitingSubmissions

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Make = Callable[..., Request]


@pytest.fixture
def database(sql: Any) -> Iterator[Database]:
    opened = Database(sql.url)
    yield opened
    opened.close()


@pytest.fixture
def waiting(database: Database, ledger: Ledger) -> WaitingSubmissions:
    return WaitingSubmissions(database, ledger)


@pytest.fixture
def send(ledger: Ledger, request_of: Make) -> Callable[..., int]:
    """Record a submission that waits; return its id."""

    def send(
        user: str, image: int, waits_for: str = "operator", prediction_id: str | None = None
    ) -> int:
        key = {"image": {"sha256": f"{image:064x}", "key": f"quarantine/{image}.jpg"}}
        of = prediction_id or str(uuid.uuid4())
        request = request_of(user, score=0.1, prediction_id=of, detail=key, waits_for=waits_for)
        return ledger.record(request).request_id

    return send


@pytest.fixture
def hand_out(database: Database) -> Callable[[str, int], str]:
    """Ask somebody about an image; return the prediction's id."""

    def hand_out(user: str, image: int) -> str:
        task = Task(
            str(uuid.uuid4()), user, "scratch", f"{image:064x}", "second_opinion", None, None
        )
        assert TaskBook(database).hand_out(task)
        return task.prediction_id

    return hand_out


@pytest.fixture
def ask(send: Callable[..., int], hand_out: Callable[[str, int], str]) -> Callable[[str, int], int]:
    """Let somebody answer a task about an image; return the submission's id."""

    def ask(user: str, image: int) -> int:
        return send(user, image, "opinions", prediction_id=hand_out(user, image))

    return ask


@pytest.fixture
def prove(database: Database) -> Callable[[str], None]:
    """Let a user answer as many controls as prove them."""
    book = TaskBook(database)

    def prove(user: str) -> None:
        for number in range(PROVEN_CONTROLS):
            image, boxes = f"{number + 900:064x}", ClassedBoxes([[1, 2, 3, 4]], [0])
            task = Task(str(uuid.uuid4()), user, "scratch", image, "control", boxes, 7)
            book.hand_out(task)
            book.grade(task, Grade(1, 1, 0, 0, 0, 0))

    return prove


def frees(waiting: WaitingSubmissions) -> dict[int, float]:
    page, _ = waiting.page(QueueOrder.FREES, None, 100)
    return {each.submission.request_id: each.frees for each in page}


def decide(ledger: Ledger, numbers: list[int], state: str = "accepted") -> None:
    for number in numbers:
        ledger.review(number, ledger.get(number).updated_at, state, "ann", "looked")  # type: ignore[arg-type]


def test_a_decision_settles_what_members_were_asked_and_nothing_that_came_by_itself(
    waiting: WaitingSubmissions, send: Callable[..., int], ask: Callable[[str, int], int]
) -> None:
    uninvited = [send(f"203.0.113.{number}", 1) for number in range(5)]
    often = [send("user:eve", 2) for _ in range(5)]
    sent = send("203.0.113.9", 3)
    asked = [ask("user:ann", 3), ask("user:bob", 3)]
    of_addresses = [ask(f"203.0.113.{number}", 3) for number in range(5)]

    assert frees(waiting) == {
        **dict.fromkeys(uninvited + often, 1),
        **dict.fromkeys([sent, *of_addresses], 3),
        **dict.fromkeys(asked, 2),
    }
    page, _ = waiting.page(QueueOrder.FREES, None, 100)
    assert [each.submission.request_id for each in page] == [
        *[sent, *of_addresses],
        *asked,
        *often,  # members' before others', where they free as much
        *uninvited,
    ]


def test_what_strangers_send_hides_nothing_that_members_sent(
    waiting: WaitingSubmissions, send: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order as many of members as of others are looked at: here all that were sent."""
    strangers = [send(f"203.0.113.{number}", number) for number in range(9)]
    member = send("user:ann", 10)
    for name in ("MOST_FIRST", "MOST_AFTER"):
        small = getattr(module, name).replace(f"LIMIT {module.WINDOW}", "LIMIT 5")
        monkeypatch.setattr(module, name, small)

    assert list(frees(waiting)) == [member, *strangers[:5]]


def test_who_is_nearly_established_comes_before_who_is_new(
    waiting: WaitingSubmissions,
    send: Callable[..., int],
    ledger: Ledger,
    prove: Any,
    hand_out: Callable[[str, int], str],
) -> None:
    near, new, unproven = "user:near", "user:new", "user:unproven"
    prove(near)
    prove(new)
    decide(ledger, [send(near, 100 + number) for number in range(LEAST_AUDITS - 2)])
    of_near = [send(near, 200 + number, "proof") for number in range(5)]
    busy, banned = "user:busy", "user:banned"
    for user in (busy, banned):
        prove(user)
    for number in range(MOST_UNANSWERED):
        hand_out(busy, 700 + number)
    ledger.ban(banned, "olga", "spam")
    others = [send(user, 500 + number, "proof") for user in (busy, banned) for number in range(5)]
    of_new = [send(new, 300 + number, "proof") for number in range(5)]
    of_unproven = [send(unproven, 400 + number, "proof") for number in range(5)]

    found = frees(waiting)
    assert {found[number] for number in of_near} == {1 + 4 / 2}
    assert {found[number] for number in of_new} == {1 + 4 / LEAST_AUDITS}
    assert {found[number] for number in of_unproven + others} == {1}

    decide(ledger, of_near[:2])  # now they are established: what is left is released by itself
    assert {frees(waiting)[number] for number in of_near[2:]} == {1}


def test_whose_answers_are_rejected_moves_nobody_up(
    waiting: WaitingSubmissions, send: Callable[..., int], ledger: Ledger, prove: Any
) -> None:
    prove("user:mallory")
    numbers = [send("user:mallory", number, "proof") for number in range(50)]
    assert max(frees(waiting).values()) > 3

    decide(ledger, numbers[:1], "rejected")
    assert set(frees(waiting).values()) == {1}


def test_pages_go_on_in_either_order(
    waiting: WaitingSubmissions, send: Callable[..., int], ask: Callable[[str, int], int]
) -> None:
    numbers = [send(f"203.0.113.{number}", number % 3) for number in range(7)]
    numbers += [ask(f"user:{number}", 0) for number in range(2)]
    for order in QueueOrder:
        found, after = list[int](), None
        while True:
            page, after = waiting.page(order, after, 2)
            found += [each.submission.request_id for each in page]
            if after is None:
                break
        assert sorted(found) == numbers
    assert waiting.page(QueueOrder.OLDEST, None, 9)[0][0].frees == 3


@pytest.mark.parametrize(
    ("order", "after"),
    [
        *(
            (QueueOrder.FREES, after)
            for after in ("1", "1:2:1", "-1:1:1", "1e9:1:1", f"1:1:{10**20}")
        ),
        *((QueueOrder.OLDEST, after) for after in ("1.0:1", "-1", "١", "1\n")),
    ],
)
def test_what_is_no_place_is_refused(
    waiting: WaitingSubmissions, order: QueueOrder, after: str
) -> None:
    with pytest.raises(InvalidRequest, match="is not the 'next'"):
        waiting.page(order, after, 1)
