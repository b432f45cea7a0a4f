"""Asking for a new model over the API, against a real database."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

Caller = Callable[..., Any]
PATH = "/v1/pending-models"


def ask(call: Caller, name: str, classes: Any = ("dent",), **more: Any) -> Any:
    body = json.dumps({"name": name, "classes": classes, **more}).encode()
    return call("POST", PATH, body, content_type="application/json")


@pytest.fixture
def name() -> str:
    return f"dents-{uuid.uuid4().hex}"


def test_a_new_model_waits_for_its_images(call: Caller, name: str) -> None:
    answer = ask(call, name, "small dent\n large dent \n")

    assert answer.status == 201
    assert answer.headers["location"] == answer.json["links"]["self"]
    assert answer.headers["location"].endswith(f"/v1/pending-models/{name}")
    told = answer.json
    assert told.pop("requested_at").endswith("Z")
    assert {**told, "links": None} == {
        "name": name,
        "class_names": ["small dent", "large dent"],
        "visibility": "private",
        "training_set_size": 0,
        "validation_set_size": 0,
        "min_training_set_size": 80,
        "min_validation_set_size": 20,
        "has_enough": False,
        "links": None,
    }
    assert answer.json["links"]["imports"] == f"{answer.json['links']['self']}/imports"
    assert call("GET", f"{PATH}/{name}").json["class_names"] == ["small dent", "large dent"]
    assert name in [model["name"] for model in call("GET", PATH).json["models"]]


def test_who_asked_is_nobody_elses_business(call: Caller, name: str) -> None:
    answer = ask(call, name)

    assert "203.0.113.7" not in answer.body.decode()


def test_the_same_request_again_is_the_same_model(call: Caller, name: str) -> None:
    first, again = ask(call, name), ask(call, name)

    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json


@pytest.mark.parametrize("taken", ["scratch", ""])
def test_a_name_that_is_taken_is_refused(call: Caller, name: str, taken: str) -> None:
    ask(call, name)

    answer = ask(call, taken or name, ["something else"])

    assert answer.status == 409
    assert "taken" in answer.json["detail"]


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"name": "Dents"}, "body.name"),
        ({"name": "../dents"}, "body.name"),
        ({"classes": []}, "body.classes"),
        ({"classes": "  \n "}, "body.classes"),
        ({"classes": ["dent", " dent"]}, "body.classes"),
        ({"classes": ["a\u0000"]}, "body.classes"),
        ({"classes": None}, "body.classes"),
        ({"zip": "x"}, "body.zip"),
    ],
)
def test_what_cannot_be_is_named(call: Caller, name: str, wrong: Any, where: str) -> None:
    answer = ask(call, **{"name": name, "classes": ["dent"], **wrong})

    assert answer.status == 400
    assert answer.json["faults"][0]["where"].startswith(where)
    assert call("GET", f"{PATH}/{name}").status == 404


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (7, "a list of names, or a text with one name a line"),
        (["dent", 7], "a list of names, or a text with one name a line"),
        ({"dent": 0}, "a list of names, or a text with one name a line"),
        ([], "between 1 and 1000 classes, not 0"),
        (["dent", ""], "class 2 is empty"),
        (["x" * 101], "class 1 has 101 characters"),
    ],
)
def test_what_is_wrong_with_the_classes_is_told_once_and_in_our_words(
    call: Caller, name: str, classes: Any, told: str
) -> None:
    [fault] = ask(call, name, classes).json["faults"]

    assert fault["where"] == "body.classes"
    assert told in fault["what"]


@pytest.mark.parametrize("other", ["scratch", "nothing", "%00", "a%2Fb"])
def test_what_nobody_asked_for_is_not_found(call: Caller, other: str) -> None:
    answer = call("GET", f"{PATH}/{other}")

    assert answer.status == 404
    assert answer.json["type"].endswith("model-not-found")


def test_an_image_that_was_brought_can_be_labelled(call: Caller, name: str, sample: bytes) -> None:
    ask(call, name, ["dent"])
    brought = call("POST", f"{PATH}/{name}/images", sample, content_type="image/jpeg")
    assert brought.status == 201
    prediction = brought.json["prediction_id"]
    assert brought.headers["location"].endswith(f"/v1/predictions/{prediction}")
    shown = call("GET", f"/v1/predictions/{prediction}").json
    assert (shown["state"], shown["version"], shown["result"]["detections"]) == ("done", 0, [])

    box = {"class_name": "dent", "box": {"x1": 5, "y1": 6, "x2": 50, "y2": 60}}
    told = {"prediction_id": prediction, "answer": "corrected", "boxes": [box]}
    sent = json.dumps(told).encode()
    answer = call("POST", f"{PATH}/{name}/submissions", sent, content_type="application/json")

    assert (answer.status, answer.json["state"]) == (201, "accepted"), answer.json
    held = call("GET", f"{PATH}/{name}").json
    assert held["training_set_size"] + held["validation_set_size"] == 1


def offer(call: Caller, name: str, **changed: Any) -> Any:
    wanted = {"file_name": "tag.jpg", "content_type": "image/jpeg", **changed}
    body = json.dumps(wanted).encode()
    return call("POST", f"{PATH}/{name}/uploads", body, content_type="application/json")


def test_a_large_image_gets_a_form(call: Caller, name: str) -> None:
    ask(call, name)
    answer = offer(call, name, file_name="Ölfleck 1.jpg")

    assert answer.status == 201
    told = answer.json
    assert (told["model"], told["state"]) == (name, "waiting")
    assert told["upload"]["max_bytes"] == 50 * 1024 * 1024
    key = told["upload"]["fields"]["key"]
    assert key == f"uploads/{name}/{told['prediction_id']}/Olfleck-1.jpg"
    assert answer.headers["location"] == told["links"]["prediction"]
    waiting = call("GET", f"/v1/predictions/{told['prediction_id']}").json
    assert (waiting["state"], waiting["file_name"]) == ("waiting", "Ölfleck 1.jpg")


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"content_type": "image/heic"}, "body.content_type"),
        ({"file_name": ""}, "body.file_name"),
        ({"options": {"confidence": 0.5}}, "body.options"),
    ],
)
def test_a_form_for_what_cannot_be_labelled_is_refused(
    call: Caller, name: str, wrong: Any, where: str
) -> None:
    ask(call, name)
    answer = offer(call, name, **wrong)

    assert answer.status == 400
    assert answer.json["faults"][0]["where"] == where


def test_forms_are_for_models_that_wait(call: Caller) -> None:
    for model in ("scratch", "nothing"):
        assert offer(call, model).status == 404


def test_images_are_for_models_that_wait(call: Caller, sample: bytes) -> None:
    for model in ("scratch", "nothing"):
        answer = call("POST", f"{PATH}/{model}/images", sample, content_type="image/jpeg")
        assert answer.status == 404


def test_what_is_no_image_is_refused(call: Caller, name: str) -> None:
    ask(call, name)

    assert call("POST", f"{PATH}/{name}/images", b"x", content_type="image/png").status == 422
    assert call("POST", f"{PATH}/{name}/images", b"x", content_type="text/html").status == 415
