"""Models without a version: members who proved themselves elsewhere settle their images."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.catalog.visibility import Visibility
from chalicelib.errors import ModelNotFound, NoTask, Unauthorized
from chalicelib.labels.submitted import GivenBox
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.grading import grade
from chalicelib.trust.task_book import Task

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Desk = Any
MODEL = "tags"
BOX = GivenBox(8, 8, 24, 20, class_id=0)
OTHER = GivenBox(30, 30, 60, 50, class_id=1)
ANN, BEN, CAT, NEW = "user:ann", "user:ben", "user:cat", "user:new"
ADDRESS = "203.0.113.7"


@pytest.fixture
def strict(open_desk: Callable[..., Desk]) -> Desk:
    return open_desk(proof="required")


def prove(desk: Desk, *users: str) -> None:
    """Let users answer three controls of another model."""
    right, book = ClassedBoxes([[0, 0, 1, 1]], [0]), desk.services.reviewing._book
    for user in users:
        for number in range(3):
            task = Task(str(uuid.uuid4()), user, "scratch", f"{number:064}", "control", right, 1)
            assert book.hand_out(task)
            book.grade(task, grade(right, right))


def request_model(desk: Desk, visibility: Visibility = Visibility.PUBLIC) -> None:
    desk.services.pending_models.ask(MODEL, ("scratch", "dent"), "user:asker", visibility)


def send(desk: Desk, image: bytes, user: str, box: GivenBox = BOX) -> Any:
    kept = desk.services.keeper.keep_unseen(MODEL, image, "a-call", user)
    return desk.submit(kept.prediction_id, user, "corrected", [box], model=MODEL)


def next_task(desk: Desk, user: str) -> str:
    given: str = desk.services.reviewing.tasks.next(user, MODEL, "a-call").prediction_id
    return given


def answer(desk: Desk, user: str, box: GivenBox = BOX) -> Any:
    return desk.submit(next_task(desk, user), user, "corrected", [box], model=MODEL)


def labels(desk: Desk) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = desk.sql(
        """SELECT l.user_address, split_part(l.yolo, ' ', 1)
           FROM samples s JOIN labels l ON l.label_id = s.label_id WHERE s.model = %s""",
        MODEL,
    )
    return found


def accept(desk: Desk, submission_id: int) -> None:
    held = desk.services.ledger.get(submission_id)
    by = "operator:olga", "right"
    desk.services.submissions.review(submission_id, held.updated_at, "accepted", *by)


@pytest.mark.parametrize("sender", [NEW, ADDRESS])
def test_two_proven_members_settle_an_image_without_an_operator(
    strict: Desk, noise: Callable[[int], bytes], sender: str
) -> None:
    request_model(strict)
    prove(strict, BEN, CAT)

    sent = send(strict, noise(1), sender)
    assert sent.waits_for == ("proof" if sender == NEW else "opinions")
    assert answer(strict, BEN).waits_for == "opinions"
    assert labels(strict) == []
    answer(strict, CAT)

    assert labels(strict) == [(sender, "0")]
    assert strict.services.ledger.get(sent.submission_id).state == "accepted"


def test_a_wrong_answer_is_outvoted(strict: Desk, noise: Callable[[int], bytes]) -> None:
    request_model(strict)
    prove(strict, BEN, CAT)

    sent = send(strict, noise(1), NEW, OTHER)
    answer(strict, BEN)
    answer(strict, CAT)

    assert labels(strict) == [(BEN, "0")]
    assert strict.services.ledger.get(sent.submission_id).state == "rejected"


def test_without_two_proven_members_an_operator_decides(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    request_model(strict)
    prove(strict, BEN)

    assert send(strict, noise(1), NEW).waits_for == "operator"
    with pytest.raises(NoTask):
        next_task(strict, BEN)


def test_whoever_did_not_prove_themselves_takes_no_opinion_away(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    request_model(strict)
    prove(strict, BEN, CAT)
    send(strict, noise(1), ANN)

    for user in (NEW, ADDRESS):
        with pytest.raises(NoTask):
            next_task(strict, user)
    assert next_task(strict, BEN)


@pytest.mark.parametrize(
    ("visibility", "user", "refusal"),
    [
        (Visibility.PUBLIC, BEN, None),
        (Visibility.MEMBERS, BEN, None),
        (Visibility.PRIVATE, BEN, NoTask),
        (Visibility.MEMBERS, ADDRESS, Unauthorized),
        (Visibility.PRIVATE, ADDRESS, Unauthorized),
    ],
)
def test_the_visibility_of_a_pending_model_is_kept(
    strict: Desk,
    noise: Callable[[int], bytes],
    visibility: Visibility,
    user: str,
    refusal: type[Exception] | None,
) -> None:
    request_model(strict, visibility)
    prove(strict, BEN, CAT)
    waits_for = send(strict, noise(1), "203.0.113.8").waits_for

    assert waits_for == ("operator" if visibility is Visibility.PRIVATE else "opinions")
    if refusal is None:
        assert next_task(strict, user)
        return
    with pytest.raises(refusal):
        next_task(strict, user)


def test_nothing_tells_a_control_of_a_pending_model(
    strict: Desk, noise: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are predictions of version 0 in which nothing is found, read by as many calls of S3."""
    request_model(strict)
    prove(strict, BEN, CAT)
    accept(strict, send(strict, noise(1), NEW).submission_id)
    strict.services.dataset.publish(10)
    send(strict, noise(2), ANN)
    tasks, seen, reads = strict.services.reviewing.tasks, {}, []
    get = type(strict.services.store).get
    monkeypatch.setattr(
        type(strict.services.store), "get", lambda self, key: reads.append(key) or get(self, key)
    )

    for draw, kind in ((0.0, "control"), (0.99, "second_opinion")):
        chance = random.Random()
        monkeypatch.setattr(chance, "random", lambda draw=draw: draw)
        monkeypatch.setattr(tasks, "_chance", chance)
        reads.clear()
        prediction_id = next_task(strict, BEN)
        calls = len(reads)
        task = strict.services.reviewing._book.find(prediction_id)
        view = strict.services.predictions.read(prediction_id)
        shown = {k: v for k, v in view.result.items() if k not in ("prediction_id", "timing_ms")}
        told = strict.submit(prediction_id, BEN, "corrected", [BOX], model=MODEL)
        seen[kind] = (json.dumps(shown), calls, told.state, told.waits_for, told.message)
        assert task.kind == kind
        assert view.result["version"] == 0

    assert seen["control"] == seen["second_opinion"]


def test_there_is_no_task_of_a_model_that_nobody_asked_for(strict: Desk) -> None:
    with pytest.raises(ModelNotFound):
        next_task(strict, BEN)


def test_the_sender_of_a_photo_is_not_asked_about_it(
    strict: Desk, noise: Callable[[int], bytes]
) -> None:
    request_model(strict)
    prove(strict, BEN, CAT)
    send(strict, noise(1), BEN)

    with pytest.raises(NoTask):
        next_task(strict, BEN)
    answer(strict, CAT)
    assert labels(strict) == [(BEN, "0")]
