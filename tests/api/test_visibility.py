"""Who is shown others' photos: each visibility, each kind of caller, each way to see one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.conftest import member_headers, photo

Gateway = Any
Stack = Any
Headers = dict[str, str]
As = Callable[[str], Headers]

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
KINDS = ("anybody", "telegram", "member", "operator")  # the second by the bot's link
VISIBILITIES = ("private", "members", "public")
SEEN_BY = {"private": ("operator",), "members": ("member", "operator"), "public": KINDS}


@pytest.fixture
def model(stack: Stack, make_model: Callable[..., bytes]) -> Iterator[str]:
    """A model of its own, which never was told who may be shown its photos."""
    name = f"m{uuid.uuid4().hex[:12]}"
    stack.services.publisher.publish(name, make_model(), b"{}")
    yield name
    with stack.services.database.transaction() as rows:
        rows.execute(
            """TRUNCATE samples, labels, label_terms, tasks, control_answers, agreements,
                        control_standings CASCADE"""
        )
        rows.execute("DELETE FROM requests")


@pytest.fixture
def by(stack: Stack, as_operator: Headers) -> As:
    """Return the headers of a caller of a kind; each member is somebody new."""

    def headers(kind: str) -> Headers:
        if kind == "operator":
            return as_operator
        if kind == "anybody":
            return {}
        subject = uuid.uuid4().hex
        return member_headers(stack, f"telegram-{subject}" if kind == "telegram" else subject)

    return headers


def send(gateway: Gateway, model: str, image: bytes, headers: Headers) -> str:
    target = f"/v1/models/{model}/detections?keep=true"
    kept = gateway("POST", target, image, content_type="image/jpeg", **headers)
    assert kept.status == 200, kept.body
    return str(kept.json["prediction_id"])


def say(gateway: Gateway, model: str, prediction_id: str, headers: Headers, answer: str) -> Any:
    body = json.dumps({"prediction_id": prediction_id, "answer": answer}).encode()
    target = f"/v1/models/{model}/submissions"
    told = gateway("POST", target, body, content_type="application/json", **headers)
    assert told.status == 201, told.body
    return told.json


def put(gateway: Gateway, model: str, headers: Headers, **body: Any) -> Any:
    target = f"/v1/models/{model}/visibility"
    sent = json.dumps(body).encode()
    return gateway("PUT", target, sent, content_type="application/json", **headers)


def ask(gateway: Gateway, model: str, headers: Headers) -> Any:
    return gateway("POST", f"/v1/models/{model}/tasks", **headers)


def contribute(gateway: Gateway, model: str, sender: Headers) -> str:
    """Send a photo and confirm its boxes: a label by one person's word."""
    prediction_id = send(gateway, model, photo(), sender)
    assert say(gateway, model, prediction_id, sender, "confirmed")["state"] == "accepted"
    return prediction_id


def waiting(gateway: Gateway, model: str, sender: Headers) -> str:
    """Send a photo and say that nothing is there, which waits for an operator."""
    prediction_id = send(gateway, model, photo(), sender)
    assert say(gateway, model, prediction_id, sender, "empty")["state"] == "quarantined"
    return prediction_id


def test_a_model_is_private_until_an_operator_says_otherwise(
    gateway: Gateway, model: str, by: As
) -> None:
    assert gateway("GET", f"/v1/models/{model}").json["visibility"] == "private"

    assert put(gateway, model, by("anybody"), visibility="public").status == 401
    assert put(gateway, model, by("member"), visibility="public").status == 403
    told = put(gateway, model, by("operator"), visibility="members")

    assert told.status == 200
    assert (told.json["visibility"], told.json["changed_by"]) == ("members", "operator:operator")
    assert gateway("GET", f"/v1/models/{model}").json["visibility"] == "members"
    assert put(gateway, model, by("operator"), visibility="open").status == 400
    for name in ("none", "..", "x" * 2000):
        assert put(gateway, name, by("operator"), visibility="public").status == 404


def test_of_two_operators_who_change_it_at_once_one_is_told(
    gateway: Gateway, stack: Stack, model: str, by: As
) -> None:
    first = put(gateway, model, by("operator"), visibility="public", previous="private")
    second = put(gateway, model, by("operator"), visibility="members", previous="private")

    assert (first.status, second.status) == (200, 409)
    again = put(gateway, model, by("operator"), visibility="public", previous="private")
    assert again.status == 200
    with stack.services.database.transaction() as rows:
        rows.execute("SELECT visibility, by FROM model_visibilities WHERE model = %s", (model,))
        assert rows.fetchall() == [("public", "operator:operator")]


def test_a_promotion_leaves_it_as_it_is(
    gateway: Gateway, stack: Stack, model: str, by: As, make_model: Callable[..., bytes]
) -> None:
    put(gateway, model, by("operator"), visibility="members")

    rows = ((1, 1, 20, 20, 0.9, 0),)
    assert stack.services.publisher.publish(model, make_model(rows), b"{}").live_version == 2
    assert gateway("GET", f"/v1/models/{model}").json["visibility"] == "members"
    stack.services.publisher.promoter.promote(model, 1, "olga", "a test")
    assert gateway("GET", f"/v1/models/{model}").json["visibility"] == "members"


def test_a_pending_model_takes_its_visibility_along(
    gateway: Gateway, stack: Stack, by: As, make_model: Callable[..., bytes]
) -> None:
    name = f"p{uuid.uuid4().hex[:12]}"
    body = {"name": name, "classes": ["scratch", "dent"], "visibility": "public"}
    target, sent = "/v1/pending-models", json.dumps(body).encode()
    made = gateway("POST", target, sent, content_type="application/json", **by("member"))

    assert made.json["visibility"] == "public"
    assert put(gateway, name, by("operator"), visibility="members").status == 200
    assert gateway("GET", f"{target}/{name}").json["visibility"] == "members"
    stack.services.publisher.publish(name, make_model(), b"{}")
    assert gateway("GET", f"/v1/models/{name}").json["visibility"] == "members"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("visibility", VISIBILITIES)
@pytest.mark.parametrize("way", [contribute, waiting])
def test_a_task_shows_others_photos_to_whom_the_model_says(
    gateway: Gateway, model: str, by: As, visibility: str, kind: str, way: Callable[..., str]
) -> None:
    put(gateway, model, by("operator"), visibility=visibility)
    way(gateway, model, by("member"))

    given = ask(gateway, model, by(kind))

    if kind in SEEN_BY[visibility]:
        assert given.status == 201
        shown = gateway("GET", f"/v1/predictions/{given.json['prediction_id']}").json
        assert shown["links"]["image"]
    elif kind in ("anybody", "telegram"):
        assert given.status == 401
    else:
        assert given.status == 404


@pytest.mark.parametrize("kind", ["anybody", "member"])
def test_a_wider_visibility_shows_no_photo_that_was_sent_before(
    gateway: Gateway, model: str, by: As, kind: str
) -> None:
    contribute(gateway, model, by("member"))
    waiting(gateway, model, by("anybody"))

    put(gateway, model, by("operator"), visibility="public")

    assert ask(gateway, model, by(kind)).status == 404
    waiting(gateway, model, by("member"))
    assert ask(gateway, model, by(kind)).status == 201
    assert ask(gateway, model, by("operator")).status == 201


def test_the_same_bytes_sent_again_in_public_stay_private(
    gateway: Gateway, model: str, by: As
) -> None:
    image, first, second = photo(), by("member"), by("member")
    for headers, visibility in ((first, "private"), (second, "public")):
        put(gateway, model, by("operator"), visibility=visibility)
        prediction_id = send(gateway, model, image, headers)
        say(gateway, model, prediction_id, headers, "empty")

    assert ask(gateway, model, by("member")).status == 404


def test_a_stricter_visibility_closes_tasks_that_were_handed_out(
    gateway: Gateway, model: str, by: As
) -> None:
    put(gateway, model, by("operator"), visibility="public")
    contribute(gateway, model, by("member"))
    tasks = {
        kind: ask(gateway, model, by(kind)).json["prediction_id"] for kind in ("anybody", "member")
    }

    def statuses() -> dict[str, int]:
        return {k: gateway("GET", f"/v1/predictions/{each}").status for k, each in tasks.items()}

    assert statuses() == {"anybody": 200, "member": 200}
    put(gateway, model, by("operator"), visibility="members")
    assert statuses() == {"anybody": 404, "member": 200}
    put(gateway, model, by("operator"), visibility="private")
    assert statuses() == {"anybody": 404, "member": 404}


def test_the_sender_sees_their_own_photo_whatever_the_model_says(
    gateway: Gateway, model: str, by: As
) -> None:
    prediction_id = contribute(gateway, model, by("anybody"))

    assert gateway("GET", f"/v1/predictions/{prediction_id}").status == 200


def images_of(gateway: Gateway, model: str, by: As) -> list[dict[str, Any]]:
    listed = gateway("GET", f"/v1/models/{model}/dataset/images", **by("operator"))
    return list(listed.json["images"])


def accept(gateway: Gateway, by: As, **body: Any) -> Any:
    [item] = gateway("GET", "/v1/review", **by("operator")).json["waiting"]
    sent = {"decision": "accept", "why": "it is right", "seen": item["updated_at"], **body}
    target = f"/v1/review/{item['submission_id']}"
    body_ = json.dumps(sent).encode()
    return gateway("POST", target, body_, content_type="application/json", **by("operator"))


def test_an_operator_releases_a_control_image_of_a_private_model_on_review(
    gateway: Gateway, stack: Stack, model: str, by: As
) -> None:
    waiting(gateway, model, by("member"))
    assert accept(gateway, by, decision="reject", release=True).status == 400

    assert accept(gateway, by, release=True).status == 200

    [image] = images_of(gateway, model, by)
    assert (image["visibility"], image["released_by"]) == ("private", "operator:operator")
    assert ask(gateway, model, by("anybody")).status == 401
    assert ask(gateway, model, by("member")).status == 201
    with stack.services.database.transaction() as rows:
        rows.execute("SELECT kind FROM tasks")
        assert rows.fetchall() == [("control",)]


def test_a_release_of_dataset_images_is_recorded_and_can_be_taken_back(
    gateway: Gateway, stack: Stack, model: str, by: As
) -> None:
    waiting(gateway, model, by("member"))
    accept(gateway, by)
    [image] = images_of(gateway, model, by)
    assert ask(gateway, model, by("member")).status == 404

    def release(headers: Headers, *, released: bool) -> Any:
        body = json.dumps({"images": [image["sha256"]], "released": released}).encode()
        target = f"/v1/models/{model}/dataset/releases"
        return gateway("POST", target, body, content_type="application/json", **headers)

    assert release(by("member"), released=True).status == 403
    assert release(by("operator"), released=True).json["changed"] == 1
    task = ask(gateway, model, by("member")).json["prediction_id"]
    assert gateway("GET", f"/v1/predictions/{task}").status == 200

    assert release(by("operator"), released=False).json["changed"] == 1

    assert ask(gateway, model, by("member")).status == 404
    assert gateway("GET", f"/v1/predictions/{task}").status == 404
    with stack.services.database.transaction() as rows:
        rows.execute("SELECT released, by FROM image_releases ORDER BY release_id DESC LIMIT 2")
        assert rows.fetchall() == [(False, "operator:operator"), (True, "operator:operator")]


@pytest.mark.parametrize("kind", ["anybody", "member"])
@pytest.mark.parametrize(
    "target",
    [
        "/v1/models/{model}/dataset/images",
        "/v1/models/{model}/dataset/clusters",
        "/v1/models/{model}/datasets",
        "/v1/models/{model}/comparison?a=1&b=1",
        "/v1/review",
        "/v1/contributors",
        "/v1/decisions",
        "/v1/bans",
        "/v1/deletions",
    ],
)
def test_what_shows_photos_or_people_is_for_operators(
    gateway: Gateway, model: str, by: As, kind: str, target: str
) -> None:
    told = gateway("GET", target.format(model=model), **by(kind))

    assert told.status == {"anybody": 401, "member": 403}[kind]


def test_no_proxy_keeps_a_picture(gateway: Gateway, model: str, by: As) -> None:
    prediction_id = send(gateway, model, photo(), by("anybody"))
    shown = gateway("GET", f"/v1/predictions/{prediction_id}")

    assert shown.headers["cache-control"] == "no-store"
    assert "response-cache-control=private%2C%20no-store" in shown.json["links"]["image"]
