"""Asking for imports and exports over the API."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.grading import grade
from chalicelib.trust.task_book import Task
from tests.api.conftest import member_headers

Caller = Callable[..., Any]
Stack = Any
Operator = dict[str, str]


def post(call: Caller, path: str, body: Any = None, **headers: str) -> Any:
    sent = json.dumps({} if body is None else body).encode()
    return call("POST", path, sent, content_type="application/json", **headers)


@pytest.fixture
def pending(call: Caller) -> str:
    name = f"tags-{uuid.uuid4().hex}"
    assert post(call, "/v1/pending-models", {"name": name, "classes": ["dent"]}).status == 201
    return name


@pytest.fixture
def of_another(stack: Stack) -> str:
    """A pending model that somebody else asked for."""
    name = f"theirs-{uuid.uuid4().hex}"
    stack.services.pending_models.ask(name, ("dent",), "198.51.100.7")
    return name


def test_an_import_waits_for_its_zip(call: Caller, pending: str) -> None:
    answer = post(call, f"/v1/pending-models/{pending}/imports", {"format": "coco"})

    assert answer.status == 201
    offered = answer.json
    assert answer.headers["location"] == offered["links"]["self"]
    assert (offered["model"], offered["state"]) == (pending, "waiting")
    fields = offered["upload"]["fields"]
    assert fields["key"] == f"imports/{pending}/{offered['import_id']}/archive.zip"
    assert fields["Content-Type"] == "application/zip"
    assert offered["upload"]["max_bytes"] == 5 * 1024**3
    shown = call("GET", f"/v1/imports/{offered['import_id']}")
    assert shown.status == 200
    assert shown.headers["retry-after"] == "2"
    assert (shown.json["state"], shown.json["done"], shown.json["total"]) == ("waiting", 0, None)
    assert shown.json["faults"] == []


def test_operators_import_into_models_that_serve(call: Caller, as_operator: Operator) -> None:
    assert post(call, "/v1/models/scratch/imports", **as_operator).status == 201
    assert post(call, "/v1/models/scratch/imports").status == 401
    assert post(call, "/v1/models/nothing/imports", **as_operator).status == 404


def test_a_pending_model_takes_zips_from_who_asked_for_it_and_operators(
    call: Caller, of_another: str, as_operator: Operator
) -> None:
    path = f"/v1/pending-models/{of_another}/imports"

    refused = post(call, path)
    assert (refused.status, refused.json["type"]) == (403, "urn:sightloop:problem:forbidden")
    assert "one at a time" in refused.json["detail"]
    assert post(call, path, **as_operator).status == 201


def test_who_answered_controls_wrongly_is_told_to_go_by_way_of_an_operator(
    call: Caller, stack: Stack, as_operator: Operator
) -> None:
    name, subject = f"hers-{uuid.uuid4().hex}", uuid.uuid4().hex
    ann, user = member_headers(stack, subject), f"user:{subject}"
    stack.services.pending_models.ask(name, ("dent",), user)
    path, book = f"/v1/pending-models/{name}/imports", stack.services.reviewing._book
    assert post(call, path, **ann).status == 201
    right, wrong = ClassedBoxes([[0, 0, 1, 1]], [0]), ClassedBoxes([[5, 5, 9, 9]], [0])
    for number in range(5):
        task = Task(str(uuid.uuid4()), user, "other", f"{number:064}", "control", right, 1)
        assert book.hand_out(task)
        book.grade(task, grade(wrong, right))

    refused = post(call, path, **ann)

    assert (refused.status, refused.json["type"]) == (403, "urn:sightloop:problem:forbidden")
    assert "ask an operator" in refused.json["detail"]
    assert post(call, path, **as_operator).status == 201


@pytest.mark.parametrize("wrong", [{"format": "tfrecord"}, {"groups_from_names": "x"}, {"zip": 1}])
def test_what_an_import_cannot_be_is_named(call: Caller, pending: str, wrong: Any) -> None:
    answer = post(call, f"/v1/pending-models/{pending}/imports", wrong)

    assert answer.status == 400
    assert answer.json["faults"][0]["where"] == f"body.{next(iter(wrong))}"


@pytest.mark.parametrize("name", [str(uuid.UUID(int=7)), "nothing", "%00", "a%2Fb"])
def test_an_unknown_transfer_is_not_found(call: Caller, as_operator: Operator, name: str) -> None:
    assert call("GET", f"/v1/imports/{name}").status == 404
    assert call("GET", f"/v1/exports/{name}", **as_operator).status == 404


def test_an_import_is_no_export(call: Caller, pending: str, as_operator: Operator) -> None:
    offered = post(call, f"/v1/pending-models/{pending}/imports").json

    assert call("GET", f"/v1/exports/{offered['import_id']}", **as_operator).status == 404


def test_an_export_is_made_and_leads_to_its_zip(
    call: Caller, stack: Stack, pending: str, as_operator: Operator
) -> None:
    asked = {"format": "voc", "images": "none"}
    answer = post(call, f"/v1/models/{pending}/exports", asked, **as_operator)
    assert (answer.status, answer.json["state"]) == (201, "queued")
    path = f"/v1/exports/{answer.json['export_id']}"
    assert call("GET", path, **as_operator).headers["retry-after"] == "2"
    table = stack.services.transfers._table
    held = table.find(answer.json["export_id"], "export")
    from chalicelib.labels.transfers.records import JobMessage  # noqa: PLC0415

    stack.services.transfer_worker.work(
        JobMessage(kind=held.kind, id=held.transfer_id), lambda: 900.0
    )

    shown = call("GET", path, **as_operator)
    assert "retry-after" not in shown.headers
    assert (shown.json["state"], shown.json["format"]) == ("done", "voc")
    assert shown.json["bytes"] > 0
    assert f"/{pending}-voc.zip" in shown.json["links"]["archive"]


def test_exports_are_for_operators(call: Caller) -> None:
    assert post(call, "/v1/models/scratch/exports", {"format": "yolo"}).status == 401
    assert call("GET", f"/v1/exports/{uuid.UUID(int=7)}").status == 401
