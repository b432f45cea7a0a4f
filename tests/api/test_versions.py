"""Versions of a model as callers see them, and which of them serves; against a real database."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from chalicelib import wiring
from chalicelib.catalog.register import Trained
from chalicelib.catalog.version_records import Origin
from chalicelib.settings import Settings
from chalicelib.wiring import Services

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


@pytest.fixture
def aged(stack: Stack, make_model: Callable[..., bytes]) -> str:
    """Publish three versions of a model, the last of which serves; return the model's name."""
    name = f"aged-{uuid4().hex[:8]}"
    for number in (1, 2, 3):
        box = (8 * number, 8, 8 * number + 16, 24, 0.9, 0)
        stack.publish(make_model((box,)), name, json.dumps(METRICS).encode())
    return name


@pytest.fixture
def send(call: Caller, as_operator: dict[str, str]) -> Callable[..., Any]:
    def send(path: str, body: Any = None, **headers: str) -> Any:
        told = json.dumps(body if body is not None else {}).encode()
        asked = {"content_type": "application/json", **(headers or as_operator)}
        return call("POST", f"/v1/models/{path}", told, **asked)

    return send


def serving(call: Caller, model: str) -> int:
    return int(call("GET", f"/v1/models/{model}").json["live_version"])


def test_versions_are_listed_newest_first_with_what_they_measured(call: Caller, aged: str) -> None:
    told = call("GET", f"/v1/models/{aged}/versions").json

    assert (told["model"], told["live_version"]) == (aged, 3)
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
    call: Caller, stack: Stack, aged: str
) -> None:
    job_id = str(uuid4())
    with stack.services.database.transaction() as rows:
        rows.execute(
            """UPDATE model_versions SET job_id = %s, dataset_sha256 = %s, verdict = %s,
               correction_to_serving = %s WHERE model = %s AND version = 2""",
            (job_id, "ab" * 32, json.dumps(VERDICT), json.dumps(WAITED), aged),
        )
    made = call("GET", f"/v1/models/{aged}/versions").json["versions"][1]

    assert (made["version"], made["job_id"], made["dataset_sha256"]) == (2, job_id, "ab" * 32)
    assert made["gate"] == {"promote": False, "reason": "the class 'dent' fell"}
    assert made["correction_to_serving"] == WAITED


def test_what_the_gate_rejected_of_a_model_that_never_served_is_listed_and_can_be_promoted(
    call: Caller, send: Callable[..., Any], stack: Stack, make_model: Callable[..., bytes]
) -> None:
    name = f"young-{uuid4().hex[:8]}"
    asked = json.dumps({"name": name, "classes": ["scratch", "dent"]}).encode()
    assert call("POST", "/v1/pending-models", asked, content_type="application/json").status == 201
    stack.services.store.put("training/young/best.pt", b"weights", "application/octet-stream")
    made = Trained(
        make_model(),
        json.dumps(METRICS).encode(),
        "training/young/best.pt",
        Origin(uuid4(), "ab" * 32, 7),
    )
    stack.services.training.publisher.add_version(name, made)

    told = call("GET", f"/v1/models/{name}/versions").json
    assert (told["live_version"], told["class_names"]) == (None, ["scratch", "dent"])
    assert [(each["version"], each["live"]) for each in told["versions"]] == [(1, False)]
    assert send(f"{name}/versions/1/promote").json["live_version"] == 1


def test_a_list_of_versions_is_never_older_than_what_was_decided(
    call: Caller, stack: Stack, aged: str
) -> None:
    clients = {name: stack.services.client(name) for name in ("s3", "secretsmanager")}
    other = Services(Settings(live_version_ttl_seconds=15), clients)
    wiring.provide(other)
    try:
        call("GET", f"/v1/models/{aged}")
        stack.services.training.publisher.promoter.rollback(aged, "Ben", "worse")
        told = call("GET", f"/v1/models/{aged}/versions").json
    finally:
        wiring.provide(stack.services)

    assert told["live_version"] == told["promotions"][0]["version"] == 2


def test_versions_are_listed_where_no_database_is_attached(
    call: Caller, stack: Stack, aged: str
) -> None:
    clients = {
        "s3": stack.services.client("s3"),
        "secretsmanager": stack.services.client("secretsmanager"),
    }
    wiring.provide(Services(Settings(live_version_ttl_seconds=0), clients))
    try:
        told = call("GET", f"/v1/models/{aged}/versions").json
    finally:
        wiring.provide(stack.services)

    assert [each["version"] for each in told["versions"]] == [3, 2, 1]
    assert told["versions"][0]["created_at"] is None


def test_an_operator_has_an_earlier_version_serve(
    call: Caller, send: Callable[..., Any], aged: str
) -> None:
    answer = send(f"{aged}/versions/1/promote", {"why": " finds more on our photos "})

    assert answer.status == 200
    assert (answer.json["live_version"], answer.json["previous"]) == (1, 3)
    assert serving(call, aged) == 1
    [newest, *_] = call("GET", f"/v1/models/{aged}/versions").json["promotions"]
    assert (newest["version"], newest["previous"]) == (1, 3)
    assert (newest["by"], newest["why"]) == ("operator:operator", "finds more on our photos")


def test_rolling_back_goes_back_one_by_one(
    call: Caller, send: Callable[..., Any], aged: str
) -> None:
    assert send(f"{aged}/rollback").json["live_version"] == 2
    assert serving(call, aged) == 2
    assert send(f"{aged}/rollback", {"why": "worse"}).json["live_version"] == 1

    refused = send(f"{aged}/rollback")
    assert (refused.status, serving(call, aged)) == (409, 1)
    assert "before" in refused.json["detail"]


@pytest.mark.parametrize("path", ["{aged}/rollback", "{aged}/versions/1/promote"])
def test_of_two_who_saw_the_same_version_serve_the_second_is_told_that_it_does_not_any_more(
    call: Caller, send: Callable[..., Any], path: str, aged: str
) -> None:
    assert send(f"{aged}/rollback", {"over": 3}).json["live_version"] == 2

    refused = send(path.format(aged=aged), {"over": 3})
    assert (refused.status, serving(call, aged)) == (409, 2)
    assert "version 2 of" in refused.json["detail"] and "not 3" in refused.json["detail"]


@pytest.mark.parametrize("path", ["{aged}/rollback", "{aged}/versions/1/promote"])
def test_a_reason_that_no_row_can_hold_is_refused_before_anything_changes(
    call: Caller, send: Callable[..., Any], path: str, aged: str
) -> None:
    refused = send(path.format(aged=aged), {"why": "a\x00b"})

    assert (refused.status, serving(call, aged)) == (400, 3)
    assert send(f"{aged}/rollback").json["live_version"] == 2


def test_promoting_what_serves_changes_nothing(
    call: Caller, send: Callable[..., Any], aged: str
) -> None:
    before = call("GET", f"/v1/models/{aged}/versions").json["promotions"]

    assert send(f"{aged}/versions/3/promote").json["live_version"] == 3
    assert call("GET", f"/v1/models/{aged}/versions").json["promotions"] == before


def test_a_version_that_cannot_detect_is_refused_and_the_other_serves_on(
    call: Caller,
    send: Callable[..., Any],
    stack: Stack,
    make_model: Callable[..., bytes],
    aged: str,
) -> None:
    broken = make_model(runs=False)
    stack.services.store.put(
        f"models/{aged}/versions/2/model.onnx", broken, "application/octet-stream"
    )
    refused = send(f"{aged}/versions/2/promote")

    assert (refused.status, serving(call, aged)) == (409, 3)
    assert "cannot detect" in refused.json["detail"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("{aged}/versions/9/promote", {}, 404),
        ("nobody/versions/1/promote", {}, 404),
        ("nobody/rollback", {}, 404),
        ("{aged}/versions/0/promote", {}, 404),
        ("{aged}/versions/one/promote", {}, 404),
        ("{aged}/versions/1/promote", {"reason": "x"}, 400),
        ("{aged}/rollback", {"why": "x" * 1001}, 400),
    ],
)
def test_what_cannot_be_done_is_told(
    call: Caller, send: Callable[..., Any], path: str, body: Any, status: int, aged: str
) -> None:
    answer = send(path.format(aged=aged), body)

    assert answer.status == status, answer.json
    assert answer.json["detail"]
    assert serving(call, aged) == 3


@pytest.mark.parametrize("path", ["{aged}/versions/1/promote", "{aged}/rollback"])
def test_nobody_but_operators_decides_what_serves(
    call: Caller, send: Callable[..., Any], path: str, aged: str
) -> None:
    assert send(path.format(aged=aged), {}, accept="application/json").status == 401
    assert serving(call, aged) == 3


def test_a_model_that_there_is_not_has_no_versions(call: Caller) -> None:
    assert call("GET", "/v1/models/nobody/versions").status == 404
