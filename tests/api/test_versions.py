"""Versions of a model as callers see them, and which of them serves; against a real database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Caller = Any
Stack = Any

ROW = {"class_id": 0, "class_name": "scratch", "AP50": 0.6, "AP50-95": 0.4, "boxes": 9}
METRICS = {
    "mAP50": 0.6,
    "mAP50-95": 0.4,
    "per_class": [ROW],
    "training_set_size": 80,
    "validation_set_size": 20,
    "precision": 0.7,
    "recall": 0.5,
    "f1": 0.58,
    "ms_per_image": 41.0,
    "bytes": 12_000_000,
}
WAITED = {"labels": 23, "median_seconds": 2520.0, "longest_seconds": 90_000.0}
VERDICT = {"promote": False, "reason": "the class 'dent' fell", "figures": {"images": 20}}


@pytest.fixture(autouse=True)
def versions(stack: Stack, make_model: Callable[..., bytes]) -> Iterator[None]:
    """Three versions of `aged`, the last of which serves; each finds one box of its own."""
    for number in (1, 2, 3):
        box = (8 * number, 8, 8 * number + 16, 24, 0.9, 0)
        stack.publish(make_model((box,)), "aged", json.dumps(METRICS).encode())
    yield
    for key in [*stack.services.store.keys("models/aged/")]:
        stack.services.store.delete(key)
    with stack.services.database.transaction() as rows:
        rows.execute("DELETE FROM model_versions WHERE model = 'aged'")
        rows.execute("DELETE FROM models WHERE name = 'aged'")
    stack.services.catalog.forget("aged")


@pytest.fixture
def send(call: Caller, as_operator: dict[str, str]) -> Callable[..., Any]:
    def send(path: str, body: Any = None, **headers: str) -> Any:
        told = json.dumps(body if body is not None else {}).encode()
        asked = {"content_type": "application/json", **(headers or as_operator)}
        return call("POST", f"/v1/models/{path}", told, **asked)

    return send


def serving(call: Caller) -> int:
    return int(call("GET", "/v1/models/aged").json["live_version"])


def test_versions_are_listed_newest_first_with_what_they_measured(call: Caller) -> None:
    told = call("GET", "/v1/models/aged/versions").json

    assert (told["model"], told["live_version"]) == ("aged", 3)
    assert [(each["version"], each["live"]) for each in told["versions"]] == [
        (3, True),
        (2, False),
        (1, False),
    ]
    newest = told["versions"][0]
    assert (newest["map50"], newest["map50_95"], newest["f1"]) == (0.6, 0.4, 0.58)
    assert (newest["bytes"], newest["ms_per_image"]) == (12_000_000, 41.0)
    assert (newest["training_set_size"], newest["validation_set_size"]) == (80, 20)
    assert newest["classes"] == [
        {"class_id": 0, "class_name": "scratch", "ap50": 0.6, "ap50_95": 0.4, "boxes": 9}
    ]
    assert newest["created_at"] and newest["promoted_at"]
    assert (newest["job_id"], newest["gate"], newest["correction_to_serving"]) == (None,) * 3
    assert told["promotions"][0]["version"] == 3


def test_what_a_training_made_tells_its_job_its_verdict_and_its_wait(
    call: Caller, stack: Stack
) -> None:
    job_id = "6f0c1a52-6f7e-4d5e-9a57-2d0f3c1b7a11"
    with stack.services.database.transaction() as rows:
        rows.execute(
            """UPDATE model_versions SET job_id = %s, dataset_sha256 = %s, verdict = %s,
               correction_to_serving = %s WHERE model = 'aged' AND version = 2""",
            (job_id, "ab" * 32, json.dumps(VERDICT), json.dumps(WAITED)),
        )
    made = call("GET", "/v1/models/aged/versions").json["versions"][1]

    assert (made["version"], made["job_id"], made["dataset_sha256"]) == (2, job_id, "ab" * 32)
    assert made["gate"] == {"promote": False, "reason": "the class 'dent' fell"}
    assert made["correction_to_serving"] == WAITED


def test_versions_are_listed_where_no_database_is_attached(
    call: Caller, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.services, "has_database", lambda: False)
    told = call("GET", "/v1/models/aged/versions").json

    assert [each["version"] for each in told["versions"]] == [3, 2, 1]
    assert told["versions"][0]["created_at"] is None


def test_an_operator_has_an_earlier_version_serve(call: Caller, send: Callable[..., Any]) -> None:
    answer = send("aged/versions/1/promote", {"why": " finds more on our photos "})

    assert answer.status == 200
    assert (answer.json["live_version"], answer.json["previous"]) == (1, 3)
    assert serving(call) == 1
    [newest, *_] = call("GET", "/v1/models/aged/versions").json["promotions"]
    assert (newest["version"], newest["previous"]) == (1, 3)
    assert (newest["by"], newest["why"]) == ("operator:operator", "finds more on our photos")


def test_rolling_back_goes_back_one_by_one(call: Caller, send: Callable[..., Any]) -> None:
    assert send("aged/rollback").json["live_version"] == 2
    assert serving(call) == 2
    assert send("aged/rollback", {"why": "worse"}).json["live_version"] == 1

    refused = send("aged/rollback")
    assert (refused.status, serving(call)) == (409, 1)
    assert "before" in refused.json["detail"]


def test_promoting_what_serves_changes_nothing(call: Caller, send: Callable[..., Any]) -> None:
    before = call("GET", "/v1/models/aged/versions").json["promotions"]

    assert send("aged/versions/3/promote").json["live_version"] == 3
    assert call("GET", "/v1/models/aged/versions").json["promotions"] == before


def test_a_version_that_cannot_detect_is_refused_and_the_other_serves_on(
    call: Caller, send: Callable[..., Any], stack: Stack, make_model: Callable[..., bytes]
) -> None:
    broken = make_model(runs=False)
    stack.services.store.put(
        "models/aged/versions/2/model.onnx", broken, "application/octet-stream"
    )
    refused = send("aged/versions/2/promote")

    assert (refused.status, serving(call)) == (409, 3)
    assert "cannot detect" in refused.json["detail"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("aged/versions/9/promote", {}, 404),
        ("nobody/versions/1/promote", {}, 404),
        ("nobody/rollback", {}, 404),
        ("aged/versions/0/promote", {}, 400),
        ("aged/versions/one/promote", {}, 400),
        ("aged/versions/1/promote", {"reason": "x"}, 400),
        ("aged/rollback", {"why": "x" * 1001}, 400),
    ],
)
def test_what_cannot_be_done_is_told(
    call: Caller, send: Callable[..., Any], path: str, body: Any, status: int
) -> None:
    answer = send(path, body)

    assert answer.status == status, answer.json
    assert answer.json["detail"]
    assert serving(call) == 3


@pytest.mark.parametrize("path", ["aged/versions/1/promote", "aged/rollback"])
def test_nobody_but_operators_decides_what_serves(
    call: Caller, send: Callable[..., Any], path: str
) -> None:
    assert send(path, {}, accept="application/json").status == 401
    assert serving(call) == 3


def test_a_model_that_there_is_not_has_no_versions(call: Caller) -> None:
    assert call("GET", "/v1/models/nobody/versions").status == 404
