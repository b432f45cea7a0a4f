"""What operators see of submissions and contributors, and decide; against a real database."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from chalicelib.trust import ClassedBoxes, judge
from chalicelib.trust.grading import Agreement, Grade
from chalicelib.trust.ledger import Request
from chalicelib.trust.task_book import Task, TaskBook

Caller = Any
Stack = Any

FOUND = ClassedBoxes([[0, 0, 10, 10], [20, 20, 40, 40]], [0, 0])
IMAGE = {"width": 64, "height": 64, "sha256": "ab" * 32, "key": f"quarantine/{'ab' * 32}.jpg"}
JSON = "application/json"
ROUTES = [
    ("GET", "/v1/review"),
    ("POST", "/v1/review"),
    ("POST", "/v1/review/1"),
    ("GET", "/v1/contributors"),
    ("GET", "/v1/contributors/eve"),
]


def detections(boxes: ClassedBoxes) -> list[dict[str, Any]]:
    sides = ("x1", "y1", "x2", "y2")
    return [
        {
            "class_id": 0,
            "class_name": "scratch",
            "confidence": 1.0,
            "box": dict(zip(sides, row, strict=True)),
        }
        for row in boxes.xyxy.tolist()
    ]


@pytest.fixture
def send(stack: Stack, make_picture: Callable[..., bytes]) -> Callable[..., int]:
    """Record a submission over two predicted scratches; return its id."""
    stack.services.store.put(IMAGE["key"], make_picture(), "image/jpeg")

    def send(
        user: str = "eve",
        submitted: ClassedBoxes | None = None,
        prediction_id: str = "",
        image: dict[str, Any] | None = None,
    ) -> int:
        given = ClassedBoxes.none() if submitted is None else submitted
        judged = judge(FOUND, given, [0.9], ["scratch"])
        request = Request(
            user_address=user,
            prediction_id=prediction_id or str(uuid.uuid4()),
            model="scratch",
            model_version=1,
            score=judged.scored.score,
            predicted_boxes=2,
            submitted_boxes=len(given),
            state="quarantined" if judged.reasons else "accepted",
            detail={
                "image": image or IMAGE,
                "predicted": detections(FOUND),
                "submitted": detections(given),
                **judged.to_json(),
            },
        )
        return int(stack.services.ledger.record(request).request_id)

    return send


@pytest.fixture
def operate(call: Caller, as_operator: dict[str, str]) -> Callable[..., Any]:
    """Call as an operator, with a body as JSON."""

    def operate(method: str, target: str, body: Any = None) -> Any:
        sent = b"" if body is None else json.dumps(body).encode()
        return call(method, target, sent, content_type=JSON, **as_operator)

    return operate


def waiting(operate: Any, submission_id: int) -> Any:
    """Return one item of the queue."""
    page = operate("GET", f"/v1/review?order=oldest&after={submission_id - 1}&limit=1").json
    [item] = page["waiting"]
    assert item["submission_id"] == submission_id
    return item


def verdict(item: Any, decision: str, why: str = "I looked") -> dict[str, Any]:
    return {"decision": decision, "why": why, "seen": item["updated_at"]}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_only_operators_may(call: Caller, method: str, path: str) -> None:
    assert call(method, path, b"{}", content_type=JSON).status == 401
    assert call(method, path, b"{}", content_type=JSON, authorization="Bearer x").status == 401


def test_the_queue_shows_all_that_helps_to_decide(operate: Any, send: Any) -> None:
    item = waiting(operate, send("eve"))

    assert (item["user"], item["model"], item["version"]) == ("eve", "scratch", 1)
    assert item["suspicious"] is True
    assert len(item["predicted"]) == 2
    assert item["submitted"] == []
    assert item["predicted"][0]["box"] == {"x1": 0, "y1": 0, "x2": 10, "y2": 10}
    assert IMAGE["key"] in item["image"]["url"]
    assert "Signature=" in item["image"]["url"]
    [part] = item["classes"]
    assert (part["class_name"], part["distance"], part["average_precision"]) == ("scratch", 1, 0.9)
    assert {change["kind"] for change in item["changes"]} == {"removed"}
    assert any("above 0.7" in reason for reason in item["reasons"])
    assert item["contributor"]["suspicious"] >= 1
    assert item["proposal"] is None
    assert item["waits_for"] is None


def test_the_queue_goes_on_where_the_page_before_ended(operate: Any, send: Any) -> None:
    ids = [send(f"user:{n}") for n in range(3)]

    first = operate("GET", f"/v1/review?order=oldest&after={ids[0] - 1}&limit=2").json
    rest = operate("GET", f"/v1/review?order=oldest&after={first['next']}&limit=2").json
    assert [each["submission_id"] for each in first["waiting"] + rest["waiting"]] == ids
    assert rest["next"] is None


def test_what_one_decision_settles_most_of_comes_first(
    operate: Any, send: Any, stack: Stack
) -> None:
    one, other = ({**IMAGE, "sha256": uuid.uuid4().hex * 2} for _ in range(2))
    alone = send("user:alone", image=one)
    crowded = []
    for _ in range(3):
        user, prediction = f"user:{uuid.uuid4()}", str(uuid.uuid4())
        task = Task(prediction, user, "scratch", other["sha256"], "second_opinion", None, None)
        assert TaskBook(stack.services.database).hand_out(task)
        crowded.append(send(user, image=other, prediction_id=prediction))

    found, after = [], ""
    while after is not None:
        page = operate("GET", f"/v1/review?limit=3{after and '&after=' + quote(after)}").json
        found += page["waiting"]
        after = page["next"]
    frees = {each["submission_id"]: each["frees"] for each in found}
    assert [frees[number] for number in (*crowded, alone)] == [3, 3, 3, 1]
    places = [
        (-each["frees"], not each["user"].startswith("user:"), each["submission_id"])
        for each in found
    ]
    assert places == sorted(places)
    assert len(found) == len(frees)
    oldest = operate("GET", "/v1/review?order=oldest&limit=100").json["waiting"]
    assert {each["submission_id"]: each["frees"] for each in oldest} == frees


@pytest.mark.parametrize("query", ["after=x", "after=1&order=frees", "after=1:2&order=oldest"])
def test_a_page_of_another_order_is_refused(operate: Any, query: str) -> None:
    answer = operate("GET", f"/v1/review?{query}")

    assert (answer.status, "is not the 'next'" in answer.json["detail"]) == (400, True)


@pytest.mark.parametrize(("word", "state"), [("accept", "accepted"), ("reject", "rejected")])
def test_a_decision_is_recorded_with_who_and_why(
    operate: Any, send: Any, stack: Stack, word: str, state: str
) -> None:
    user = f"user:{uuid.uuid4()}"
    number = send(user)
    answer = operate("POST", f"/v1/review/{number}", verdict(waiting(operate, number), word))

    assert answer.status == 200
    assert (answer.json["state"], answer.json["reviewed_by"]) == (state, "operator")
    page = operate("GET", f"/v1/review?order=oldest&after={number - 1}&limit=1").json
    assert number not in [each["submission_id"] for each in page["waiting"]]
    [decision] = stack.services.ledger.decisions(user)
    assert (decision.decision, decision.decided_by, decision.why) == (word, "operator", "I looked")


def test_who_sent_something_else_meanwhile_is_looked_at_again(operate: Any, send: Any) -> None:
    prediction_id = str(uuid.uuid4())
    number = send("eve", prediction_id=prediction_id)
    seen = waiting(operate, number)
    send("eve", ClassedBoxes([[50, 50, 60, 60]], [0]), prediction_id)

    answer = operate("POST", f"/v1/review/{number}", verdict(seen, "accept"))
    assert answer.status == 409
    assert operate("GET", f"/v1/review?order=oldest&after={number - 1}&limit=1").json["waiting"]


def test_a_decision_can_be_taken_the_other_way(operate: Any, send: Any) -> None:
    number = send("eve")
    item = waiting(operate, number)
    operate("POST", f"/v1/review/{number}", verdict(item, "accept"))

    answer = operate("POST", f"/v1/review/{number}", verdict(item, "reject", "a slip"))
    assert answer.json["state"] == "rejected"


@pytest.mark.parametrize("number", ["999999999", "0", "-1", "x", "1e3", "99999999999999999999"])
def test_what_is_not_there_cannot_be_decided(operate: Any, send: Any, number: str) -> None:
    item = waiting(operate, send("eve"))
    assert operate("POST", f"/v1/review/{number}", verdict(item, "accept")).status == 404


@pytest.mark.parametrize(
    "change",
    [
        {"why": ""},
        {"why": "   "},
        {"why": "a\x00b"},
        {"decision": "perhaps"},
        {"seen": "yesterday"},
        {"seen": "2026-11-21T08:00:00"},
    ],
)
def test_a_decision_says_what_why_and_as_of_when(operate: Any, send: Any, change: Any) -> None:
    number = send("eve")
    body = {**verdict(waiting(operate, number), "accept"), **change}

    assert operate("POST", f"/v1/review/{number}", body).status == 400
    waiting(operate, number)


def test_of_several_decisions_each_has_its_own_result(operate: Any, send: Any) -> None:
    numbers = [send(f"user:{n}") for n in range(3)]
    items = [waiting(operate, number) for number in numbers]
    stale = {**items[1], "updated_at": "2020-01-01T00:00:00Z"}
    decisions = [
        {"submission_id": each["submission_id"], **verdict(each, "reject")}
        for each in (items[0], stale, items[2])
    ]
    decisions.append({**decisions[0], "submission_id": 999_999_999})

    answer = operate("POST", "/v1/review", {"decisions": decisions})
    assert answer.status == 200
    first, second, third, fourth = answer.json["results"]
    assert [first["submission"]["state"], third["submission"]["state"]] == ["rejected"] * 2
    assert (second["problem"]["status"], fourth["problem"]["status"]) == (409, 404)
    assert [each["submission_id"] for each in (first, second, third)] == numbers
    waiting(operate, numbers[1])


def test_two_proven_people_who_agree_propose_to_accept(
    operate: Any, send: Any, stack: Stack
) -> None:
    book = TaskBook(stack.services.database)
    image = {**IMAGE, "sha256": uuid.uuid4().hex * 2}
    number = send("finn", image=image)
    names = ("user:pia", "user:pol", "user:new", "user:telegram")
    pia, pol, new, bot = (f"{name}-{uuid.uuid4()}" for name in names)
    peers = dict.fromkeys((pia, pol, new, bot), Agreement(2, 2))
    book.agree("finn", "scratch", image["sha256"], peers)
    assert waiting(operate, number)["proposal"] is None

    for user in (pia, pol, bot):
        for part in range(3):
            sha256 = f"{part:064x}"
            task = Task(str(uuid.uuid4()), user, "scratch", sha256, "control", FOUND, 1)
            book.hand_out(task)
            book.grade(task, Grade(1, 1, 0, 0, 0, 0))
    item = waiting(operate, number)
    assert item["proposal"] == "accept"
    assert {each["user"]: each["is_proven"] for each in item["opinions"]} == {
        pia: True,
        pol: True,
        new: False,
        bot: False,
    }


@pytest.mark.parametrize("user", ["2001:db8:1:2::/64", "user:Müller-Straße", "<b>eve</b>", "a?b#c"])
def test_a_contributor_of_any_name_is_shown_in_full(operate: Any, send: Any, user: str) -> None:
    user = f"{uuid.uuid4().hex[:6]}{user}"
    numbers = [send(user) for _ in range(3)]
    item = waiting(operate, numbers[0])
    operate("POST", f"/v1/review/{numbers[0]}", verdict(item, "reject"))

    path = f"/v1/contributors/{quote(user, safe='')}"
    told = operate("GET", f"{path}?limit=2").json
    assert (told["user"], told["submissions"], told["suspicious"]) == (user, 3, 3)
    assert [each["submission_id"] for each in told["sent"]] == numbers[:0:-1]
    assert told["decisions"][0]["decision"] == "reject"
    assert told["versions"] == []
    rest = operate("GET", f"{path}?before={told['next']}").json
    assert [each["submission_id"] for each in rest["sent"]] == numbers[:1]


def test_nobody_is_shown_of_whom_nothing_is_known(operate: Any) -> None:
    assert operate("GET", "/v1/contributors/nobody-at-all").status == 404


@pytest.mark.parametrize("order", ["suspicious", "submissions", "score", "accuracy"])
def test_contributors_are_listed_in_every_order(operate: Any, send: Any, order: str) -> None:
    for n in range(4):
        send(f"user:{n}")
    page = operate("GET", f"/v1/contributors?order={order}&limit=2").json
    assert all(each["trust"]["compared"] >= 0 for each in page["contributors"])
    if page["next"]:
        after = quote(page["next"])
        rest = operate("GET", f"/v1/contributors?order={order}&limit=2&after={after}").json
        users = {each["user"] for each in page["contributors"]}
        assert users.isdisjoint(each["user"] for each in rest["contributors"])
        other = "score" if order != "score" else "submissions"
        assert operate("GET", f"/v1/contributors?order={other}&after={after}").status == 400


def test_every_version_trained_on_somebodys_labels_is_named(
    operate: Any, send: Any, stack: Stack
) -> None:
    user = f"user:{uuid.uuid4()}"
    number = send(user)
    with stack.services.database.transaction() as rows:
        rows.execute(
            """INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key)
               VALUES ('scratch', %s, 'jpg', 9, 9, 'train', %s, 'x') RETURNING sample_id""",
            (uuid.uuid4().hex * 2, bytes(32)),
        )
        [(sample,)] = rows.fetchall()
        rows.execute("SELECT nextval('dataset_revision')")
        [(before,)] = rows.fetchall()
        rows.execute(
            """INSERT INTO labels (sample_id, yolo, boxes, origin, user_address, request_id)
               VALUES (%s, '', 0, 'submission', %s, %s) RETURNING label_id""",
            (sample, user, number),
        )
        [(label,)] = rows.fetchall()
        rows.execute("UPDATE samples SET label_id = %s WHERE sample_id = %s", (label, sample))
        rows.execute("SELECT nextval('dataset_revision')")
        [(during,)] = rows.fetchall()
        rows.execute("UPDATE samples SET label_id = NULL WHERE sample_id = %s", (sample,))
        rows.execute("SELECT nextval('dataset_revision')")
        [(after,)] = rows.fetchall()
        for version, revision in enumerate((before, during, after), start=number * 10):
            rows.execute(
                """INSERT INTO model_versions (model, version, sha256, dataset_revision)
                   VALUES ('scratch', %s, %s, %s)""",
                (version, "ab" * 32, revision),
            )

    [version] = operate("GET", f"/v1/contributors/{quote(user)}").json["versions"]
    assert (version["model"], version["version"]) == ("scratch", number * 10 + 1)
    assert (version["training_labels"], version["validation_labels"]) == (1, 0)
