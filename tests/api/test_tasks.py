"""Images that we ask people to look at, controls among them; over the API and a real database."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from chalicelib.catalog.visibility import Audience, Visibility
from chalicelib.errors import NoTask
from chalicelib.labels.dataset import Dataset, NewLabel
from chalicelib.labels.fingerprint import fingerprint_of
from chalicelib.labels.pool import Pool, Shown
from chalicelib.review.assessor import Assessor
from chalicelib.review.candidates import Candidates
from chalicelib.review.tasks import MOST_OPEN, Looking, Tasks
from chalicelib.trust import ClassedBoxes
from chalicelib.trust.ledger import Request
from chalicelib.trust.opinions import Opinions
from chalicelib.trust.task_book import TaskBook
from chalicelib.vision import Detections
from tests.api.conftest import member_headers, photo

Caller = Any
Stack = Any

NAMES = ("scratch", "dent")
SETTLED = ClassedBoxes([[8, 8, 24, 20]], [0])
TASKS = "/v1/models/scratch/tasks"
EVERYTHING = Shown.to(Audience.OPERATOR, Visibility.PRIVATE)


class Dice(random.SystemRandom):
    """Chance that a test decides."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def random(self) -> float:
        return self._value


@pytest.fixture(autouse=True)
def nothing_else(stack: Stack) -> Iterator[None]:
    """Begin each test with an empty dataset and queue."""
    yield
    with stack.services.database.transaction() as rows:
        rows.execute(
            """TRUNCATE samples, labels, label_terms, tasks, control_answers, agreements,
                        control_standings CASCADE"""
        )
        rows.execute("TRUNCATE requests")


@pytest.fixture
def label(stack: Stack) -> Callable[..., str]:
    """Put an image with a label into the dataset; return its sha256."""
    services = stack.services
    dataset = Dataset(services.database, services.store, lambda model: f"models/{model}")

    def label(seed: int, origin: Any = "import", user: str | None = None) -> str:
        data = photo(seed)
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"predictions/{uuid.uuid4()}/image.jpg"
        services.store.put(key, data, "image/jpeg")
        boxes = Detections(SETTLED.xyxy, np.ones(1), SETTLED.class_id, NAMES, (64, 64))
        request = seed if origin == "submission" else None
        new = NewLabel(
            sha256=sha256,
            extension="jpg",
            size=(64, 64),
            fingerprint=fingerprint_of(data),
            source_key=key,
            boxes=boxes,
            origin=origin,
            user_address=user,
            request_id=request,
            visibility=Visibility.PUBLIC,
        )
        with services.database.transaction() as rows:
            dataset.add(rows, "scratch", [new])
        dataset.publish(100)
        return sha256

    return label


@pytest.fixture
def quarantine(stack: Stack) -> Callable[..., str]:
    """Have somebody's submission about an image wait; return the image's sha256."""

    def quarantine(seed: int, user: str) -> str:
        data = photo(seed)
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"quarantine/{sha256}.jpg"
        stack.services.store.put(key, data, "image/jpeg")
        box = dict(zip(("x1", "y1", "x2", "y2"), SETTLED.xyxy[0].tolist(), strict=True))
        detail = {
            "image": {
                "width": 64,
                "height": 64,
                "sha256": sha256,
                "key": key,
                "visibility": "public",
            },
            "submitted": [{"class_id": 0, "class_name": "scratch", "box": box}],
        }
        request = Request(user, str(uuid.uuid4()), "scratch", 1, 0.9, 2, 1, "quarantined", detail)
        stack.services.ledger.record(request)
        return sha256

    return quarantine


@pytest.fixture
def tasks(stack: Stack) -> Callable[[float], Tasks]:
    """Make tasks whose draw is decided: 0 draws a control wherever it can."""

    def make(draw: float) -> Tasks:
        services, dice = stack.services, Dice(draw)
        database = services.database
        book = TaskBook(database)
        candidates = Candidates(Pool(database), Opinions(database), book, dice)
        looking = Looking(
            services.inference,
            services.store,
            services.keeper,
            services.settings.max_pixels,
            services.predictions,
        )
        return Tasks(services.catalog, services.ledger, book, candidates, looking, dice)

    return make


@pytest.fixture
def book(stack: Stack) -> TaskBook:
    return TaskBook(stack.services.database)


@pytest.fixture
def assessor(stack: Stack, book: TaskBook) -> Assessor:
    return Assessor(book, Opinions(stack.services.database))


def user() -> str:
    return f"user:{uuid.uuid4()}"


def test_a_task_is_a_prediction_with_the_models_boxes(
    call: Caller, label: Any, book: TaskBook
) -> None:
    label(1)
    given = call("POST", TASKS)

    assert given.status == 201
    assert set(given.json) == {"prediction_id", "model"}
    shown = call("GET", f"/v1/predictions/{given.json['prediction_id']}").json
    assert shown["state"] == "done"
    assert [each["class_name"] for each in shown["result"]["detections"]] == ["scratch", "dent"]
    task = book.find(given.json["prediction_id"])
    assert task
    assert task.is_control
    assert task.settled
    assert np.allclose(task.settled.xyxy, SETTLED.xyxy, atol=0.01)


def test_without_anything_to_look_at_there_is_no_task(call: Caller) -> None:
    answer = call("POST", TASKS)

    assert (answer.status, answer.json["type"]) == (404, "urn:sightloop:problem:no-task")
    assert call("POST", "/v1/models/unknown/tasks").json["type"].endswith("model-not-found")


def test_nothing_that_a_contributor_can_see_tells_a_control(
    call: Caller, stack: Stack, tasks: Any, book: TaskBook, label: Any, quarantine: Any
) -> None:
    label(2)
    quarantine(3, "eve")
    someone = user()
    seen = {}
    for draw in (0.0, 0.99):
        given = tasks(draw).next(someone, "scratch", "correlation")
        task = book.find(given.prediction_id)
        assert task
        shown = call("GET", f"/v1/predictions/{given.prediction_id}").json
        objects = {}
        for name in ("image", "annotated"):
            key = urlsplit(shown["links"][name]).path.partition("predictions/")[2]
            held = stack.services.store.get(f"predictions/{key}")
            objects[key.partition("/")[2]] = (held.content_type, dict(held.metadata))
        for part in ("prediction_id", "created_at", "updated_at", "links"):
            shown.pop(part)
        shown["result"].pop("timing_ms")
        shown["result"].pop("prediction_id", None)
        seen[task.kind] = (shown, objects, vars(given).keys())
    assert set(seen) == {"control", "second_opinion"}
    assert seen["control"] == seen["second_opinion"]


def test_nobody_is_given_an_image_twice_nor_their_own(
    tasks: Any, book: TaskBook, label: Any, quarantine: Any
) -> None:
    someone = user()
    expected = {label(seed) for seed in range(10, 14)}
    expected |= {quarantine(seed, "eve") for seed in range(20, 23)}
    quarantine(30, someone)
    label(31, "submission", someone)

    given = []
    with pytest.raises(NoTask):
        for _ in range(20):
            given.append(tasks(0.0).next(someone, "scratch", "correlation").prediction_id)
    found = [book.find(prediction_id) for prediction_id in given]
    assert sorted(task.image_sha256 for task in found if task) == sorted(expected)


def test_quarantined_images_come_before_labels_that_nobody_confirmed(
    tasks: Any, book: TaskBook, label: Any, quarantine: Any
) -> None:
    alone = label(41, "submission", "finn")
    waiting = quarantine(42, "eve")
    someone = user()

    order = []
    for _ in range(2):
        task = book.find(tasks(0.99).next(someone, "scratch", "correlation").prediction_id)
        assert task
        order.append((task.image_sha256, task.kind))
    assert order == [(waiting, "second_opinion"), (alone, "second_opinion")]


def test_what_counts_already_is_audited_when_no_member_waits(
    tasks: Any, stack: Stack, label: Any, quarantine: Any, book: TaskBook
) -> None:
    label(1)
    audited, waiting = quarantine(2, user()), quarantine(3, user())
    with stack.services.database.transaction() as rows:
        rows.execute(
            "UPDATE requests SET state = 'accepted', audit = true WHERE image_sha256 = %s",
            (audited,),
        )
    ann = user()
    images = [book.find(tasks(0.99).next(ann, "scratch", "c").prediction_id) for _ in range(2)]

    assert [task.image_sha256 for task in images if task] == [waiting, audited]


def test_what_two_people_agree_on_is_no_control_until_an_operator_accepted_it(
    stack: Stack, tasks: Any, book: TaskBook, label: Any, assessor: Assessor
) -> None:
    label(51, "submission", "finn")
    asked = []
    for _ in range(2):
        someone = user()
        given = tasks(0.0).next(someone, "scratch", "correlation")
        task = book.find(given.prediction_id)
        assert task
        assert not task.is_control
        asked.append((someone, given.prediction_id))
    for someone, prediction_id in asked:
        assessor.assess(someone, "scratch", prediction_id, SETTLED)
        _record(stack, someone, prediction_id, task.image_sha256)
    with stack.services.database.transaction() as rows:
        rows.execute(
            """UPDATE labels SET user_address = %s, request_id = (
                   SELECT request_id FROM requests WHERE user_address = %s)""",
            (asked[1][0], asked[1][0]),
        )
        rows.execute("UPDATE requests SET reviewed_at = now(), reviewed_by = 'sightloop'")
    task = book.find(tasks(0.0).next(user(), "scratch", "correlation").prediction_id)
    assert task
    assert not task.is_control
    with stack.services.database.transaction() as rows:
        rows.execute("UPDATE requests SET reviewed_by = 'olga'")

    task = book.find(tasks(0.0).next(user(), "scratch", "correlation").prediction_id)
    assert task
    assert task.is_control


def _record(stack: Stack, someone: str, prediction_id: str, sha256: str) -> None:
    """Record an answer as submissions do, once it was assessed."""
    box = dict(zip(("x1", "y1", "x2", "y2"), SETTLED.xyxy[0].tolist(), strict=True))
    detail = {
        "image": {"sha256": sha256, "visibility": "public"},
        "submitted": [{"class_id": 0, "box": box}],
    }
    request = Request(someone, prediction_id, "scratch", 1, 0, 2, 1, "accepted", detail)
    stack.services.ledger.record(request)


def test_an_answer_to_a_control_is_graded_and_counts_towards_trust(
    tasks: Any, book: TaskBook, label: Any, assessor: Assessor
) -> None:
    someone = user()
    for seed in range(60, 65):
        label(seed)
        given = tasks(0.0).next(someone, "scratch", "correlation")
        assessed = assessor.assess(someone, "scratch", given.prediction_id, ClassedBoxes.none())
        assert assessed.is_control
    assert assessed.distrust == "Their accuracy on 5 control tasks is 0.00, below 0.5."
    assert book.standing(someone).controls.overlooked == 5


def test_who_answers_anothers_control_is_not_graded(
    tasks: Any, book: TaskBook, label: Any, assessor: Assessor
) -> None:
    label(71)
    given = tasks(0.0).next(user(), "scratch", "correlation")
    stranger = user()

    assert assessor.assess(stranger, "scratch", given.prediction_id, SETTLED).is_control
    assert book.standing(stranger).controls.answers == 0


def test_a_second_opinion_is_compared_with_what_it_is_about(
    tasks: Any, book: TaskBook, quarantine: Any, assessor: Assessor
) -> None:
    sender, someone = user(), user()
    quarantine(81, sender)
    given = tasks(0.99).next(someone, "scratch", "correlation")

    for _ in range(2):  # a retry compares again, and counts once
        assessed = assessor.assess(someone, "scratch", given.prediction_id, SETTLED)
    assert not assessed.is_control
    for each in (sender, someone):
        told = book.standing(each).agreements
        assert (told.compared, told.agreement) == (1, 1.0)
    assert book.open_tasks(someone, "scratch", 9) == []


def test_an_answer_that_we_did_not_ask_for_is_neither_graded_nor_compared(
    book: TaskBook, quarantine: Any, assessor: Assessor
) -> None:
    quarantine(91, "eve")
    someone = user()

    assessed = assessor.assess(someone, "scratch", str(uuid.uuid4()), SETTLED)
    assert (assessed.is_control, assessed.distrust) == (False, None)
    assert book.standing(someone).agreements.compared == 0


def test_members_answers_are_compared_however_many_boxes_addresses_sent(
    tasks: Any, book: TaskBook, quarantine: Any, assessor: Assessor, stack: Stack
) -> None:
    """Nobody has a request compare millions of boxes, or keeps members from being compared."""
    sender, someone = user(), user()
    quarantine(95, sender)
    given = tasks(0.99).next(someone, "scratch", "correlation")
    task = book.find(given.prediction_id)
    assert task
    floods = [over_each_other(1_000, seed) for seed in range(6)]
    for number, flood in enumerate(floods):
        record(stack, f"203.0.113.{number}", task.image_sha256, flood)
    record(stack, user(), task.image_sha256, floods[0])

    assessor.assess(someone, "scratch", given.prediction_id, over_each_other(2_000, 9))

    with stack.services.database.transaction() as rows:
        rows.execute("SELECT peer_address FROM agreements WHERE user_address = %s", (someone,))
        peers = [peer for (peer,) in rows.fetchall()]
    assert sender in peers
    # The address that sent what a member sent is compared with them.
    assert len(peers) == 3
    assert sum(peer.startswith("user:") for peer in peers) == 2
    assert "203.0.113.0" in peers


def over_each_other(count: int, seed: int) -> ClassedBoxes:
    """Return boxes of one class, each of which overlaps every other."""
    within = np.random.default_rng(seed).uniform(0, 8, (count, 4)).round(2)
    return ClassedBoxes(within + np.array([0, 0, 50, 50]), np.zeros(count, np.int64))


def record(stack: Stack, sender: str, sha256: str, boxes: ClassedBoxes) -> None:
    """Record an answer about an image that nobody asked for."""
    corners = [
        dict(zip(("x1", "y1", "x2", "y2"), each, strict=True)) for each in boxes.xyxy.tolist()
    ]
    detail = {
        "image": {"width": 64, "height": 64, "sha256": sha256, "key": "x", "visibility": "public"},
        "submitted": [{"class_id": 0, "class_name": "scratch", "box": box} for box in corners],
    }
    request = Request(sender, str(uuid.uuid4()), "scratch", 1, 0.9, 2, 1, "quarantined", detail)
    stack.services.ledger.record(request)


def test_people_who_proved_themselves_get_no_control_where_nothing_wants_an_opinion(
    tasks: Any, label: Any, assessor: Assessor
) -> None:
    someone = user()
    for seed in range(100, 110):
        label(seed)
    for _ in range(6):
        given = tasks(0.0).next(someone, "scratch", "correlation")
        assessor.assess(someone, "scratch", given.prediction_id, SETTLED)

    with pytest.raises(NoTask):
        tasks(0.0).next(someone, "scratch", "correlation")


def test_who_leaves_many_unanswered_gets_the_oldest_again(
    tasks: Any, label: Any, stack: Stack, call: Caller
) -> None:
    for seed in range(200, 200 + MOST_OPEN + 1):
        label(seed)
    first = call("POST", TASKS)
    for _ in range(MOST_OPEN - 1):
        assert call("POST", TASKS).status == 201

    again = call("POST", TASKS)
    assert (again.status, again.json) == (200, first.json)


def test_an_image_that_is_gone_is_passed_over(
    stack: Stack, tasks: Any, book: TaskBook, label: Any, quarantine: Any
) -> None:
    gone = quarantine(301, "eve")
    here = quarantine(302, "eve")
    stack.services.store.delete(f"quarantine/{gone}.jpg")

    task = book.find(tasks(0.99).next(user(), "scratch", "correlation").prediction_id)
    assert task
    assert task.image_sha256 == here


@pytest.mark.parametrize(("draw", "kind"), [(0.49, "control"), (0.51, "second_opinion")])
def test_every_other_task_of_an_unproven_contributor_is_a_control(
    tasks: Any, book: TaskBook, label: Any, quarantine: Any, draw: float, kind: str
) -> None:
    label(401)
    quarantine(402, "eve")

    task = book.find(tasks(draw).next(user(), "scratch", "correlation").prediction_id)
    assert task
    assert task.kind == kind


@pytest.fixture
def both_kinds(label: Any, quarantine: Any) -> None:
    """Have one image that is settled, and one that wants an opinion."""
    label(501)
    quarantine(502, "eve")


def answer_to(call: Caller, prediction_id: str, boxes: list[dict[str, Any]], verb: str) -> Any:
    body = {"prediction_id": prediction_id, "answer": verb, "boxes": boxes}
    path = "/v1/models/scratch/submissions"
    return call("POST", path, json.dumps(body).encode(), content_type="application/json")


def as_user(stack: Stack, call: Caller) -> tuple[str, Caller]:
    """Return somebody with a token, and a way to call as them."""
    name = uuid.uuid4().hex
    token = member_headers(stack, name)
    return f"user:{name}", lambda *given, **headers: call(*given, **token, **headers)


@pytest.mark.parametrize(("verb", "state"), [("confirmed", "accepted"), ("empty", "quarantined")])
def test_an_answer_to_a_control_reads_like_any_other_and_is_no_label(
    call: Caller, stack: Stack, tasks: Any, both_kinds: None, verb: str, state: str
) -> None:
    book = TaskBook(stack.services.database)
    someone, calls = as_user(stack, call)
    told, images = {}, {}
    for draw in (0.0, 0.99):
        given = tasks(draw).next(someone, "scratch", "correlation")
        task = book.find(given.prediction_id)
        assert task
        answer = answer_to(calls, given.prediction_id, [], verb)
        assert answer.status == 201, answer.body
        told[task.kind] = answer.json
        assert told[task.kind].pop("submission_id") > 0
        assert told[task.kind].pop("prediction_id") == given.prediction_id
        images[task.kind] = task.image_sha256
    assert told["control"] == told["second_opinion"]
    assert told["control"]["state"] == state

    labels = Pool(stack.services.database).of_images("scratch", EVERYTHING, images.values())
    theirs = {image.image_sha256 for image in labels if image.user_address == someone}
    assert theirs == ({images["second_opinion"]} if state == "accepted" else set())
    assert book.standing(someone).controls.answers == 1
    assert book.standing(someone).agreements.compared == 1
    waiting = [each.user_address for each in stack.services.ledger.to_review()]
    assert waiting.count(someone) == (1 if state == "quarantined" else 0)


def test_all_that_a_distrusted_contributor_sends_waits_in_words_that_do_not_tell(
    call: Caller, stack: Stack, tasks: Any, label: Any, as_operator: dict[str, str]
) -> None:
    someone, calls = as_user(stack, call)
    for seed in range(600, 605):
        label(seed)
        given = tasks(0.0).next(someone, "scratch", "correlation")
        box = {"x1": 40, "y1": 2, "x2": 60, "y2": 9}
        boxes = [{"class_name": "dent", "box": box}]
        assert answer_to(calls, given.prediction_id, boxes, "corrected").status == 201

    kept = calls(
        "POST",
        "/v1/models/scratch/detections?keep=true",
        photo(610),
        content_type="image/jpeg",
    ).json
    answer = answer_to(calls, kept["prediction_id"], [], "confirmed").json
    assert answer["state"] == "quarantined"
    assert answer["message"].startswith("Thank you. A person will look at your boxes")
    assert "trust" not in answer["message"]
    assert "control" not in answer["message"]

    number = answer["submission_id"]
    path = f"/v1/review?order=oldest&after={number - 1}"
    [item] = call("GET", path, **as_operator).json["waiting"]
    assert item["reasons"] == ["Their accuracy on 5 control tasks is 0.00, below 0.5."]
    body = {"decision": "accept", "why": "fine", "seen": item["updated_at"]}
    done = call(
        "POST",
        f"/v1/review/{number}",
        json.dumps(body).encode(),
        content_type="application/json",
        **as_operator,
    )
    assert done.status == 200, done.body
    sha256 = hashlib.sha256(photo(610)).hexdigest()
    [image] = Pool(stack.services.database).of_images("scratch", EVERYTHING, [sha256])
    assert image.user_address == someone
