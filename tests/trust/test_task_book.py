"""Tasks handed out, how they were answered, and who is trusted for it; on a real PostgreSQL."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chalicelib.database import Database
from chalicelib.errors import InvalidRequest
from chalicelib.trust import ClassedBoxes
from chalicelib.trust.contributors import Contributors, Order
from chalicelib.trust.grading import Agreement, Grade
from chalicelib.trust.ledger import Ledger, Request
from chalicelib.trust.opinions import Opinions
from chalicelib.trust.records import BY_AGREEMENT
from chalicelib.trust.task_book import Task, TaskBook

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Make = Callable[..., Request]
SETTLED = ClassedBoxes([[1.5, 2, 30, 40]], [0])
RIGHT = Grade(1, 1, 0, 0, 0, 0)
WRONG = Grade(1, 0, 1, 0, 0, 0)


def sha(number: int) -> str:
    return f"{number:064x}"


def control(user: str = "ann", image: int = 1) -> Task:
    return Task(str(uuid.uuid4()), user, "scratch", sha(image), "control", SETTLED, 7)


def second(user: str = "ann", image: int = 1) -> Task:
    return Task(str(uuid.uuid4()), user, "scratch", sha(image), "second_opinion")


def detail(image: int, *boxes: tuple[float, float, float, float]) -> dict[str, Any]:
    sides = ("x1", "y1", "x2", "y2")
    submitted = [{"class_id": 0, "box": dict(zip(sides, box, strict=True))} for box in boxes]
    key = f"quarantine/{sha(image)}.jpg"
    return {"image": {"sha256": sha(image), "key": key}, "submitted": submitted}


ADD_LABELLED_IMAGE = """
WITH sample AS (
    INSERT INTO sightloop.samples (model, sha256, extension, width, height, side, bits, source_key)
    VALUES ('scratch', %(sha256)s, 'jpg', 64, 64, 'train', decode(repeat('00', 32), 'hex'), 'x')
    RETURNING sample_id)
INSERT INTO sightloop.labels (sample_id, yolo, boxes, origin, user_address, request_id)
SELECT sample_id, '', 0, %(origin)s, %(user)s, 1 FROM sample
"""
USE_LABELS = """
UPDATE sightloop.samples s SET label_id = l.label_id
FROM sightloop.labels l WHERE l.sample_id = s.sample_id
"""


@pytest.fixture
def database(sql: Any) -> Iterator[Database]:
    held = Database(sql.url)
    yield held
    held.close()


@pytest.fixture
def book(database: Database) -> TaskBook:
    return TaskBook(database)


@pytest.fixture
def opinions(database: Database) -> Opinions:
    return Opinions(database)


@pytest.fixture
def contributors(database: Database) -> Contributors:
    return Contributors(database)


def test_a_task_is_found_again_with_its_boxes(book: TaskBook) -> None:
    task = control()
    assert book.hand_out(task)

    found = book.find(task.prediction_id)
    assert found
    assert (found.user_address, found.is_control, found.label_id) == ("ann", True, 7)
    assert found.settled
    assert found.settled.xyxy.tolist() == [[1.5, 2, 30, 40]]
    assert book.find(str(uuid.uuid4())) is None


def test_nobody_is_asked_twice_about_one_image(book: TaskBook) -> None:
    assert book.hand_out(control("ann", 1))

    assert not book.hand_out(second("ann", 1))
    assert book.hand_out(control("bob", 1))
    assert book.known_images("ann", "scratch", [sha(1), sha(2)]) == {sha(1)}


def test_an_image_is_known_to_whoever_sent_an_answer_about_it(
    book: TaskBook, ledger: Ledger, request_of: Make
) -> None:
    ledger.record(request_of("ann", detail=detail(5)))

    assert book.known_images("ann", "scratch", [sha(5)]) == {sha(5)}
    assert book.known_images("bob", "scratch", [sha(5)]) == set()


def test_a_task_is_open_until_it_is_answered(book: TaskBook) -> None:
    tasks = [control("ann", 1), second("ann", 2)]
    for task in tasks:
        book.hand_out(task)
    assert book.open_tasks("ann", "scratch", 9) == [task.prediction_id for task in tasks]

    book.grade(tasks[0], RIGHT)
    book.answered(tasks[1])
    assert book.open_tasks("ann", "scratch", 9) == []


def test_the_first_answer_counts_however_often_others_follow(book: TaskBook) -> None:
    task = control()
    book.hand_out(task)
    for grade in (WRONG, WRONG, RIGHT):
        book.grade(task, grade)

    told = book.standing("ann").controls
    assert (told.answers, told.accuracy, told.overlooked) == (1, 0.0, 1)


def test_accuracy_is_the_mean_of_the_images(book: TaskBook) -> None:
    for image, grade in enumerate((RIGHT, WRONG, Grade(8, 4, 1, 2, 1, 0), Grade(0, 0, 0, 0, 0, 2))):
        task = control("ann", image)
        book.hand_out(task)
        book.grade(task, grade)

    told = book.standing("ann").controls
    assert (told.answers, told.accuracy) == (4, pytest.approx((1 + 0 + 0.5 + 0) / 4))
    assert (told.boxes, told.overlooked, told.misplaced, told.spurious) == (10, 2, 2, 2)
    assert told.to_json()["overlooked_rate"] == 0.2
    assert told.to_json()["spurious_rate"] == 0.2


def test_answers_that_come_at_once_are_all_counted(sql: Any, book: TaskBook) -> None:
    tasks = [control("ann", image) for image in range(40)]
    for task in tasks:
        book.hand_out(task)

    def answer(part: int) -> None:
        database = Database(sql.url)
        for task in tasks[part::8]:
            TaskBook(database).grade(task, RIGHT)
        database.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(answer, range(8)))
    assert sql("SELECT controls, accuracy FROM sightloop.control_standings") == [(40, 1.0)]
    assert book.standing("ann").controls.answers == 40


def test_two_who_are_compared_from_both_sides_at_once_do_not_deadlock(
    sql: Any, book: TaskBook
) -> None:
    people = [f"user:{number}" for number in range(8)]

    def compare(user: str) -> None:
        database = Database(sql.url)
        peers = {peer: Agreement(1, 2) for peer in people if peer != user}
        for image in range(20):
            TaskBook(database).agree(user, "scratch", sha(image), peers)
        database.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(compare, people))
    assert book.standing("user:3").agreements.compared == 7 * 20


def test_agreement_with_banned_people_counts_nothing(book: TaskBook, ledger: Ledger) -> None:
    book.agree("ann", "scratch", sha(1), {"bob": Agreement(0, 3), "cid": Agreement(1, 2)})
    assert book.standing("ann").agreements.agreement == 0.25

    ledger.ban("bob", "olga", "spam")
    told = book.standing("ann").agreements
    assert (told.compared, told.agreement) == (1, 0.5)


def test_only_people_who_proved_themselves_can_make_others_distrusted(book: TaskBook) -> None:
    peers = dict.fromkeys(("user:bob", "user:telegram-42", "198.51.100.7"), Agreement(0, 3))
    for image in range(12):
        book.agree("ann", "scratch", sha(image), peers)
    assert book.standing("ann").distrust is None

    # Whoever has no token, or only a Telegram account, costs nothing: any number can be had.
    for peer in peers:
        for image in range(20, 23):
            task = control(peer, image)
            book.hand_out(task)
            book.grade(task, RIGHT)
    assert [book.standing(peer).is_proven for peer in peers] == [True, False, False]
    told = book.standing("ann")
    assert told.agreements.with_proven == 12
    assert told.distrust == (
        "Their agreement with trusted people on 12 answers is 0.00, below 0.3."
    )


def test_who_answers_controls_badly_is_distrusted_and_can_recover(book: TaskBook) -> None:
    for image in range(5):
        task = control("eve", image)
        book.hand_out(task)
        book.grade(task, WRONG)
    assert book.standing("eve").distrust == (
        "Their accuracy on 5 control tasks is 0.00, below 0.5."
    )

    for image in range(10, 15):
        task = control("eve", image)
        book.hand_out(task)
        book.grade(task, RIGHT)
    assert book.standing("eve").distrust is None


def test_what_others_said_of_an_image_is_their_newest_answer(
    opinions: Opinions, book: TaskBook, ledger: Ledger, request_of: Make
) -> None:
    asked = second("bob")
    book.hand_out(asked)
    ledger.record(request_of("bob", detail=detail(1, (0, 0, 9, 9))))
    ledger.record(
        request_of("bob", prediction_id=asked.prediction_id, detail=detail(1, (5, 5, 9, 9)))
    )
    graded = control("cid")
    book.hand_out(graded)
    ledger.record(request_of("cid", prediction_id=graded.prediction_id, detail=detail(1)))
    ledger.record(request_of("ann", detail=detail(1)))

    told = opinions.of_others("ann", "scratch", sha(1))
    assert {user: boxes.xyxy.tolist() for user, boxes in told.items()} == {"bob": [[5, 5, 9, 9]]}


def test_of_answers_that_nobody_asked_for_those_alone_are_read_that_are_compared(
    opinions: Opinions, book: TaskBook, ledger: Ledger, request_of: Make
) -> None:
    asked = second("bob")
    book.hand_out(asked)
    ledger.record(
        request_of("bob", prediction_id=asked.prediction_id, detail=detail(1, (5, 5, 9, 9)))
    )
    ledger.record(request_of("eve", detail=detail(1, (5, 5, 9, 9))))

    assert set(opinions.of_others("ann", "scratch", sha(1))) == {"bob", "eve"}
    assert set(opinions.of_others("ann", "scratch", sha(1), asked_only=True)) == {"bob"}
    ledger.record(request_of("bob", detail=detail(1)))  # their last answer counts
    assert opinions.of_others("ann", "scratch", sha(1), asked_only=True) == {}


def test_images_that_wait_are_offered_to_others_until_enough_were_asked(
    opinions: Opinions, book: TaskBook, ledger: Ledger, request_of: Make
) -> None:
    ledger.record(request_of("eve", detail=detail(1)))
    ledger.record(request_of("eve", detail=detail(2), state="accepted"))
    ledger.record(request_of("eve", detail=detail(3), model="other"))
    [image] = opinions.waiting("ann", "scratch", 9, ["private"])
    assert (image.image_sha256, image.key) == (sha(1), f"quarantine/{sha(1)}.jpg")
    assert opinions.waiting("eve", "scratch", 9, ["private"]) == []

    for number in range(9):
        book.hand_out(second(f"203.0.113.{number}", 1))  # addresses have no vote
    for user in ("user:bob", "user:cid", "user:dan"):
        assert opinions.waiting(user, "scratch", 9, ["private"])
        book.hand_out(second(user, 1))
        assert opinions.waiting(user, "scratch", 9, ["private"]) == []
    assert opinions.waiting("ann", "scratch", 9, ["private"]) == []
    assert opinions.asked_enough("scratch", [sha(1), sha(2)]) == {sha(1)}


def test_what_counts_already_is_audited_after_all_that_waits(
    opinions: Opinions, ledger: Ledger, request_of: Make
) -> None:
    ledger.record(request_of("user:eve", detail=detail(1), state="accepted", audit=True))
    ledger.record(request_of("user:eve", detail=detail(2)))
    images = [
        (each.image_sha256, each.counts)
        for each in opinions.waiting("ann", "scratch", 9, ["private"])
    ]
    assert images == [(sha(2), False), (sha(1), True)]


def test_whoever_sends_much_keeps_nobody_from_being_asked_about(
    opinions: Opinions, ledger: Ledger, request_of: Make
) -> None:
    numbers = itertools.count()

    def send(user: str, **fields: Any) -> str:
        number = next(numbers)
        prediction = str(uuid.uuid4())
        fields = {"waits_for": "opinions", **fields}
        ledger.record(request_of(user, prediction_id=prediction, detail=detail(number), **fields))
        return sha(number)

    for _ in range(250):  # more than are looked at: of an operator, a member and addresses
        send("user:mallory", waits_for="operator")
        send("user:mallory")
        send("user:mallory", state="accepted", audit=True, waits_for=None)
        send("198.51.100.7")
    for number in range(20):
        send(f"user:telegram-{number}")
    wanted = {
        send("user:ann"),
        send("user:bob", waits_for="proof"),
        send("user:cid", state="accepted", audit=True, waits_for=None),
        send("203.0.113.9"),
    }
    for _ in range(5):
        offered = opinions.waiting("user:dan", "scratch", 100, ["private"])
        assert wanted <= {image.image_sha256 for image in offered}
    [*first] = opinions.waiting("user:dan", "scratch", 3, ["private"])
    assert {"user:ann", "user:bob", "user:mallory"} == {each.user_address for each in first[:3]}
    assert {"user:cid", "user:mallory"} == {each.user_address for each in first if each.counts}
    assert len(first) == 9


def test_a_reviewer_sees_who_agrees(
    opinions: Opinions, book: TaskBook, ledger: Ledger, request_of: Make
) -> None:
    for _ in range(2):
        ledger.record(request_of("eve", detail=detail(1)))
    book.agree("bob", "scratch", sha(1), {"eve": Agreement(4, 4)})
    book.agree("cid", "scratch", sha(1), {"eve": Agreement(1, 4)})

    told = opinions.on(ledger.to_review())
    assert len(told) == 2
    for peers in told.values():
        assert [(peer.peer_address, peer.agrees) for peer in peers] == [
            ("bob", True),
            ("cid", False),
        ]
    assert opinions.on([]) == {}


@pytest.mark.parametrize("order", list(Order))
def test_every_contributor_is_on_one_page_whatever_the_order(
    contributors: Contributors, book: TaskBook, ledger: Ledger, request_of: Make, order: Order
) -> None:
    people = [f"user:{number}" for number in range(11)]
    for number, user in enumerate(people):
        for part in range(number % 4 + 1):
            ledger.record(request_of(user, score=(number * part) % 7 / 7))
        task = control(user)
        book.hand_out(task)
        book.grade(task, Grade(9, number % 5, 9 - number % 5, 0, 0, 0))

    seen, after = [], None
    while True:
        page = contributors.page(order, after, 3)
        seen.extend(page.contributors)
        if page.next is None:
            break
        after = page.next
    assert sorted(each.user_address for each in seen) == sorted(people)
    if order is Order.SCORE:
        means = [each.mean_score for each in seen]
        assert means == sorted(means, reverse=True)


@pytest.mark.parametrize("after", ["", "%", "bnVsbA", "e30", "W10", "WyJzY29yZSIsIm5hbiIsIngiXQ"])
def test_a_place_that_we_did_not_give_out_is_refused(
    contributors: Contributors, after: str
) -> None:
    with pytest.raises(InvalidRequest, match="after"):
        contributors.page(Order.SCORE, after, 3)


def test_a_ban_is_shown_with_its_reason(contributors: Contributors, ledger: Ledger) -> None:
    ledger.ban("eve", "olga", "random boxes")

    [found] = contributors.of(["eve", "nobody", "a\x00b"])
    assert (found.banned_by, found.banned_why, found.submissions) == ("olga", "random boxes", 0)
    [decision] = contributors.decisions("eve", 9)
    assert (decision.decision, decision.decided_by) == ("ban", "olga")


@pytest.mark.parametrize(
    ("origin", "user", "provable"),
    [
        ("import", "operator:olga", True),
        ("import", None, True),
        ("operator", "operator:olga", True),
        ("import", "user:mallory", False),
        ("import", "203.0.113.7", False),
        ("submission", "user:ann", False),
    ],
)
def test_controls_are_made_of_what_operators_made_or_imported(
    sql: Any, book: TaskBook, origin: str, user: str | None, provable: bool
) -> None:
    sql(ADD_LABELLED_IMAGE, sha256=sha(1), origin=origin, user=user)
    assert not book.can_prove("scratch")

    sql(USE_LABELS)

    assert book.can_prove("scratch") is provable
    assert not book.can_prove("another")


def test_controls_are_made_of_what_operators_accepted_and_not_of_what_people_agree_on(
    sql: Any, book: TaskBook, opinions: Opinions, ledger: Ledger, request_of: Make
) -> None:
    for image in range(1, 4):
        ledger.record(request_of("ann", model="scratch", detail=detail(image)))
    review = """UPDATE sightloop.requests SET state = 'accepted', reviewed_at = now(),
                reviewed_by = %(by)s WHERE image_sha256 = %(sha256)s"""

    sql(review, by=BY_AGREEMENT, sha256=sha(1))
    assert not book.can_prove("scratch")
    assert opinions.reviewed("scratch", 10) == []

    sql(review, by="olga", sha256=sha(2))
    assert book.can_prove("scratch")
    assert opinions.reviewed("scratch", 10) == [sha(2)]
